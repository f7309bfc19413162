"""What the section on quality over time shows: figures, drifts by row and measure, and which rows drift
differently.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.chunks import SUMMARY, ChunkCurve, ChunkTable
from evaluation.metrics import Metric
from evaluation.records import PairedDifference, RowSummary
from reports.chunk_figures import chunks_figure, summary_figure
from reports.drawing import Picture

SUMMARY_TITLE = "mean of quality dimensions"


@dataclass(frozen=True, slots=True, kw_only=True)
class OverTime:
    """titles: of every measure; drifts: row -> measure -> curve; compared: the measure whose pairs are
    listed, by p-value.
    """

    table: ChunkTable
    titles: dict[str, str]
    summary: Picture | None
    panels: Picture | None
    drifts: dict[str, dict[str, ChunkCurve]]
    compared: str
    pairs: list[PairedDifference]


def over_time(
    table: ChunkTable | None, rows: Sequence[RowSummary], known: Mapping[str, Metric], fps: int
) -> OverTime | None:
    """None if no scorer of the run gave values of frames. rows: in the order of the main table."""
    if table is None or not table.curves:
        return None
    titles = {SUMMARY: SUMMARY_TITLE} | {name: measure.title for name, measure in known.items()}
    drifts: dict[str, dict[str, ChunkCurve]] = {}
    for curve in table.curves:
        drifts.setdefault(curve.row, {})[curve.measure] = curve
    compared = table.measures[0]
    pairs = [pair for pair in table.pairs if pair.measure == compared]
    return OverTime(
        table=table,
        titles=titles,
        summary=summary_figure(table, rows, fps),
        panels=chunks_figure(table, rows, titles),
        drifts=drifts,
        compared=compared,
        pairs=sorted(pairs, key=lambda pair: pair.holm),
    )
