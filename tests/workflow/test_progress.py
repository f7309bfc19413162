"""What a run says of the time that is left: replayed on a recorded run, and cases with a closed form."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from workflow.planning.banner import planned_prompts
from workflow.planning.progress import Pace, PlannedJob, about, clock, finish_time, job_costs
from workflow.planning.suite_file import read_suite

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests/golden/recorded_run.tsv"
"""A whole run of the toybox suite from nothing: jobs in the order in which they began, with the processor
seconds that Snakemake measured of each. Made from a run's .snakemake/log and benchmarks/.
"""


def recorded() -> tuple[dict[int, PlannedJob], dict[int, float]]:
    """Jobs of the recorded run with what they wait for, and what each takes on an idle machine."""
    with RECORDED.open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream, delimiter="\t"))
    place = {(line["rule"], line["row"], line["dimension"]): n for n, line in enumerate(lines)}
    trained = {"raven": "convert_raven", "cm_grpo": "convert_cm_grpo"}
    jobs = {}
    for number, line in enumerate(lines):
        rule, row = line["rule"], line["row"]
        needs = {
            "prompts": [],
            "train": [("convert_raven", "raven", "")] if row == "cm_grpo" else [],
            "convert_raven": [("train", row, "")],
            "convert_cm_grpo": [("train", row, "")],
            "sample": [("prompts", "", ""), *([(trained[row], row, "")] if row in trained else [])],
            "render": [("prompts", "", "")],
            "check": [(made, row, "") for made in ("sample", "render") if (made, row, "") in place],
            "filter": [("check", row, "")],
            "score": [("filter", row, "")],
            "aggregate": [key for key in place if key[0] == "score"],
            "report": [("aggregate", "", "")],
        }[rule]
        jobs[number] = PlannedJob(rule, 2 if rule == "report" else 1, tuple(place[key] for key in needs))
    return jobs, {number: float(line["cpu_s"]) + 0.3 for number, line in enumerate(lines)}


def replay(
    jobs: dict[int, PlannedJob], took: dict[int, float], pace: Pace, cores: int, tick: float = 0.25
) -> Iterator[tuple[float, float]]:
    """Time and estimate of the time left, every 20 ticks of a run that starts what it can, in order."""
    left, running, now = dict(jobs), dict[int, float](), 0.0
    while left:
        for number, job in left.items():
            free = cores - sum(jobs[other].threads for other in running)
            if number not in running and job.threads <= free and not any(n in left for n in job.needs):
                running[number] = now
        now += tick
        for number in [n for n, began in running.items() if now - began >= took[n]]:
            pace.finished(jobs[number].rule, now - running.pop(number))
            del left[number]
        if now % (20 * tick) == 0 and left:
            yield now, pace.time_left(left, {n: now - began for n, began in running.items()}, cores)


@pytest.fixture(scope="module")
def pace() -> Pace:
    suite = read_suite(ROOT / "workflow/config/toybox.yaml", ROOT)
    students = tuple(
        row for row in suite.baselines if row not in suite.row_samples
    )  # as when it was recorded
    suite = suite.model_copy(update={"baselines": students})
    return Pace(job_costs(suite, planned_prompts(suite, ROOT)), suite.rates.job_s)


def test_the_estimate_of_a_recorded_run_hardly_rises(pace: Pace) -> None:
    """Guards against "about 4:35:27 left" at the start of 14 minutes, and an end that runs away."""
    jobs, took = recorded()
    said = list(replay(jobs, took, pace, cores=2))
    end = said[-1][0]
    assert 600 < end < 1000
    assert said[0][1] == pytest.approx(end, rel=0.2)
    lowest = float("inf")
    for now, left in said:
        if now > 60:
            assert left <= 1.2 * max(lowest, 30), f"at {now:.0f} s"
            lowest = min(lowest, left)
        assert left == pytest.approx(end - now, rel=0.25, abs=20), f"at {now:.0f} s"


def test_rates_that_are_five_times_too_low_are_found_out() -> None:
    """Guards against an estimate that believes the suite's file and not the run."""
    jobs, took = recorded()
    slow = {number: 5 * seconds for number, seconds in took.items()}
    suite = read_suite(ROOT / "workflow/config/toybox.yaml", ROOT)
    pace = Pace(job_costs(suite, planned_prompts(suite, ROOT)), suite.rates.job_s)
    said = [(now, left) for now, left in replay(jobs, slow, pace, cores=2, tick=2)]
    end = said[-1][0]
    late = [(now, left) for now, left in said if now > end / 2]
    assert max(abs(left - (end - now)) - 60 for now, left in late) < 0.25 * (end / 2)


def test_ends_with_a_closed_form() -> None:
    """Slots, threads, chains and running jobs each have their part in the time left."""
    ten = dict.fromkeys(range(5), 10.0)
    alone = {number: PlannedJob("a") for number in range(5)}
    assert finish_time(alone, ten, {}, slots=1) == 50
    assert finish_time(alone, ten, {}, slots=2) == 30
    assert finish_time(alone, ten, {0: 4.0}, slots=2) == 24
    chain = {
        0: PlannedJob("a"),
        1: PlannedJob("a", needs=(0,)),
        2: PlannedJob("a", needs=(1, 7)),
        3: PlannedJob("a"),
        4: PlannedJob("a"),
    }
    assert finish_time(chain, ten, {}, slots=9) == 30
    assert finish_time(chain, ten, {}, slots=2) == 30, "the chain first"
    wide = {0: PlannedJob("a", threads=8), 1: PlannedJob("a")}
    assert finish_time(wide, ten, {}, slots=2) == 20, "as wide as there are slots, and alone then"
    assert finish_time({}, {}, {}, slots=2) == 0


def test_an_overdue_job_does_not_promise_an_end_in_no_time() -> None:
    pace = Pace({"train": 100.0}, 1.0)
    assert pace.time_left({0: PlannedJob("train")}, {0: 0.0}, 1) == pytest.approx(100)
    assert pace.time_left({0: PlannedJob("train")}, {0: 300.0}, 1) >= 0.05 * 300
    two = {number: PlannedJob("train") for number in range(2)}
    assert pace.time_left(two, {0: 300.0}, 1) > 200, "the next one takes longer than expected, too"


def test_times_in_words() -> None:
    assert [clock(s) for s in (0, 59.6, 3723)] == ["0:00", "1:00", "1:02:03"]
    said = ["under a minute", "about 12 min", "about 1.5 h", "about 3.0 days"]
    assert [about(s) for s in (59, 700, 5400, 3 * 86400)] == said
