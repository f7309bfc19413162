"""An overall line with an estimate of the time left, printed while the run goes on.

Jobs differ by orders of magnitude, so that counting them says little: each rule has a cost from the suite's
measured rates, and the time left follows from how fast this run has worked off costs so far.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from evaluation.records import Prompt
from workflow.planning.suite import OFFICIAL_BENCHMARKS, Suite

INTERVAL_S = 20.0


def job_costs(suite: Suite, prompts: Sequence[Prompt]) -> dict[str, float]:
    """Expected seconds of one job of every rule that costs more than starting a process."""
    rates = suite.rates
    clips = sum(prompt.samples for prompt in prompts)
    scored = sum((prompt.keep or prompt.samples) * len(prompt.dimensions) for prompt in prompts)
    scoring = scored * rates.score_clip_s
    return {
        "train": rates.train_s,
        "sample": clips * rates.clip_s / suite.sample.shards,
        **(
            {"score_part": scoring / sum(len(suite.score_parts(name)) for name in suite.dimensions)}
            if suite.benchmark in OFFICIAL_BENCHMARKS
            else {"score": scoring / len(suite.dimensions)}
        ),
    }


def progress_line(
    done: Iterable[str], left: Iterable[str], costs: Mapping[str, float], job_s: float, elapsed_s: float
) -> str:
    """One line from the rule names of finished and unfinished jobs; no estimate before any has finished."""
    finished, waiting = list(done), list(left)
    spent = sum(costs.get(rule, 0.0) + job_s for rule in finished)
    ahead = sum(costs.get(rule, 0.0) + job_s for rule in waiting)
    line = f"Progress: {len(finished)} of {len(finished) + len(waiting)} jobs, {clock(elapsed_s)} elapsed"
    return f"{line}, about {clock(elapsed_s * ahead / spent)} left" if spent else line


def clock(seconds: float) -> str:
    """1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def start_progress(
    jobs: Callable[[], tuple[list[str], list[str]]],
    costs: Mapping[str, float],
    job_s: float,
    say: Callable[[str], None],
) -> None:
    """Say a progress line every INTERVAL_S seconds in which a job finished, until the process ends.

    jobs: rule names of finished and of unfinished jobs, now.
    """
    started = time.monotonic()

    def watch() -> None:
        known = 0
        while True:
            time.sleep(INTERVAL_S)
            done, left = jobs()
            if len(done) != known and left:
                known = len(done)
                say(progress_line(done, left, costs, job_s, time.monotonic() - started))

    threading.Thread(target=watch, daemon=True).start()
