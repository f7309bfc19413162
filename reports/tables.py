"""Score table -> ranked lines. Pure; no number is computed here that decides anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evaluation.aggregate import RANKED_KINDS, TOTALS, totals
from evaluation.dimensions import DIMENSIONS, NAMES, BoundsName, Dimension, bounds_of
from evaluation.intervals import tie_groups
from evaluation.records import Interval, PairedDifference, RowSummary, ScoresTable

LEVEL = 0.05
TOTAL_NAMES: dict[BoundsName, str] = {"toybox": "Toybox-Total", "vbench": "Total"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MainLine:
    """One line of the main table. group: tie group, 1 is best, None if not ranked; versus: row minus best,
    paired.

    best: significantly above every other ranked row, so it may be bold; second: below the best alone and
    above all others.
    """

    row: str
    label: str
    kind: str
    group: int | None
    best: bool
    second: bool
    total: Interval | None
    quality: Interval | None
    semantic: Interval | None
    dynamic: Interval | None
    versus: Interval | None
    p_value: float | None
    incomplete: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedLine:
    """A row that was measured when its file was shipped, not in this run: means only (percent), no interval,
    no rank.
    """

    row: str
    label: str
    raw: dict[str, float]
    normalised: dict[str, float]
    total: float | None
    quality: float | None
    semantic: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MainTable:
    """Ranked rows best first, then rows without a total, then controls in the run's order."""

    ranked: tuple[MainLine, ...]
    incomplete: tuple[MainLine, ...]
    controls: tuple[MainLine, ...]


class Pairs:
    """Paired differences by rows and measure, in either direction."""

    def __init__(self, pairs: Sequence[PairedDifference]) -> None:
        self._pairs = {(pair.a, pair.b, pair.measure): pair for pair in pairs}

    def find(self, a: str, b: str, measure: str) -> tuple[Interval, float] | None:
        """`a` minus `b` with its interval, and the Holm-adjusted p-value; None where the two were not
        compared.
        """
        if (pair := self._pairs.get((a, b, measure))) is not None:
            return pair.difference, pair.holm
        if (pair := self._pairs.get((b, a, measure))) is not None:
            turned = pair.difference
            return Interval(mean=-turned.mean, low=-turned.high, high=-turned.low), pair.holm
        return None

    def differ(self, a: str, b: str, measure: str) -> bool:
        """Whether the two were compared and differ at the 5 % level after Holm's correction."""
        found = self.find(a, b, measure)
        return found is not None and found[1] < LEVEL


def _line(
    summary: RowSummary,
    group: int | None = None,
    mark: Literal["best", "second"] | None = None,
    versus: tuple[Interval, float] | None = None,
) -> MainLine:
    dynamic = summary.dimensions.get("dynamic_degree")
    return MainLine(
        row=summary.row, label=summary.label, kind=summary.kind, group=group, best=mark == "best", second=mark == "second",
        total=summary.total, quality=summary.quality, semantic=summary.semantic,
        dynamic=None if dynamic is None else dynamic.normalised,
        versus=None if versus is None else versus[0], p_value=None if versus is None else versus[1],
        incomplete=summary.incomplete,
    )  # fmt: skip


def marks(ordered: Sequence[str], measure: str, pairs: Pairs) -> dict[str, Literal["best", "second"]]:
    """Which rows may be marked, best first in `ordered`: each must differ from every row below, and the
    second needs a best.
    """
    found: dict[str, Literal["best", "second"]] = {}
    for place, mark in enumerate(("best", "second")[: max(len(ordered) - 1, 0)]):
        row, below = ordered[place], ordered[place + 1 :]
        if not all(pairs.differ(row, other, measure) for other in below):
            break
        found[row] = "best" if mark == "best" else "second"
    return found


