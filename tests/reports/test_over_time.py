"""The section on quality over time: its numbers are those of chunks.json, and it says so where there are
none.
"""

import re

from evaluation.chunks import SUMMARY, ChunkTable
from evaluation.metrics import metrics
from reports.page import render_section
from reports.run import Run
from reports.sections.over_time import looks, over_time
from tests.evaluation.made_up import FILES
from tests.reports import synthetic


def test_drifts_are_printed_and_marked_as_the_record_has_them(finished_run: Run) -> None:
    """Guards row, column and mark: only the two rows that were made to decay are bold, by what they lose."""
    html = render_section(finished_run, "over_time")
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


def test_every_row_has_a_look_of_its_own(finished_run: Run) -> None:
    """No two rows share colour, dash and marker, so a grey print and a colour-blind reader can tell them
    apart.
    """
    rows = [
        row.model_copy(update={"row": f"{k}_{n}", "kind": k})
        for k in ("native", "control")
        for n, row in enumerate(finished_run.table.rows[:1] * 9)
    ]
    found = looks(rows)
    assert len({(str(look.dash), look.marker) for look in found.values() if not look.control}) == 9
    assert len({str(look) for look in found.values()}) == len(found)


def test_without_values_of_frames_the_section_says_so(finished_run: Run) -> None:
    bare = finished_run.model_copy(update={"chunks": None})
    html = render_section(bare, "over_time")
    assert "one number a clip and none for its frames" in html
    assert "<table" not in html
    empty = ChunkTable(
        suite="x", inputs=FILES, pixel_frames=0, metrics=(), without=("color",), curves=(), pairs=()
    )
    assert over_time(empty, finished_run.table.rows, metrics("toybox"), 16) is None


def test_chunks_of_the_record_are_those_of_the_run(finished_run: Run) -> None:
    """Guards the size of run.json: curves only, no values of frames."""
    assert finished_run.chunks is not None
    assert "frame_values" not in finished_run.model_dump_json()
    assert finished_run.chunks.metrics == (SUMMARY, *synthetic.BY_FRAME)
    assert {curve.row for curve in finished_run.chunks.curves} == set(synthetic.ROWS)
