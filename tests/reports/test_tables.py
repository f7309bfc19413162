"""Ranks, ties and marks of the main table."""

import pytest

from evaluation.aggregate import ranks_by_row
from evaluation.dimensions import NAMES
from evaluation.metrics import metrics
from evaluation.records import Interval, PairedDifference, RowSummary, ScoresTable
from reports.exports import latex, markdown
from reports.sections.formula import formula
from reports.tables import Pairs, main_table, power, shipped_line
from tests.evaluation.made_up import FILES


def table(totals: dict[str, float], different: set[frozenset[str]]) -> ScoresTable:
    """Rows with the given totals; pairs in `different` have p = 0.001, the others 0.5."""

    def exact(value: float) -> Interval:
        return Interval(mean=value, low=value, high=value)

    rows = tuple(
        RowSummary(
            row=row, label=f"{row} & co_", kind="native", dimensions={}, incomplete=None,
            total=exact(value), quality=exact(value), semantic=exact(value),
        )
        for row, value in totals.items()
    )  # fmt: skip
    names = list(totals)
    pairs = tuple(
        PairedDifference(
            a=a, b=b, metric="total", difference=exact(totals[a] - totals[b]),
            corrected=exact(totals[a] - totals[b]),
            p_value=0.5, holm=0.001 if frozenset((a, b)) in different else 0.5, prompts=40,
        )
        for i, a in enumerate(names) for b in names[i + 1 :]
    )  # fmt: skip
    ranks = ranks_by_row(pairs, names)
    rows = tuple(row.model_copy(update={"ranks": ranks[row.row]}) for row in rows)
    return ScoresTable(
        suite="toybox",
        inputs=FILES,
        benchmark="toybox",
        dimensions=NAMES,
        rows=rows,
        pairs=pairs,
        draws=2000,
        seed=0,
    )


def test_best_is_marked_only_where_it_stands_alone() -> None:
    """Two rows within noise share both ranks and neither is bold, whatever their order in the file."""
    tied = main_table(table({"a": 80, "b": 81, "c": 70}, {frozenset("ac"), frozenset("bc")}))
    assert [(line.summary.row, str(line.rank), line.mark == "best") for line in tied.ranked] == [
        ("b", "1 to 2", False),
        ("a", "1 to 2", False),
        ("c", "3", False),
    ]
    alone = main_table(table({"a": 80, "b": 81}, {frozenset("ab")}))
    assert [(line.summary.row, str(line.rank), line.mark == "best") for line in alone.ranked] == [
        ("b", "1", True),
        ("a", "2", False),
    ]
    assert [line.mark for line in main_table(table({"a": 80}, set())).ranked] == [None]


def test_second_is_marked_only_below_a_best() -> None:
    """The second row needs a best above it and must differ from every row below; either tie withholds the
    mark.
    """

    def marked(different: set[frozenset[str]]) -> list[str]:
        lines = main_table(table({"a": 81, "b": 80, "c": 70, "d": 69}, different)).ranked
        return [line.mark or "" for line in lines]

    best = {frozenset("ab"), frozenset("ac"), frozenset("ad")}
    assert marked(best | {frozenset("bc"), frozenset("bd")}) == ["best", "second", "", ""]
    assert marked(best | {frozenset("bc")}) == ["best", "", "", ""]
    assert marked({frozenset("ac"), frozenset("ad"), frozenset("bc"), frozenset("bd")}) == [""] * 4
    latex_lines = latex(table({"a": 81, "b": 80, "c": 70}, best | {frozenset("bc")}), "toybox")
    assert r"a \& co\_ & $\mathbf{81.00}_{" in latex_lines
    assert r"b \& co\_ & $\underline{80.00}_{" in latex_lines
    assert "underline{" not in latex(table({"a": 81, "b": 80, "c": 70}, best), "toybox")


def test_power_counts_pairs() -> None:
    """Two of three pairs are parted; a metric without pairs has none."""
    found = power(table({"a": 80, "b": 81, "c": 70}, {frozenset("ac"), frozenset("bc")}), "total")
    assert found == (2, 3)
    assert power(table({"a": 80, "b": 81}, set()), "scene") == (0, 0)


def test_a_difference_reads_the_same_from_both_sides() -> None:
    """Turning a pair around turns its sign and swaps its bounds."""
    difference = Interval(mean=1.0, low=-0.5, high=3.0)
    pairs = Pairs(
        [
            PairedDifference(
                a="a",
                b="b",
                metric="total",
                difference=difference,
                corrected=difference,
                p_value=0.2,
                holm=0.2,
                prompts=9,
            )
        ]
    )
    assert pairs.find("a", "b", "total") == (difference, 0.2)
    assert pairs.find("b", "a", "total") == (Interval(mean=-1.0, low=-3.0, high=0.5), 0.2)
    assert pairs.find("a", "c", "total") is None


def test_exports_escape_their_markup() -> None:
    """Labels are data in LaTeX and Markdown too."""
    one = table({"a": 80}, set())
    assert r"a \& co\_ & $80.00_{[80.0,\,80.0]}$" in latex(one, "toybox")
    piped = one.model_copy(update={"rows": (one.rows[0].model_copy(update={"label": "x|y"}),)})
    assert r"| x\|y |" in markdown(piped, "toybox")


def test_formula_shares_add_up() -> None:
    """Closed form: shares of Total sum to 100, and to 80 over quality."""
    for bounds in ("toybox", "vbench"):
        lines = formula(bounds)
        assert sum(line.share for line in lines) == pytest.approx(100)
        assert sum(line.share for line in lines if line.dimension.group == "quality") == pytest.approx(80)


def test_shipped_rows_get_no_total_from_part_of_the_dimensions() -> None:
    """Fifteen of sixteen shipped scores make no total."""
    assert shipped_line("base", "Base", dict.fromkeys(NAMES, 1.0), metrics("toybox")).totals == pytest.approx(
        (100, 100, 100)
    )
    assert shipped_line("base", "Base", dict.fromkeys(NAMES[1:], 0.5), metrics("toybox")).totals is None
