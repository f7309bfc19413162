"""The lines of the main table, made from the table of scores."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from evaluation.aggregate import RANKED_KINDS, TOTALS, Totals, row_groups, totals
from evaluation.dimensions import NAMES, BoundsName
from evaluation.intervals import LEVEL
from evaluation.metrics import Metric
from evaluation.protocol import protocol_differences
from evaluation.records import Interval, PairedDifference, RankRange, RowSummary, ScoresTable

TOTAL_NAMES: dict[BoundsName, str] = {"toybox": "Toybox-Total", "vbench": "Total"}
SUITE_KINDS: dict[BoundsName, str] = {
    "toybox": "recipe (toy): tiny models, not the published checkpoints",
    "vbench": "VBench protocol",
}
"""What kind of suite a run's numbers are of."""
FOREIGN_KINDS: dict[BoundsName, str] = {
    "toybox": "toybox checkers on clips made elsewhere, not VBench",
    "vbench": "VBench's scorers on clips made elsewhere, not its protocol",
}
"""The same where nothing but clips of others was scored, and not on the whole benchmark."""
Mark = Literal["best", "second"] | None
"""best: above every other ranked row, so it may be bold; second: below the best alone, above all others."""


def is_made_here(table: ScoresTable) -> bool:
    """Whether clips of a row were sampled in the run, or by a program that it started."""
    return any(row.kind in ("native", "external", "teacher") for row in table.rows)


def suite_kind(table: ScoresTable) -> str:
    """What kind of suite a table's numbers are of, in words, and whether any were computed elsewhere."""
    whole = table.benchmark == "vbench" and any(row.total is not None for row in table.rows)
    said = (SUITE_KINDS if whole or is_made_here(table) else FOREIGN_KINDS)[table.benchmark]
    models = [row.kind for row in table.rows if row.kind in RANKED_KINDS]
    if "results" in models:
        said += f", {'' if set(models) == {'results'} else 'some '}scores imported as declared"
    return said


class MainLine(NamedTuple):
    """One line of the main table."""

    summary: RowSummary
    rank: RankRange | None = None
    """None for a row that is not ranked."""
    mark: Mark = None
    versus: Interval | None = None
    """The row minus the best one, or a control minus the row it is made from, paired. None for the best."""
    p_value: float | None = None
    minus: str | None = None
    """Label of the row that a control is made from."""
    unranked: str | None = None
    """Why a model has no rank: another protocol, or no total."""


class MainTable(NamedTuple):
    """Ranked rows, the best first, rows of other protocols, rows without a total, then teachers and controls
    in the run's order.
    """

    ranked: list[MainLine]
    apart: list[MainLine]
    """Of another protocol than the ranked rows, so that nothing was tested against them."""
    incomplete: list[MainLine]
    teachers: list[MainLine]
    controls: list[MainLine]

    @property
    def lines(self) -> list[MainLine]:
        """All lines, in the order of the table."""
        return [*self.ranked, *self.apart, *self.incomplete, *self.teachers, *self.controls]


class ShippedLine(NamedTuple):
    """A row that was measured when its file was shipped, not in this run: means only (percent), no rank."""

    row: str
    label: str
    raw: dict[str, float]
    normalised: dict[str, float]
    totals: Totals | None
    """None unless all sixteen dimensions are there."""


class Pairs:
    """Paired differences by rows and metric, in either direction."""

    def __init__(self, pairs: Sequence[PairedDifference]) -> None:
        self._pairs = {(pair.a, pair.b, pair.metric): pair for pair in pairs}

    def find(self, a: str, b: str, metric: str) -> tuple[Interval, float] | None:
        """`a` minus `b` with its corrected interval and p-value. None if they were not compared."""
        if (pair := self._pairs.get((a, b, metric))) is not None:
            return pair.corrected, pair.holm
        if (pair := self._pairs.get((b, a, metric))) is not None:
            turned = pair.corrected
            return Interval(mean=-turned.mean, low=-turned.high, high=-turned.low), pair.holm
        return None

    def differ(self, a: str, b: str, metric: str) -> bool:
        """Whether the two were compared and differ at the 5 % level after Holm's correction."""
        found = self.find(a, b, metric)
        return found is not None and found[1] < LEVEL


def metric_value(row: RowSummary, metric: str) -> Interval | None:
    """A row's total, or its normalised score on a dimension. None where the row has none."""
    if metric in TOTALS:
        return row.totals.get(metric)
    return row.dimensions[metric].normalised if metric in row.dimensions else None


def best_first(table: ScoresTable, metric: str) -> list[str]:
    """The ranked rows that have a metric, highest first."""
    ranked = row_groups(table.rows)[0]
    found = [(row.row, metric_value(row, metric)) for row in table.rows if row.row in ranked]
    means = {row: value.mean for row, value in found if value is not None}
    return sorted(means, key=lambda row: -means[row])


