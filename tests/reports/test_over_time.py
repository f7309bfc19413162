"""The section on quality over time: its numbers are those of chunks.json, and it says so where there are
none.
"""

import json
import re
from pathlib import Path

import pytest

from evaluation.chunks import SUMMARY, ChunkTable
from evaluation.metrics import metrics
from evaluation.records import parse
from reports.chunk_figures import looks
from reports.page import render
from reports.run import ReportSettings, Run, read_run
from reports.sections.over_time import over_time
from tests.reports import synthetic


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("toybox")
    scores = synthetic.make_results(folder, embedded=0)
    settings = parse(ReportSettings, json.dumps(synthetic.report_settings()), "settings")
    return read_run(scores, folder, settings, Path(__file__).parents[2])


def section(page: str) -> str:
    found = re.search(r'<section id="over-time">.*?</section>', page, flags=re.DOTALL)
    assert found is not None
    return found.group(0)


def test_drifts_are_printed_and_marked_as_the_record_has_them(run: Run) -> None:
    """Guards row, column and mark: only the two rows that were made to decay are bold, by what they lose."""
    html = section(render(run))
    table = re.search(r'<table class="wide" id="drift-table">.*?</table>', html, flags=re.DOTALL)
    assert table is not None
    lines = dict(re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', table.group(0), flags=re.DOTALL))
    assert set(lines) == {label for label, _, _ in synthetic.ROWS.values()}
    for row, (label, _, _) in synthetic.ROWS.items():
        cells = re.findall(r"<td(.*?)>(.*?)<small>", lines[label])
        assert len(cells) == 1 + len(synthetic.BY_FRAME)
        for kind, _ in cells:
            assert ("best" in kind) == (row in synthetic.DECAY), (row, kind)
        if row not in synthetic.DECAY:
            assert {text for _, text in cells} == {"0.0"}
    assert ">-6.0<" in lines["LongLive recipe (toy)"], "six steps of 0.01 of a scale of 100"
    assert "Not scored frame by frame, so not here: dynamic degree, object class" in html
    assert "7 of 10 pairs do" in html


def test_every_row_has_a_look_of_its_own(run: Run) -> None:
    """No two rows share colour, dash and marker, so a grey print and a colour-blind reader can tell them
    apart.
    """
    rows = [
        row.model_copy(update={"row": f"{k}_{n}", "kind": k})
        for k in ("native", "control")
        for n, row in enumerate(run.table.rows[:1] * 9)
    ]
    found = looks(rows)
    assert len({(str(look.dash), look.marker) for look in found.values() if not look.control}) == 9
    assert len({str(look) for look in found.values()}) == len(found)


def test_without_values_of_frames_the_section_says_so(run: Run) -> None:
    bare = run.model_copy(update={"chunks": None})
    html = section(render(bare))
    assert "one number a clip and none for its frames" in html
    assert "<table" not in html
    empty = ChunkTable(suite="x", pixel_frames=0, measures=(), without=("color",), curves=(), pairs=())
    assert over_time(empty, run.table.rows, metrics("toybox"), 16) is None


def test_chunks_of_the_record_are_those_of_the_run(run: Run) -> None:
    """Guards the size of run.json: curves only, no values of frames."""
    assert run.chunks is not None
    assert "frame_values" not in run.model_dump_json()
    assert run.chunks.measures == (SUMMARY, *synthetic.BY_FRAME)
    assert {curve.row for curve in run.chunks.curves} == set(synthetic.ROWS)
