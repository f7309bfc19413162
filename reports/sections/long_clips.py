"""Long clips: one sentence that can be quoted, and what their pixels say beside every drift of quality."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evaluation.chunks import ChunkTable
from evaluation.intervals import LEVEL
from evaluation.long_measures import REDUCED_MOTION
from evaluation.long_series import PixelMeasure
from evaluation.long_table import LongCell, LongTable
from evaluation.records import Interval, PairedDifference, RowSummary
from reports.drawing import MUTED, SvgFigure, panel_grid, styled, to_svg
from reports.sections.over_time import curve_titles, legend, looks
from reports.verdict import points_text
from reports.view import View
from reports.words import p_text


class Column(NamedTuple):
    """A measure as the table prints it."""

    measure: PixelMeasure
    title: str
    unit: str
    factor: float = 1.0
    signed: bool = True

    def text(self, value: float) -> str:
        """One number of it; a ratio that rounds to 1.00 and a drift that rounds to 0.0 have no sign."""
        shown = self.factor * value
        return f"{shown:+z.1f}" if self.signed else f"{shown:.2f}"


LONG_COLUMNS = (
    Column("motion_persistence", "Motion that persists", "last 10 s / seconds 4 to 8", signed=False),
    Column("border_jump", "Jump at chunk borders", "over other latent borders", signed=False),
    Column("latent_flicker", "Flicker at latent borders", "over inside latent frames", signed=False),
    Column("brightness_drift", "Brightness", "levels, last 5 s minus first"),
    Column("saturation_drift", "Saturation", "%, last 5 s minus first", 100.0),
    Column("detail_drift", "Detail", "levels, last 5 s minus first"),
)


class LongClips(NamedTuple):
    """What the pixels of a run's long clips say, ready to show."""

    table: LongTable
    headline: str
    columns: tuple[Column, ...]
    cells: dict[str, dict[str, LongCell]]
    """row -> measure -> cell."""
    reduced: set[str]
    """Rows whose motion is certainly reduced."""
    pairs: list[PairedDifference]
    """Of motion persistence, by p-value."""
    motion: SvgFigure | None


def reduced_motion(cells: dict[str, dict[str, LongCell]]) -> set[str]:
    """Rows whose motion persistence lies below REDUCED_MOTION with its whole interval, or that have none."""
    found = {row: of.get("motion_persistence") for row, of in cells.items()}
    return {row for row, cell in found.items() if cell is None or cell.value.high < REDUCED_MOTION}


def drift_headline(
    table: ChunkTable | None,
    titles: Mapping[str, str],
    ranked: Sequence[RowSummary],
    reduced: set[str],
    seconds: int,
) -> str:
    """Who has lost how much after so many seconds, who has not, and the difference, in one sentence.

    A row whose motion dies is never the one that holds: a frozen picture loses nothing.
    """
    if table is None or not table.metrics:
        return "No drift of quality: the scorers of this run gave one number a clip."
    compared, labels = table.metrics[0], {row.row: row.label for row in ranked}
    drifts = {
        curve.row: (curve.drift, curve.holm)
        for curve in table.curves
        if curve.metric == compared
        and curve.row in labels
        and curve.drift is not None
        and curve.holm is not None
    }
    what, after = titles[compared], f"After {seconds} seconds"
    lost = {row: drift for row, (drift, holm) in drifts.items() if holm < LEVEL and drift.mean < 0}
    if not lost:
        return f"{after} no model has lost {what} beyond what chance explains."
    worst = min(lost, key=lambda row: lost[row].mean)
    said = f"{after} {labels[worst]} has lost {_lost(lost[worst])} of {what}"
    holding = [row for row in drifts if row not in lost and row not in reduced]
    if not holding:
        return f"{said}; no model holds it with its motion alive."
    best = max(holding, key=lambda row: drifts[row][0].mean)
    said += f", {labels[best]} nothing that shows ({drifts[best][0].mean:+z.1f})"
    pairs = [one for one in table.pairs if one.metric == compared and {one.a, one.b} == {worst, best}]
    if not pairs:
        return f"{said}."
    apart = "" if pairs[0].holm < LEVEL else ", which chance explains too"
    return (
        f"{said}; the difference is {abs(pairs[0].difference.mean):.1f} points "
        f"({p_text(pairs[0].holm)}){apart}."
    )


def _lost(drift: Interval) -> str:
    return points_text(Interval(mean=-drift.mean, low=-drift.high, high=-drift.low))


@styled
def motion_figure(table: LongTable, rows: Sequence[RowSummary]) -> SvgFigure | None:
    """Motion by second of every row: what a quality curve does not show. None without a row."""
    curves = {curve.row: curve.seconds for curve in table.curves if curve.series == "motion"}
    drawn = [row for row in rows if row.row in curves]
    if not drawn:
        return None
    known = looks(rows)
    figure, (axes,) = panel_grid(1, 1, (10.5, max(3.6, 0.6 + 0.24 * len(drawn))))
    for row in drawn:
        style = known[row.row].style | {"marker": None}
        axes.plot(range(len(curves[row.row])), curves[row.row], **style)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("second", color=MUTED)
    axes.set_ylabel("change from frame to frame, levels", color=MUTED)
    axes.legend(handles=legend(drawn, known), loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return to_svg(figure, "motion", "Mean change from frame to frame by second, of every row", "motion table")


def long_clips(view: View) -> LongClips | None:
    """None of a run whose clips are short."""
    table = view.run.long
    if table is None:
        return None
    cells: dict[str, dict[str, LongCell]] = {curve.row: {} for curve in table.curves}
    for cell in table.cells:
        cells.setdefault(cell.row, {})[cell.measure] = cell
    seconds, reduced = round(table.pixel_frames / table.fps), reduced_motion(cells)
    pairs = sorted((p for p in table.pairs if p.metric == "motion_persistence"), key=lambda pair: pair.holm)
    return LongClips(
        table=table,
        headline=drift_headline(view.run.chunks, curve_titles(view.known), view.ranked, reduced, seconds),
        columns=LONG_COLUMNS,
        cells=cells,
        reduced=reduced,
        pairs=pairs,
        motion=motion_figure(table, view.rows),
    )


def long_clips_section(view: View) -> dict[str, Any]:
    """What long_clips.html.j2 shows."""
    return {"long": long_clips(view), "reduced_motion": REDUCED_MOTION, "level": LEVEL}