def main_table(table: ScoresTable) -> MainTable:
    """Ranks by Total; ties by the paired test; best and second are marked only where each stands alone."""
    pairs = Pairs(table.pairs)
    ranked = [row for row in table.rows if row.kind in RANKED_KINDS and row.total is not None]
    ranked.sort(key=lambda row: (-row.total.mean if row.total else 0.0, row.row))
    order = [row.row for row in ranked]
    groups = tie_groups(order, lambda a, b: pairs.differ(a, b, "total"))
    marked = marks(order, "total", pairs)
    return MainTable(
        ranked=tuple(
            _line(row, groups[row.row], marked.get(row.row), pairs.find(row.row, order[0], "total"))
            for row in ranked
        ),
        incomplete=tuple(_line(row) for row in table.rows if row.kind in RANKED_KINDS and row.total is None),
        controls=tuple(_line(row) for row in table.rows if row.kind not in RANKED_KINDS),
    )


def score(row: RowSummary, measure: str) -> Interval | None:
    """Total, Quality, Semantic or the normalised score of a dimension; None where the row has none."""
    if measure in TOTALS:
        return {"total": row.total, "quality": row.quality, "semantic": row.semantic}[measure]
    return row.dimensions[measure].normalised if measure in row.dimensions else None


def _ordered(table: ScoresTable, measure: str) -> list[str]:
    """Ranked rows that have a measure, highest first."""
    found = [(score(row, measure), row.row) for row in table.rows if row.kind in RANKED_KINDS]
    return [
        row for value, row in sorted(((v.mean, r) for v, r in found if v is not None), key=lambda x: -x[0])
    ]


def dimension_marks(table: ScoresTable) -> dict[str, dict[str, Literal["best", "second"]]]:
    """Marks of every dimension, of Quality and of Semantic, see `marks`."""
    pairs = Pairs(table.pairs)
    return {
        name: marks(_ordered(table, name), name, pairs)
        for name in (*TOTALS, *NAMES, *(custom.name for custom in table.custom))
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What a dimension can tell: separated of compared pairs, and how many groups of rows it makes (1: all
    tied).
    """

    separated: int
    compared: int
    groups: int


def power(table: ScoresTable, measure: str) -> Power:
    """Of the ranked rows, by the paired tests of one dimension or total."""
    pairs = Pairs(table.pairs)
    separated, compared = told_apart(table, measure)
    groups = tie_groups(_ordered(table, measure), lambda a, b: pairs.differ(a, b, measure))
    return Power(separated=separated, compared=compared, groups=max(groups.values(), default=0))


def told_apart(table: ScoresTable, dimension: str) -> tuple[int, int]:
    """How many pairs of ranked rows a dimension tells apart, and how many it compared."""
    pairs = [pair for pair in table.pairs if pair.measure == dimension]
    return sum(pair.holm < LEVEL for pair in pairs), len(pairs)


def shipped_line(row: str, label: str, scores: Mapping[str, float], bounds: BoundsName) -> ShippedLine:
    """scores: raw fractions by dimension, as the shipped file's own record says. Totals only if all sixteen
    are there.
    """
    raw = {name: 100.0 * scores[name] for name in NAMES if name in scores}
    normalised = {name: bounds_of(name, bounds).normalise(value) for name, value in raw.items()}
    whole = (
        totals({name: np.asarray(value) for name, value in normalised.items()})
        if len(raw) == len(NAMES)
        else None
    )
    return ShippedLine(
        row=row, label=label, raw=raw, normalised=normalised,
        total=None if whole is None else float(whole.total),
        quality=None if whole is None else float(whole.quality),
        semantic=None if whole is None else float(whole.semantic),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FormulaLine:
    """How a dimension enters the total: its bounds and its share of Total in percent."""

    dimension: Dimension
    low: float
    high: float
    share: float


def formula(bounds: BoundsName) -> list[FormulaLine]:
    """The sixteen rows of "how the total is built"; shares add up to 100."""
    weights = {g: sum(d.weight for d in DIMENSIONS if d.group == g) for g in ("quality", "semantic")}
    group_share = {"quality": 80.0, "semantic": 20.0}
    return [
        FormulaLine(
            dimension=dimension,
            low=bounds_of(dimension.name, bounds).low,
            high=bounds_of(dimension.name, bounds).high,
            share=group_share[dimension.group] * dimension.weight / weights[dimension.group],
        )
        for dimension in DIMENSIONS
    ]
