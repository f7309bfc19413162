"""How long a run will still take: what is left of its jobs, one behind the other on the slots that there are.

Jobs differ by orders of magnitude, so that counting them says little. Each rule has expected seconds from the
suite's measured rates or from its last run here; what this run measures corrects them as it goes.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evaluation.records import Prompt
from reports.cost import StageCost
from workflow.planning.cost import sampling_s
from workflow.planning.suite import OFFICIAL_BENCHMARKS, Suite

PACE_WEIGHT_S = 60.0
"""So many expected seconds speak for the rates before finished jobs have changed the pace of all rules."""
OTHERS = ""
"""Stands for every rule without expected seconds of its own."""
RULE_WEIGHT = 6
"""So many jobs' worth what was expected of a rule stays beside what its jobs took: jobs of a rule differ."""
SHARE_SHOWN = 0.02
"""So much of a job must have been seen to be done before it says how long the whole takes."""
OVERDUE = 1.05
"""A job that has run longer than expected is expected to take this much more than it has."""
RENDERED = 0.4
"""Rendering a clip of the embedded world, in the price of sampling one (16 s against 40 s a row)."""
DECODED = {"check": 2.5, "filter": 1.0}
"""Reading every clip of a row, in the price of scoring as many on one dimension (6.6 s and 3.9 s a row)."""


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job that has not finished."""

    rule: str
    threads: int = 1
    needs: tuple[int, ...] = ()
    """Numbers of the jobs that it waits for."""


class RunningJob(NamedTuple):
    """A job that runs. seconds: so far; made: the share of the whole that was done in them; left: the share
    that is still to be done, None where nothing tells.
    """

    seconds: float
    made: float = 0.0
    left: float | None = None

    @property
    def whole(self) -> float | None:
        """Seconds that all of it takes at its pace so far; None where that is not yet known."""
        return self.seconds / self.made if self.left is not None and self.made >= SHARE_SHOWN else None


def job_costs(suite: Suite, prompts: Sequence[Prompt], earlier: Sequence[StageCost] = ()) -> dict[str, float]:
    """Expected seconds of one job by rule; every other rule takes what starting a process takes.

    earlier: what jobs took when this suite last ran here, if it did; that is better than the suite's rates.
    """
    rates, video_s = suite.rates, suite.clip.seconds
    video = video_s * sum(prompt.samples for prompt in prompts)
    scored = video_s * sum((prompt.keep or prompt.samples) * len(prompt.dimensions) for prompt in prompts)
    scoring, sampling = scored * rates.score_s, sampling_s(suite, prompts) / suite.sample.shards
    gpus = max((plan.nodes * plan.gpus for plan in suite.train.values()), default=1)
    costs = {
        "train": rates.train_s / gpus,
        "sample": sampling,
        "render": RENDERED * video * rates.sample_s / suite.sample.shards,
    }
    if suite.benchmark in OFFICIAL_BENCHMARKS:
        costs["score_part"] = scoring / sum(len(suite.score_parts(name)) for name in suite.dimensions)
    else:
        costs |= {rule: share * video * rates.score_s for rule, share in DECODED.items()}
        costs["score"] = scoring / len(suite.dimensions)
    expected = {rule: seconds + rates.job_s for rule, seconds in costs.items()}
    return expected | {cost.rule: cost.wall_s / cost.jobs for cost in earlier if cost.rule in expected}


class Pace:
    """Expected seconds of a job by rule: `expected` (others: `other`), corrected by the jobs of this run."""

    def __init__(self, expected: Mapping[str, float], other: float) -> None:
        self._expected, self._other = expected, other
        self._counts: dict[str, int] = {}
        self._spent: dict[str, float] = {}

    def before(self, rule: str) -> float:
        """What was expected of a job before the run."""
        return max(self._expected.get(rule, self._other), 1e-3)

    def finished(self, rule: str, seconds: float) -> None:
        """Note what a job took."""
        self._counts[rule] = self._counts.get(rule, 0) + 1
        self._spent[rule] = self._spent.get(rule, 0.0) + seconds

    def seconds(self, running: Sequence[tuple[str, RunningJob]] = ()) -> dict[str, float]:
        """Seconds of a job by rule, and of OTHERS, as known by now.

        running: with their rules. A job counts by the share of it that is seen to be done; one that shows
        nothing and is overdue as if it ended soon.
        """
        counts, spent = dict[str, float](self._counts), dict(self._spent)
        for rule, job in running:
            if job.whole is not None:
                counts[rule] = counts.get(rule, 0) + job.made
                spent[rule] = spent.get(rule, 0.0) + job.seconds
            elif job.seconds > self.before(rule):
                counts[rule] = counts.get(rule, 0) + 1
                spent[rule] = spent.get(rule, 0.0) + OVERDUE * job.seconds
        planned = sum(counts[rule] * self.before(rule) for rule in counts)
        pace = (PACE_WEIGHT_S + sum(spent.values())) / (PACE_WEIGHT_S + planned)
        return {
            rule: (RULE_WEIGHT * pace * self.before(rule) + spent.get(rule, 0.0))
            / (RULE_WEIGHT + counts.get(rule, 0))
            for rule in {*self._expected, *counts, OTHERS}
        }

    def time_left(
        self, jobs: Mapping[int, PlannedJob], running: Mapping[int, RunningJob], slots: int
    ) -> float:
        """Seconds until all jobs have finished.

        jobs: every unfinished one by number; running: those that run; slots: cores, or jobs at once on a
        cluster.
        """
        by_rule = self.seconds([(jobs[number].rule, job) for number, job in running.items()])
        expected = {number: by_rule.get(job.rule, by_rule[OTHERS]) for number, job in jobs.items()}
        ends = {number: _left_of(job, expected[number]) for number, job in running.items()}
        return finish_time(jobs, expected, ends, slots)


def _left_of(job: RunningJob, expected: float) -> float:
    if job.whole is not None and job.left is not None:
        return job.whole * job.left
    return max(expected - job.seconds, (OVERDUE - 1) * max(job.seconds, expected))


def finish_time(
    jobs: Mapping[int, PlannedJob], expected: Mapping[int, float], running: Mapping[int, float], slots: int
) -> float:
    """When the last job ends if each starts as soon as it can, those with the longest way behind them first.

    expected: seconds of a whole job; running: seconds until each running job ends. Jobs of one another's
    needs alone, none in a circle.
    """
    behind: dict[int, list[int]] = {number: [] for number in jobs}
    waits = dict.fromkeys(jobs, 0)
    for number, job in jobs.items():
        for needed in job.needs:
            if needed in jobs:
                behind[needed].append(number)
                waits[number] += 1
    way = ways_to_the_end(jobs, behind, expected)
    threads = {number: max(1, min(job.threads, slots)) for number, job in jobs.items()}
    free = slots - sum(threads[number] for number in running)
    ends = [(end, number) for number, end in running.items()]
    ready = [(-way[number], number) for number in jobs if not waits[number] and number not in running]
    heapq.heapify(ends)
    heapq.heapify(ready)
    now = 0.0
    while ends or ready:
        too_wide = []
        while ready and free > 0:
            item = heapq.heappop(ready)
            if threads[item[1]] > free and ends:
                too_wide.append(item)
            else:
                heapq.heappush(ends, (now + expected[item[1]], item[1]))
                free -= threads[item[1]]
        for item in too_wide:
            heapq.heappush(ready, item)
        now, number = heapq.heappop(ends)
        free += threads[number]
        for follower in behind[number]:
            waits[follower] -= 1
            if not waits[follower]:
                heapq.heappush(ready, (-way[follower], follower))
    return now


def ways_to_the_end(
    jobs: Mapping[int, PlannedJob], behind: Mapping[int, Sequence[int]], expected: Mapping[int, float]
) -> dict[int, float]:
    """Seconds of the longest chain that begins with each job."""
    left = {number: len(behind[number]) for number in jobs}
    way: dict[int, float] = {}
    last = [number for number in jobs if not left[number]]
    while last:
        number = last.pop()
        way[number] = expected[number] + max((way[follower] for follower in behind[number]), default=0.0)
        for needed in jobs[number].needs:
            if needed in jobs:
                left[needed] -= 1
                if not left[needed]:
                    last.append(needed)
    return way


def clock(seconds: float) -> str:
    """1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def about(seconds: float) -> str:
    """A time in words that promise no more than is known: under a minute, about 12 min, about 3.5 h."""
    if seconds < 60:
        return "under a minute"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"about {minutes} min"
    return f"about {seconds / 3600:,.1f} h" if seconds < 48 * 3600 else f"about {seconds / 86400:,.1f} days"
