"""The report of a subset run says on top and in every export what was left out, and gives no total it has no
right to.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.dimensions import NAMES
from evaluation.records import parse
from evaluation.results import csv_text, table_frame
from evaluation.text_only_dimensions import TEXT_ONLY
from reports.beside import exports_of
from reports.exports import dimensions_latex, latex, markdown
from reports.page import render_page
from reports.run import ReportSettings, Run, read_run
from reports.sections.dimensions import unscored_reasons
from tests.reports import synthetic

SENTENCE = (
    'Subset run, not comparable with a whole run of this suite. Left out: all but 2 of 40 prompts ("a", b_1).'
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("toybox")
    scores = synthetic.make_results(folder, embedded=0, subset=SENTENCE, totals=False)
    settings = parse(ReportSettings, json.dumps(synthetic.report_settings()), "settings")
    return read_run(scores, folder, settings, Path(__file__).parents[2])


def test_nothing_has_a_total_though_all_dimensions_are_there(run: Run) -> None:
    for row in run.table.rows:
        assert len(row.dimensions) == 16
        assert (row.total, row.quality, row.semantic) == (None, None, None)
        assert row.incomplete == "no total on a subset of the prompts or samples"
    assert not [pair for pair in run.table.pairs if pair.metric in ("total", "quality", "semantic")]


@pytest.mark.slow
def test_the_page_says_so_before_any_number(run: Run) -> None:
    page = render_page(run)
    said = (
        "Subset run, not comparable with a whole run of this suite. Left out: all but 2 of 40 prompts "
        "(&#34;a&#34;, b_1)."
    )
    assert said in page[: page.index("<main")]
    assert "not ranked: no total on a subset" in page


def test_every_export_bears_the_mark(run: Run) -> None:
    """CSV in every line, so that no line can be cut out and taken for a whole run's."""
    quoted = '"' + SENTENCE.replace('"', '""') + '"'
    tables = [export for export in exports_of(run) if export.name.endswith(".csv")]
    assert [export.name for export in tables] == ["table.csv", "pairs.csv", "chunks.csv"]
    for export in tables:
        head, *lines = export.text(run).splitlines()
        assert head.endswith(",subset")
        assert lines
        assert all(line.endswith(quoted) for line in lines)
    assert markdown(run.table, "toybox").startswith("**Subset run, not comparable")
    for text in (latex(run.table, "toybox"), dimensions_latex(run.table)):
        assert r"\footnotesize Subset run" in text
        assert text.index("bottomrule") < text.index("Subset run") < text.index(r"\end{tabular}")
    assert SENTENCE in json.loads(run.model_dump_json())["table"]["subset"]


def test_what_is_not_scored_is_grey_and_says_why() -> None:
    """A list of one's own, a subset and plain settings give different reasons, and what was asked for gives
    none.
    """
    config: dict[str, Any] = {"prompts": {"list": None}, "dimensions": NAMES}
    asked = TEXT_ONLY["vbench"]
    plain = unscored_reasons("vbench", asked, config | {"dimensions": asked}, None)
    assert set(plain) == set(NAMES) - set(asked)
    assert set(plain.values()) == {"left out by the suite's settings"}
    assert set(unscored_reasons("vbench", asked, config, "x").values()) == {"left out of this subset run"}
    listed = unscored_reasons("vbench", asked, {"prompts": {"list": "mine.csv"}, "dimensions": asked}, None)
    assert "hundred actions" in listed["human_action"]
    assert "facts" in listed["color"]
    assert "written for it" in listed["temporal_style"]


def test_a_whole_run_bears_none(finished_run: Run) -> None:
    whole = finished_run.table
    assert "ubset" not in csv_text(table_frame(whole), whole.subset) + latex(whole, "toybox")
