"""A custom dimension is in every part of the report, and in no total."""

import json
import re
from pathlib import Path

import pytest

from evaluation.records import CustomDimension, parse
from evaluation.results import pairs_frame, table_frame
from reports.changes import score_changes
from reports.page import render_page
from reports.run import ReportSettings, Run, read_run
from tests.reports import synthetic

CUSTOM = CustomDimension(
    name="colour_drift",
    title="colour <drift>",
    unit="levels",
    worst=64,
    best=0,
    prompts="color",
    file="mine/drift.py",
    sha256="d" * 64,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, str]:
    folder = tmp_path_factory.mktemp("toybox")
    scores = synthetic.make_results(folder, embedded=0, custom=(CUSTOM,), keep_results=True)
    settings = parse(ReportSettings, json.dumps(synthetic.report_settings()), "settings")
    made = read_run(scores, folder, settings, Path(__file__).parents[2])
    return made, render_page(made)


def test_it_is_in_every_part_of_the_page(run: tuple[Run, str]) -> None:
    """Tables, figures, statistics, comparison and browser name it without knowing it; its title is escaped
    like any other text.
    """
    made, page = run
    cell = made.table.rows[0].dimensions["colour_drift"]
    sections = dict(re.findall(r'<section id="([a-z-]+)">(.*?)</section>', page, flags=re.DOTALL))
    line = re.search(
        r'<tr><th scope="row">colour &lt;drift&gt;.*?</tr>', sections["by-dimension"], flags=re.DOTALL
    )
    assert line is not None
    assert f"{cell.normalised.mean:.1f}<small>" in line.group(0)
    assert f"{cell.raw.mean:.1f}<small>" in line.group(0)
    assert "levels, from 64 (0) to 0 (100)" in line.group(0)
    assert "less is better, on the prompts of color; mine/drift.py" in sections["by-dimension"]
    assert "colour &lt;drift&gt; (custom)" in sections["by-dimension"], "a panel of the forest plot"
    assert "colour &lt;drift&gt;</th><td>10</td>" in sections["statistics"], "its prompts and its power"
    assert "all 17 dimensions" in sections["scores"]
    assert "colour &lt;drift&gt;" in sections["over-time"]
    assert "<drift>" not in page.replace("\\u003cdrift>", "")
    assert "colour_drift" not in sections["formula"]


def test_it_is_in_the_exports_and_in_no_total(run: tuple[Run, str], finished_run: Run) -> None:
    made, _ = run
    assert "custom" in set(table_frame(made.table).query("metric == 'colour_drift'")["scorer_kind"])
    assert "colour_drift" in set(pairs_frame(made.table)["metric"])
    assert set(made.scores["raven"]["colour_drift"]) == {
        p.id for p in made.prompts if "color" in p.dimensions
    }
    assert [row.total for row in made.table.rows] == [row.total for row in finished_run.table.rows]


def test_two_runs_compare_it_only_if_it_is_the_same(run: tuple[Run, str]) -> None:
    """Guards against a difference of two functions that share a name."""
    made, _ = run
    assert {c.metric for c in score_changes(made, made)} >= {"colour_drift", "total"}
    other = made.table.model_copy(update={"custom": (CUSTOM.model_copy(update={"sha256": "e" * 64}),)})
    changed = {c.metric for c in score_changes(made, made.model_copy(update={"table": other}))}
    assert "colour_drift" not in changed
    assert "total" in changed