def marks(ordered: Sequence[str], metric: str, pairs: Pairs) -> dict[str, Mark]:
    """Which rows may be marked. ordered: best first. A marked row differs from every row below it."""
    found: dict[str, Mark] = {}
    for place, mark in enumerate(("best", "second")[: max(len(ordered) - 1, 0)]):
        row, below = ordered[place], ordered[place + 1 :]
        if not all(pairs.differ(row, other, metric) for other in below):
            break
        found[row] = "best" if mark == "best" else "second"
    return found


def metric_marks(table: ScoresTable) -> dict[str, dict[str, Mark]]:
    """The marks of every total and dimension, by metric and row."""
    pairs = Pairs(table.pairs)
    names = (*TOTALS, *NAMES, *(custom.name for custom in table.custom))
    return {name: marks(best_first(table, name), name, pairs) for name in names}


def main_table(table: ScoresTable) -> MainTable:
    """Order by Total, with the ranks that the paired tests leave open to each row."""
    pairs = Pairs(table.pairs)
    group, *_ = row_groups(table.rows)
    compared = [row for row in table.rows if row.row in group]
    others = [row for row in table.rows if row.kind in RANKED_KINDS and row.row not in group]
    ranked = [(-row.total.mean, row.row, row) for row in compared if row.total is not None]
    order = [row for *_, row in sorted(ranked, key=lambda item: item[:2])]
    names = [row.row for row in order]
    marked = marks(names, "total", pairs)
    sources = control_sources(table)
    return MainTable(
        ranked=[
            MainLine(
                row,
                row.ranks.get("total"),
                marked.get(row.row),
                *(pairs.find(row.row, names[0], "total") or ()),
            )
            for row in order
        ],
        apart=[MainLine(row, unranked=_another_protocol(row, compared[0])) for row in others],
        incomplete=[MainLine(row, unranked=row.incomplete) for row in compared if row.total is None],
        teachers=[MainLine(row) for row in table.rows if row.kind == "teacher"],
        controls=[
            _control_line(row, sources.get(row.row), pairs) for row in table.rows if row.kind == "control"
        ],
    )


def _another_protocol(row: RowSummary, ranked: RowSummary) -> str:
    why = f"another protocol, {'; '.join(protocol_differences(row.protocol, ranked.protocol, 'ranked rows'))}"
    return f"{why}; {row.incomplete}" if row.incomplete else why


def _control_line(row: RowSummary, source: RowSummary | None, pairs: Pairs) -> MainLine:
    if source is None:
        return MainLine(row)
    versus, p_value = pairs.find(row.row, source.row, "total") or (None, None)
    return MainLine(row, versus=versus, p_value=p_value, minus=source.label)


def control_sources(table: ScoresTable) -> dict[str, RowSummary]:
    """The row that each control was made from, by control, where there is one."""
    rows = {row.row: row for row in table.rows}
    return {row.row: rows[row.of] for row in table.rows if row.of is not None}


class StudentLine(NamedTuple):
    """A native row against the teacher: what distillation cost it, by total, quality and semantic."""

    student: RowSummary
    teacher: RowSummary
    minus: dict[str, tuple[Interval, float]]
    """The row minus the teacher with the p-value after Holm's correction, by metric."""


def distilled(main: MainTable, pairs: Pairs) -> list[StudentLine]:
    """Every complete native row against every complete teacher, in the order of the table."""
    return [
        StudentLine(
            line.summary,
            teacher.summary,
            {
                name: found
                for name in TOTALS
                if (found := pairs.find(line.summary.row, teacher.summary.row, name)) is not None
            },
        )
        for teacher in main.teachers
        for line in main.ranked
        if teacher.summary.total is not None and line.summary.kind == "native"
    ]


class Power(NamedTuple):
    """What a metric can tell of the ranked rows."""

    separated: int
    """Pairs of rows that it tells apart, of `compared` pairs."""
    compared: int


def power(table: ScoresTable, metric: str) -> Power:
    """What the paired tests of one dimension or total say of the ranked rows."""
    ranked = set(row_groups(table.rows)[0])
    compared = [pair for pair in table.pairs if pair.metric == metric and {pair.a, pair.b} <= ranked]
    return Power(sum(pair.holm < LEVEL for pair in compared), len(compared))


def shipped_line(
    row: str, label: str, scores: Mapping[str, float], known: Mapping[str, Metric]
) -> ShippedLine:
    """A shipped row's line. scores: raw fractions by dimension, as the shipped file's own record says."""
    raw = {name: known[name].factor * scores[name] for name in NAMES if name in scores}
    normalised = {name: known[name].normalise(value) for name, value in raw.items()}
    arrays = {name: np.asarray(value) for name, value in normalised.items()}
    return ShippedLine(row, label, raw, normalised, totals(arrays) if len(raw) == len(NAMES) else None)
