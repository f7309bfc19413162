"""What is gone is noticed without Snakemake's records too: no page stands for a run that is not there."""

from pathlib import Path

import pytest

from reports.clips_beside import beside_clips
from workflow.planning.missing_results import gone_warnings
from workflow.planning.paths import Folders

RUN = "results/mine"
PAGE = '<html lang="en"><meta content="media-src data:;">'


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a run that has ended, without Snakemake's records."""
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "reports/table.html": PAGE,
        f"{RUN}/report.html": beside_clips(PAGE),
        f"{RUN}/aggregate/scores.json": "{}",
    }.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    return tmp_path


def warnings() -> list[str]:
    """What is said of the run."""
    return list(gone_warnings(Folders(RUN, RUN, RUN), ["raven"]))


def test_the_page_of_a_whole_run_stands_without_records(finished: Path) -> None:
    """Guards against a report made again because .snakemake was cleaned; without a page there is no doubt."""
    assert warnings() == []
    (finished / "reports/table.html").unlink()
    (finished / RUN / "report.html").unlink()
    assert warnings() == []
    assert not list(finished.rglob("*.gone"))


@pytest.mark.parametrize(
    ("deleted", "why"),
    [
        (["report.html"], f"{RUN}/report.html is not there"),
        (
            ["aggregate/scores.json", "report.html"],
            f"{RUN}/aggregate/scores.json and {RUN}/report.html are not there",
        ),
    ],
)
def test_a_page_without_its_run_is_made_again(finished: Path, deleted: list[str], why: str) -> None:
    """Guards against "Nothing to be done" after `rm -rf results .snakemake`, or for a suite never run."""
    for name in deleted:
        (finished / RUN / name).unlink()
    said = f"reports/table.html is there, but is not this run's: {why}. It will be made again."
    assert warnings() == [said]
    note = finished / RUN / "report.gone"
    assert why in note.read_text()
    assert note.stat().st_mtime_ns >= (finished / "reports/table.html").stat().st_mtime_ns


@pytest.mark.parametrize("page", [PAGE + "<p>of another suite", "no page of ours"])
def test_the_page_of_another_run_is_made_again(finished: Path, page: str) -> None:
    """Guards against the report of the suite that ran last, shown for one that ran before it."""
    (finished / "reports/table.html").write_text(page)
    (said,) = warnings()
    assert f"is not this run's: {RUN}/report.html is another page." in said
    assert (finished / RUN / "report.gone").is_file()
