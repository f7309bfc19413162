"""A row's protocol: what follows from the run's prompts, how it reads, and which rows are compared."""

import itertools

import pytest

from evaluation.aggregate import RowLabel
from evaluation.dimensions import NAMES
from evaluation.finished_run import check_table
from evaluation.protocol import (
    agreed_protocol,
    protocol_differences,
    protocol_groups,
    protocol_tag,
    row_protocol,
    unstated,
)
from evaluation.records import Prompt, Protocol
from evaluation.results import table_frame
from reports.exports import markdown
from reports.tables import main_table
from reports.verdict import verdict_of
from tests.evaluation.made_up import aggregate
from tests.evaluation.test_aggregate import make_prompts, make_result, make_settings

ASKED = Protocol(prompts="extended", text="short")
STANDARD = Protocol(prompts="extended", text="short", static_filter=True, samples=5, length="standard")


def listed(*keeps: int | None, samples: int = 5, extended: str = "a long red thing") -> list[Prompt]:
    """One prompt for each, filtered where it keeps a number."""
    return [
        Prompt(
            id=f"p{n}", prompt="a red thing", extended=extended, dimensions=("color",),
            samples=25 if keep else samples, keep=keep, facts={},
        )
        for n, keep in enumerate(keeps)
    ]  # fmt: skip


def test_what_is_not_declared_follows_from_the_prompts() -> None:
    """Filter, samples and length are those of the run; what a row declares of them stays."""
    assert row_protocol(ASKED, listed(None, 5), long=False) == STANDARD
    long = row_protocol(ASKED, listed(None), long=True)
    assert long == STANDARD.model_copy(update={"static_filter": False, "length": "long"})
    mixed = [*listed(None), *listed(None, samples=2)]
    assert row_protocol(ASKED, mixed, long=False).samples is None
    assert row_protocol(ASKED, listed(3, 3), long=False).samples == 3
    assert row_protocol(None, listed(None), long=False) is None
    theirs = Protocol(static_filter=False, samples=4)
    found = row_protocol(theirs, listed(None, 5), long=False)
    assert (found.static_filter, found.samples, found.prompts) == (False, 4, None)


def test_prompts_without_an_extended_text_rendered_by_the_short_one() -> None:
    """Guards a list of plain lines from being called extended; what others say of their prompts stays."""
    plain = listed(None, extended="a red thing")
    assert row_protocol(ASKED, plain, long=False).prompts == "short"
    assert row_protocol(Protocol(prompts="other"), plain, long=False).prompts == "other"
    assert row_protocol(ASKED, [*plain, *listed(None)], long=False).prompts == "extended"


def test_a_protocol_in_words() -> None:
    """The tag says what is known, and of prompts and text also what is not."""
    whole = "extended prompts, short text scored, static filter, 5 samples"
    assert protocol_tag(STANDARD) == whole
    assert protocol_tag(Protocol(prompts="other", samples=1)) == (
        "other prompts, 1 sample (not stated: text that scored)"
    )
    assert protocol_tag(Protocol()) == "not stated: prompts that rendered, text that scored"
    other = STANDARD.model_copy(update={"prompts": None, "samples": 4})
    assert protocol_differences(other, STANDARD, "here") == [
        "prompts that rendered not stated (here: extended prompts)", "4 samples (here: 5 samples)",
    ]  # fmt: skip
    assert protocol_differences(other, STANDARD, "here", stated=True) == ["4 samples (here: 5 samples)"]


def test_the_largest_group_is_ranked_and_the_first_of_equals() -> None:
    """Guards a row of another protocol at the top of the list from taking the ranks."""
    short = Protocol(prompts="short")
    assert protocol_groups({"a": short, "b": ASKED, "c": ASKED}) == [["b", "c"], ["a"]]
    assert protocol_groups({"a": short, "b": ASKED}) == [["a"], ["b"]]
    assert protocol_groups({"a": None, "b": None}) == [["a", "b"]]
    assert protocol_groups({}) == []


