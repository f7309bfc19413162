"""A custom dimension is in every part of the report, and in no total."""

import json
import re
from pathlib import Path

import pytest

from evaluation.records import CustomDimension, parse
from evaluation.results import pairs_frame, table_frame
from reports.changes import score_changes
from reports.page import render_page
from reports.rendering import PAGES
from reports.run import ReportSettings, Run, read_run
from reports.sections.dimensions import dimensions_section, published_judge
from reports.view import view_of
from tests.reports import synthetic

pytestmark = pytest.mark.slow  # a whole page is drawn
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
    scores = synthetic.make_results(folder, embedded=0, custom=(CUSTOM,))
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


def test_published_ratings_stand_beside_the_judge(run: tuple[Run, str]) -> None:
    """Only beside a run's own ratings and only in the real suite; the sources' box shows them always."""
    made, page = run
    assert "published: 2.951" not in page
    judge = CUSTOM.model_copy(
        update={"name": "dynamic_judge", "title": "motion, judged", "worst": 1, "best": 4}
    )
    rows = tuple(
        row.model_copy(
            update={"dimensions": {**row.dimensions, "dynamic_judge": row.dimensions["colour_drift"]}}
        )
        for row in made.table.rows
    )
    table = made.table.model_copy(update={"custom": (*made.table.custom, judge), "rows": rows})
    real = made.settings.model_copy(update={"bounds": "vbench"})
    judged = view_of(made.model_copy(update={"table": table, "settings": real}))
    assert published_judge(judged)["raven"] == 2.951
    assert published_judge(judged)["cm_grpo"] == 2.962
    assert "truth" not in published_judge(judged)
    assert published_judge(view_of(made.model_copy(update={"table": table}))) == {}
    assert published_judge(view_of(made.model_copy(update={"settings": real}))) == {}
    shown = PAGES.get_template("dimensions.html.j2").render(
        **dimensions_section(judged), rows=judged.rows, table=table, settings=real
    )
    assert shown.count("<small>published: 2.951</small>") == 1
