"""One finished synthetic run, which the tests of the report share; no test changes its folder."""

from pathlib import Path

import pytest

from reports.run import Run
from tests.reports import synthetic


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results without clip files."""
    made = tmp_path_factory.mktemp("finished")
    synthetic.make_results(made, embedded=0)
    return made


@pytest.fixture(scope="session")
def finished_run(finished: Path) -> Run:
    return synthetic.run_of(finished)


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished run with clip files, in which Rolling Forcing was never scored on scene and prompts repeat.

    Its report was built by the script; the page stands beside the folder.
    """
    folder = tmp_path_factory.mktemp("toybox")
    scores = synthetic.make_results(folder, without=("rolling_forcing", "scene"), repeated=True)
    return folder, synthetic.run_script(folder, scores, synthetic.report_settings()).read_text(
        encoding="utf-8"
    )