def test_files_that_state_two_protocols_are_not_compared() -> None:
    """What one file states holds for the others, and a contradiction is named; samples are cut to what all
    have.
    """
    said = {"a": ASKED, "b.zip": None, "c": Protocol(static_filter=True, samples=4)}
    agreed = agreed_protocol(said)
    assert agreed == Protocol(prompts="extended", text="short", static_filter=True)
    assert unstated(agreed) == [] and len(unstated(agreed_protocol({"b.zip": None}))) == 2
    for part, value, words in (
        ("prompts", "short", "extended prompts, short prompts"),
        ("text", "extended", "short text scored, extended text scored"),
        ("static_filter", False, "static filter, no static filter"),
        ("length", "long", "standard, long clips"),
    ):
        other = STANDARD.model_copy(update={part: value})
        with pytest.raises(ValueError, match=rf"^a and b are of two protocols \({words}\)"):
            agreed_protocol({"a": STANDARD, "z": Protocol(), "b": other})


@pytest.fixture(scope="module")
def tables() -> dict[str, object]:
    """Four models and a control, all of one protocol or with two of another; and the results."""
    prompts = make_prompts(24)
    names = {"a": "native", "b": "native", "c": "import", "d": "import", "noise": "control"}
    lead = {"a": 0.5, "b": 0.55, "c": 0.7, "d": 0.75, "noise": 0.1}
    results = {
        row: {
            name: make_result(row, name, prompts, lambda p, s, row=row: lead[row] + (p * 7 + s) % 9 / 60)
            for name in NAMES
        }
        for row in names
    }
    given = [result for found in results.values() for result in found.values()]

    def made(**declared: Protocol):
        settings = make_settings(names)
        rows = {
            row: RowLabel(label=found.label, kind=found.kind, protocol=declared.get(row))
            for row, found in settings.rows.items()
        }
        return aggregate("toybox", prompts, given, [], settings.model_copy(update={"rows": rows}))

    every = dict.fromkeys("abcd", ASKED)
    other = {"c": Protocol(text="short"), "d": Protocol(text="short")}
    return {
        "results": results, "one": made(**every), "two": made(**every | other),
        "alone": made(a=ASKED, b=ASKED, c=ASKED, d=Protocol(prompts="short", text="short")),
    }  # fmt: skip


def test_only_rows_of_one_protocol_are_compared(tables) -> None:
    """No pair crosses, ranks are those of the first group, and controls stand against every model."""
    table = tables["two"]
    total = {(pair.a, pair.b) for pair in table.pairs if pair.metric == "total"}
    assert total == {("a", "b"), ("c", "d"), *((row, "noise") for row in "abcd")}
    ranks = {row.row: row.ranks.get("total") for row in table.rows}
    assert (str(ranks["a"]), str(ranks["b"]), ranks["c"], ranks["d"]) == ("2", "1", None, None)
    assert table.power.tests == 1
    assert [row.protocol is None for row in table.rows] == [False] * 4 + [True]
    check_table(table, tables["results"])
    lie = [row.model_copy(update={"protocol": None}) for row in table.rows]
    with pytest.raises(ValueError, match="ranks"):
        check_table(table.model_copy(update={"rows": tuple(lie)}), tables["results"])


def test_a_row_of_another_protocol_changes_no_other_test(tables) -> None:
    """Guards Holm's families: the rows that stay have the tests that they have without the other."""
    alone, one = tables["alone"], tables["one"]
    family = {frozenset(pair) for pair in itertools.combinations("abc", 2)}
    small = {(p.a, p.b): p for p in alone.pairs if p.metric == "total" and {p.a, p.b} in family}
    whole = {(p.a, p.b): p for p in one.pairs if p.metric == "total"}
    assert len(small) == 3
    for pair, found in small.items():
        assert found.p_value == whole[pair].p_value
        assert found.holm <= whole[pair].holm
    assert alone.power.tests == 3


def test_the_report_shows_other_protocols_apart(tables) -> None:
    """Totals are shown, without rank and with the reason; nobody leads over a row of another protocol."""
    main = main_table(tables["alone"])
    assert [line.summary.row for line in main.ranked] == ["c", "b", "a"]
    (line,) = main.apart
    assert (line.summary.row, line.rank, line.versus) == ("d", None, None)
    assert line.unranked == "another protocol, short prompts (ranked rows: extended prompts)"
    verdict = verdict_of(tables["alone"])
    assert verdict.subject != "D"
    assert f"Not ranked: D ({line.unranked})." in verdict.sentences
    assert f"| - | D | import | {line.summary.total.mean:.2f} [" in markdown(tables["alone"], "toybox")
    frame = table_frame(tables["alone"]).drop_duplicates("row").set_index("row")["protocol"]
    assert frame["d"] == "short prompts, short text scored, no static filter, 2 samples"
    assert frame.isna()["noise"]
