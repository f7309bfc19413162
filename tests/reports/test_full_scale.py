"""The verdict at full size: 9 rows x 6,220 clips drawn from a known distribution, through both stages'
scripts.
"""

import re

import pytest

from evaluation.prompts import count_prompts
from evaluation.records import ScoresTable, read_json
from reports.tables import main_table
from tests.reports import full_scale
from workflow.scripts import aggregate, report

pytestmark = pytest.mark.slow


def test_the_list_is_that_of_vbench() -> None:
    """Guards the fixture itself: counts of lines, prompts, clips and evaluations are those of the published
    suite.
    """
    listed = full_scale.prompts()
    assert str(count_prompts(listed)) == (
        "946 lines, 944 distinct prompts, 6,220 clips per row (of 6,230 samples asked for)"
    )
    uses = [len(prompt.dimensions) * (prompt.keep or prompt.samples) for prompt in listed]
    assert sum(uses) == 6810


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[ScoresTable, str]:
    """The table of scores and the page."""
    folder = tmp_path_factory.mktemp("vbench")
    full_scale.write_results(folder)
    commands = full_scale.commands(folder)
    with pytest.MonkeyPatch.context() as patch:
        for stage, main in (("aggregate", aggregate.main), ("report", report.main)):
            patch.setattr("sys.argv", [stage, *commands[stage]])
            main()
    table = read_json(ScoresTable, folder / "aggregate" / "scores.json")
    return table, (folder / "report.html").read_text(encoding="utf-8")


def test_the_verdict_is_the_one_that_was_drawn(built: tuple[ScoresTable, str]) -> None:
    """One winner alone and bold, one tie, the others in order with a rank each, the unfinished row without
    one.
    """
    main = main_table(built[0])
    assert {line.summary.row: str(line.rank) for line in main.ranked} == full_scale.RANKS
    assert [str(line.rank) for line in main.ranked] == list(full_scale.RANKS.values())
    assert [line.summary.row for line in main.ranked if line.mark == "best"] == ["winner"]
    assert [line.summary.row for line in main.incomplete] == ["unfinished"]


def test_the_page_says_so(built: tuple[ScoresTable, str]) -> None:
    """The same verdict where people read it."""
    html = built[1]
    assert re.findall(r'<tr data-row="(\w+)" class="best"', html) == ["winner"]
    assert re.search(r"<h1><em>Winner</em> leads by [\d.]+ points \[[\d., ]+\] over Tied [ab] ", html)
    assert "Not ranked: Unfinished (15 of 16 dimensions scored; missing: scene)." in html
    assert re.search(r'data-row="unfinished".*?15 of 16 dimensions scored; missing: scene', html)
    assert "say nothing about the published models" not in html


def test_intervals_hold_the_truth(built: tuple[ScoresTable, str]) -> None:
    """Differences of Total are known exactly: at most 4 of 28 intervals of 95 % miss (chance of more: under 2
    %).
    """
    leads = full_scale.LEADS
    pairs = [pair for pair in built[0].pairs if pair.metric == "total"]
    assert len(pairs) == 28
    missed = [p for p in pairs if not p.difference.low <= leads[p.a] - leads[p.b] <= p.difference.high]
    assert len(missed) <= 4
