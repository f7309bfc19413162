"""What a run says of the time that is left: replayed on a recorded run, and cases with a closed form."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from workflow.planning.banner import planned_prompts
from workflow.planning.job_share import job_share
from workflow.planning.paths import folders_of
from workflow.planning.progress import Pace, PlannedJob, RunningJob, about, clock, finish_time, job_costs
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
    jobs: dict[int, PlannedJob],
    took: dict[int, float],
    pace: Pace,
    cores: int,
    tick: float = 0.25,
    *,
    shown: bool = False,
) -> Iterator[tuple[float, float]]:
    """Time and estimate of the time left, every 20 ticks of a run that starts what it can, in order. shown:
    whether trainings and samplings show what of them is done.
    """
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
            so_far = {}
            for n, began in running.items():
                seconds = now - began
                so_far[n] = RunningJob(seconds)
                if shown and jobs[n].rule in ("train", "sample", "render"):
                    so_far[n] = RunningJob(seconds, seconds / took[n], 1 - seconds / took[n])
            yield now, pace.time_left(left, so_far, cores)


@pytest.fixture
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
    assert pace.time_left({0: PlannedJob("train")}, {0: RunningJob(0.0)}, 1) == pytest.approx(100)
    assert pace.time_left({0: PlannedJob("train")}, {0: RunningJob(300.0)}, 1) >= 0.05 * 300
    two = {number: PlannedJob("train") for number in range(2)}
    assert pace.time_left(two, {0: RunningJob(300.0)}, 1) > 200, (
        "the next one takes longer than expected, too"
    )


def test_times_in_words() -> None:
    assert [clock(s) for s in (0, 59.6, 3723)] == ["0:00", "1:00", "1:02:03"]
    said = ["under a minute", "about 12 min", "about 1.5 h", "about 3.0 days"]
    assert [about(s) for s in (59, 700, 5400, 3 * 86400)] == said


def test_a_job_that_shows_how_far_it_is_corrects_what_was_expected() -> None:
    """Guards against an estimate that believes the suite's rates until a long job is overdue: its own end is
    in closed form, and jobs of other rules follow its pace.
    """
    pace = Pace({"train": 100.0, "sample": 100.0}, 1.0)
    jobs = {0: PlannedJob("train"), 1: PlannedJob("sample", needs=(0,))}
    alone = {0: jobs[0]}
    tenth = RunningJob(40.0, made=0.1, left=0.9)
    assert pace.time_left(alone, {0: tenth}, 1) == pytest.approx(360)
    assert 360 + 100 < pace.time_left(jobs, {0: tenth}, 1) < 360 + 400
    half = RunningJob(200.0, made=0.5, left=0.5)
    assert pace.time_left(alone, {0: half}, 1) == pytest.approx(200)
    resumed = RunningJob(10.0, made=0.1, left=0.4)
    assert pace.time_left(alone, {0: resumed}, 1) == pytest.approx(40), "half was done before it began"
    unseen = RunningJob(10.0, made=0.0, left=1.0)
    assert pace.time_left(alone, {0: unseen}, 1) == pytest.approx(90), "nothing to go by yet"


def test_a_machine_of_half_the_speed_is_found_out_within_a_minute(pace: Pace) -> None:
    """Guards against 13 minutes left that become 27: the first training shows its iterations."""
    jobs, took = recorded()
    slow = {number: 2 * seconds for number, seconds in took.items()}
    said = list(replay(jobs, slow, pace, cores=2, shown=True))
    end = said[-1][0]
    lowest = float("inf")
    for now, left in said:
        if now > 60:
            assert left <= 1.2 * max(lowest, 30), f"at {now:.0f} s"
            lowest = min(lowest, left)
    late = [(now, left) for now, left in said if now > 300]
    assert max(abs(left - (end - now)) for now, left in late) < 0.2 * end


@pytest.mark.parametrize(
    ("rule", "file", "whole"),
    [
        ("train", "results/toybox/train/raven/metrics.jsonl", 100),
        ("sample", "results/toybox/clips/raven/journal/0-of-1.jsonl", 244),
        ("render", "results/toybox/clips/raven/journal/0-of-1.jsonl", 244),
    ],
)
def test_what_is_done_of_a_job_is_in_the_lines_that_it_writes(
    rule: str, file: str, whole: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = read_suite(ROOT / "workflow/config/toybox.yaml", ROOT)
    prompts = planned_prompts(suite, ROOT)
    monkeypatch.chdir(tmp_path)
    share = job_share(suite, folders_of(suite, None), prompts, rule, {"row": "raven", "shard": "0-of-1"})
    assert share() == 0
    Path(file).parent.mkdir(parents=True)
    Path(file).write_text("{}\n" * (whole // 4))
    assert share() == pytest.approx(0.25)
    Path(file).write_text("{}\n" * (2 * whole))
    assert share() == 1
    assert job_share(suite, folders_of(suite, None), prompts, "score", {"row": "raven"})() is None
