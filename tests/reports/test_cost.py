"""What a run cost, beside its estimate: sums of benchmark files and of file sizes, by closed form."""

from pathlib import Path

import pytest

from reports.cost import LOOSE_FILES, WRITTEN_LAST, amount, measure_cost
from reports.sections.cost import cost_line, stage_lines
from tests.reports import synthetic
from workflow.planning.banner import planned_prompts
from workflow.planning.cost import estimated_cost, work_line
from workflow.planning.suite_file import load_suite

ROOT = Path(__file__).parents[2]
HEAD = "s\th:m:s\tmax_rss\n"


def benchmark(folder: Path, name: str, wall: float) -> None:
    path = folder / "benchmarks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEAD}{wall}\t0:00:00\t1\n", encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    benchmark(tmp_path, "train/raven.tsv", 100)
    benchmark(tmp_path, "sample/raven/0-of-2.tsv", 10)
    benchmark(tmp_path, "sample/raven/1-of-2.tsv", 1)
    benchmark(tmp_path, "filter/raven.0-of-1.tsv", 5)
    benchmark(tmp_path, "score/raven/color.0-of-1.tsv", 7)
    benchmark(tmp_path, "score/raven/color.tsv", 2)
    benchmark(tmp_path, "prompts.tsv", 1)
    benchmark(tmp_path, "report.tsv", 1000)
    (tmp_path / "clips/raven/mp4").mkdir(parents=True)
    (tmp_path / "clips/raven/mp4/a.mp4").write_bytes(bytes(1_500_000))
    (tmp_path / "clips/raven/mp4/b.mp4").symlink_to("a.mp4")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/x.log").write_bytes(bytes(9_000_000))
    (tmp_path / "starts.jsonl").write_bytes(bytes(250_000))
    for name in WRITTEN_LAST:
        (tmp_path / name).write_bytes(bytes(7_000_000))
    return tmp_path


def test_cores_are_counted_by_wall_time_and_number(folder: Path) -> None:
    """Guards against the processor time of Snakemake's files, which ends half a minute before the job.

    Joining parts holds a core, whatever a part holds; an earlier report's own cost is left out; links have
    no size.
    """
    found = measure_cost(folder, ("raven",), {"device": "cpu"}, {"train/raven": 8, "score": 4})
    assert found.seconds == {"train": 800, "sample": 11, "score": 5 + 4 * 7 + 2, "rest": 1}
    assert found.rows == {"raven": {"train": 800, "sample": 11, "score": 35}}
    assert found.disk_mb["clips"] == found.row_disk_mb["raven"] == pytest.approx(1.5, abs=1e-3)
    assert found.disk_mb["logs"] == pytest.approx(9.0, abs=1e-3)  # all of the folder
    assert found.disk_mb[LOOSE_FILES] == pytest.approx(0.25, abs=1e-3)  # without the report's own
    assert sum(found.disk_mb.values()) == pytest.approx(10.75, abs=0.01)


def test_gpus_are_counted_by_wall_time_and_number(folder: Path) -> None:
    """Eight GPUs of training, one of a shard or part; joining parts and writing prompts holds none."""
    found = measure_cost(folder, ("raven",), {"device": "cuda"}, {"train/raven": 8})
    assert found.unit == "GPU"
    assert found.seconds == {"train": 800, "sample": 11, "score": 12}


def test_estimate_is_the_banners(folder: Path) -> None:
    """One formula: the banner's words and the record's numbers are the same."""
    suite = load_suite(ROOT, [], {})
    prompts = planned_prompts(suite, ROOT)
    estimate = estimated_cost(suite, prompts)
    assert f"{estimate.jobs} jobs, {amount(estimate.total_s, 'core')}" in work_line(estimate, "From nothing")
    lines = stage_lines(estimate, measure_cost(folder, (), {"device": "cpu"}, {}))
    assert [line.title for line in lines] == [
        "Training",
        "Sampling",
        "Static filter and scoring",
        "All else",
        "In all",
    ]
    assert lines[-1].estimated == pytest.approx(estimate.total_s)
    assert lines[-1].measured == 100 + 11 + 14 + 1


def test_estimated_and_measured_stages_hold_the_same_jobs() -> None:
    """Guards against a start-up that is measured in one stage and estimated in another: with work that costs
    nothing the estimate is jobs times their start-up, stage by stage, and on GPUs of jobs that hold one.
    """
    given = load_suite(ROOT, [], {})
    idle = given.rates.model_copy(
        update={"train_s": 0, "sample_s": 0, "row_sample_s": {}, "score_s": 0, "job_s": 1.0}
    )
    suite = given.model_copy(update={"rates": idle})
    found = estimated_cost(suite, planned_prompts(suite, ROOT))
    rows = 15
    assert found.seconds == {"train": 3, "sample": rows, "score": rows * 17, "rest": 3 + 2 + rows}
    assert found.total_s == found.jobs
    on_gpu = estimated_cost(suite.model_copy(update={"device": "cuda"}), planned_prompts(suite, ROOT))
    assert on_gpu.jobs == found.jobs


def test_sentence_of_the_main_table(folder: Path) -> None:
    """Units that a person reads; without a note of the start it says so; without benchmarks there is none."""
    measured = measure_cost(folder, (), {"device": "cpu"}, {})
    assert cost_line(synthetic.start().estimate, measured) == (
        "This run took 2.1 core-minutes and 10.8 MB of disk, 1.5 MB of it clips; estimated at its start: "
        "13.2 core-minutes and 20.0 MB of clips."
    )
    assert "no estimate was noted" in str(cost_line(None, measured))
    assert cost_line(None, measured.model_copy(update={"seconds": {}})) is None
    assert (amount(None, "GPU"), amount(9000, "GPU")) == ("-", "2.5 GPU-hours")
