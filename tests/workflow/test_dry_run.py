"""What a dry run says: causes in words, files by name, and cost."""

import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evaluation.files import write_text
from workflow.planning.acceptance import CodeBook, StageCode
from workflow.planning.banner import planned_prompts
from workflow.planning.cost import estimated_cost, jobs_from_nothing, work_line
from workflow.planning.dry_run import AGAIN, NOT_MADE, NeededJob, cause_of, needed_jobs, summary
from workflow.planning.needs import counted_prompts
from workflow.planning.suite_file import read_suite

ROOT = Path(__file__).parents[2]
FIELDS = (
    "forced",
    "incomplete_output",
    "missing_output",
    "input_changed",
    "updated_input",
    "updated_input_run",
)
CODE = "'0123456789abcdef'"


def reason(new: tuple[str, ...] = (), **given: bool) -> Any:
    params = SimpleNamespace(only_new={*new}, only_old={"'fedcba9876543210'"}) if new else None
    return SimpleNamespace(params_changed=params, **dict.fromkeys(FIELDS, False) | given)


@pytest.mark.parametrize(
    ("why", "expected"),
    [
        (reason(forced=True, missing_output=True), "asked for by hand"),
        (reason(incomplete_output=True), "was cut off"),
        (reason(missing_output=True, updated_input_run=True), NOT_MADE),
        (reason((CODE,)), "its code changed: models/wan.py"),
        (reason((CODE, "'{\"fps\":8}'")), "its settings changed"),
        (reason(input_changed=True), "it is made from other files"),
        (reason(updated_input=True), "what it is made from changed"),
        (reason(updated_input_run=True), AGAIN),
    ],
)
def test_causes_in_words(why: Any, expected: str) -> None:
    assert (
        cause_of(why, lambda old: ["models/wan.py"] if "'fedcba9876543210'" in list(old) else []) == expected
    )


def test_the_screen() -> None:
    """Stages in their order, the commonest cause first, core time and the room that new clips take."""
    suite = read_suite(ROOT / "workflow/config/toybox.yaml", ROOT)
    dag = SimpleNamespace(
        needrun_jobs=lambda: [SimpleNamespace(rule=SimpleNamespace(name="train"))],
        reason=lambda job: reason(missing_output=True),
    )
    jobs = [NeededJob("report", AGAIN), NeededJob("mine", AGAIN), *needed_jobs(dag, lambda old: [])]
    jobs += [NeededJob("sample", AGAIN), *[NeededJob("render", NOT_MADE)] * 2]
    cost = estimated_cost(suite, planned_prompts(suite, ROOT), Counter(job.rule for job in jobs))
    rates = suite.rates
    of_teacher = rates.row_sample_s["wan_teacher_guidance3"]
    sampling = (9 * 244 * rates.sample_s + 76 * of_teacher) / 10 * suite.clip.seconds
    minutes = (rates.train_s + sampling / suite.sample.shards + 6 * rates.job_s) / 60
    first = work_line(cost, "To do, about 3 min on 2 cores")
    assert summary(jobs, first, "More: --list").splitlines() == [
        f"To do, about 3 min on 2 cores: 6 jobs, {minutes:.1f} core-minutes, up to 29.3 MB of new clips.",
        "  stage   jobs  why",
        "  train      1  not made yet",
        "  sample     3  not made yet (2)",
        "                what it is made from is made again (1)",
        "  report     1  what it is made from is made again",
        "  mine       1  what it is made from is made again",
        "More: --list",
    ]


def test_gpu_hours_are_those_of_jobs_that_hold_one() -> None:
    """Joining parts and checking clips hold none; a training holds what it was measured to take."""
    suite = read_suite(ROOT / "workflow/config/vbench.yaml", ROOT)
    prompts = counted_prompts(suite)
    assert prompts is not None
    jobs = {"train": 1, "sample": 2, "check": 7, "score": 9}
    cost, rates = estimated_cost(suite, prompts, jobs), suite.rates
    assert cost.seconds == {
        "train": rates.train_s + rates.job_s,
        "sample": pytest.approx(2 * (6220 / suite.sample.shards * 81 / 16 * rates.sample_s + rates.job_s)),
        "score": 0,
        "rest": 0,
    }
    assert f": 19 jobs, {cost.total_s / 3600:.1f} GPU-hours (training " in work_line(cost, "x")
    whole = estimated_cost(suite, prompts)
    assert whole == estimated_cost(suite, prompts, jobs_from_nothing(suite)), (
        "one estimate, of all or of a part"
    )


def test_the_readme_says_the_gpu_hours_of_both_ways() -> None:
    """The first line that a reader of the vbench suite sees is what the estimate says."""
    suite = read_suite(ROOT / "workflow/config/vbench.yaml", ROOT)
    released = read_suite(ROOT / "workflow/config/vbench.yaml", ROOT, {"weights": "released"})
    prompts = counted_prompts(suite)
    assert prompts is not None
    said = re.findall(r"# (\d+) GPU-hours[:,] (?:it )?trains", (ROOT / "README.md").read_text())
    hours = [estimated_cost(way, prompts).total_s / 3600 for way in (released, suite)]
    assert [int(number) for number in said] == [round(number) for number in hours]


def test_files_that_changed_since_a_digest_are_named(tmp_path: Path) -> None:
    """The digest that a result was made with leads to the files in which the code differs now."""
    book = CodeBook(ROOT, tmp_path)
    now = book.stage("workflow.scripts.check")
    files = book.known[now].files
    some = sorted(files)[:2]
    older = files | dict.fromkeys(some, "another digest")
    code = StageCode(stage="workflow.scripts.check", data=(), without=(), files=older)
    write_text(tmp_path / "code/00112233445566aa.json", code.model_dump_json())
    assert book.changed_since(["'00112233445566aa'", "'ffffffffffffffff'"]) == tuple(some)
    assert book.changed_since([f"'{now}'"]) == ()
