"""Long clips: one sentence that can be quoted, and what their pixels say beside every drift of quality."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evaluation.chunks import END_SECONDS, STEP, ChunkTable
from evaluation.dimensions import DIMENSIONS
from evaluation.intervals import LEVEL
from evaluation.long_measures import REDUCED_MOTION, relative_drift, slope
from evaluation.long_table import BETWEEN_MEASURES, SEVEN_QUALITY, LongCell, LongTable
from evaluation.records import Interval, PairedDifference, RowSummary
from reports.drawing import MUTED, SvgFigure, panel_grid, styled, to_svg
from reports.published import PublishedLongLine, read_published
from reports.run import ReportRow
from reports.sections.over_time import curve_titles, legend, looks
from reports.verdict import points_text
from reports.view import View
from reports.words import p_text


class Column(NamedTuple):
    """A measure as the table prints it."""

    measure: str
    title: str
    unit: str
    factor: float = 1.0
    signed: bool = True
    fused: str | None = None
    """The dimension whose score the measure is a part of; its score is shown beside it."""

    def text(self, value: float) -> str:
        """One number of it; a ratio that rounds to 1.00 and a drift that rounds to 0.0 have no sign."""
        shown = self.factor * value
        return f"{shown:+z.1f}" if self.signed else f"{shown:.2f}"


LONG_COLUMNS = (
    Column(SEVEN_QUALITY, "Quality", "its 7 dimensions, normalised", signed=False),
    *(
        Column(measure, title, f"% raw, {network}", signed=False, fused=dimension)
        for (dimension, measure), title, network in zip(
            BETWEEN_MEASURES.items(),
            ("Subject, clip to clip", "Background, clip to clip"),
            ("DINOv2", "DreamSim"),
            strict=True,
        )
    ),
    Column("motion_persistence", "Motion that persists", "last 10 s / seconds 4 to 8", signed=False),
    Column("border_jump", "Jump at chunk borders", "over other latent borders", signed=False),
    Column("latent_flicker", "Flicker at latent borders", "over inside latent frames", signed=False),
    Column("brightness_drift", "Brightness", "levels, last 5 s minus first"),
    Column("saturation_drift", "Saturation", "%, last 5 s minus first", 100.0),
    Column("detail_drift", "Detail", "levels, last 5 s minus first"),
)


DRIFT_METRIC = "imaging_quality"
"""Whose drift papers print."""


def compared_metric(metrics: Sequence[str]) -> str:
    """Which curve says whether quality is lost: the mean of several quality dimensions; overall consistency
    where there are not several, since flicker alone stays perfect in a collapsed clip; else the first curve.
    """
    quality = {one.name for one in DIMENSIONS if one.group == "quality"}
    if len(quality.intersection(metrics)) < 2 and "overall_consistency" in metrics:
        return "overall_consistency"
    return metrics[0]


class DriftLine(NamedTuple):
    """Drift of one row's curve over seconds, in points: one quantity by each published definition."""

    label: str
    ends: Interval
    """Last five seconds minus first. Forcing-KV prints its negative, Rolling Forcing its absolute value."""
    relative: float
    """Last 15 percent of the seconds minus first (Helios)."""
    slope: float
    """Least squares over all seconds but the first, per ten seconds."""
    before_edge: float | None
    """Five whole seconds before the last blocks of a rolling row, minus the first five; None of others."""


def rolling_edges(rows: Mapping[str, ReportRow]) -> dict[str, int]:
    """By rolling row, pixel frames of its last blocks, one fewer than its steps: they are denoised in windows
    that the clip's end cuts short, and differ from all before them.
    """
    found = {}
    for name, row in rows.items():
        rollout = row.settings.get("rollout", {})
        if rollout.get("kind") == "rolling":
            found[name] = STEP * rollout["chunk"] * (len(row.settings["schedule"]["steps"]) - 1)
    return found


def drift_before(curve: Sequence[Interval | None], frames: int, fps: int) -> float | None:
    """Mean of the last END_SECONDS whole seconds of the first `frames` frames, minus the first END_SECONDS;
    None if one of them has no value.
    """
    whole = frames // fps
    ends = [*curve[whole - END_SECONDS : whole], *curve[:END_SECONDS]]
    means = [one.mean for one in ends if one is not None]
    if len(means) < 2 * END_SECONDS:
        return None
    return (sum(means[:END_SECONDS]) - sum(means[END_SECONDS:])) / END_SECONDS


def drift_lines(
    chunks: ChunkTable | None, rows: Sequence[RowSummary], edges: Mapping[str, int]
) -> tuple[str, list[DriftLine]]:
    """The metric, and its lines: imaging quality where it has a curve, else what the headline compares.
    edges: as of `rolling_edges`.
    """
    if chunks is None or not chunks.metrics:
        return "", []
    metric = DRIFT_METRIC if DRIFT_METRIC in chunks.metrics else compared_metric(chunks.metrics)
    curves = {curve.row: curve for curve in chunks.curves if curve.metric == metric}
    lines = []
    for row in rows:
        curve = curves.get(row.row)
        means = [] if curve is None else [second.mean for second in curve.chunks if second is not None]
        if curve is not None and curve.drift is not None and len(means) >= 3:
            before = None
            if row.row in edges and chunks.seconds_of is not None:
                before = drift_before(curve.chunks, chunks.pixel_frames - edges[row.row], chunks.seconds_of)
            lines.append(DriftLine(row.label, curve.drift, relative_drift(means), slope(means), before))
    return metric, lines


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
    drift_of: str
    """Title of the metric of `drifts`."""
    drifts: list[DriftLine]
    fused: dict[str, dict[str, float]]
    """row -> measure -> score of the dimension that it is a part of, in percent."""
    cost: dict[str, str]
    """row -> what sampling a minute of video took."""
    published: list[tuple[str, PublishedLongLine]]
    """What papers print of rows of this run, by label; other lengths, prompts and windows."""


def cost_per_minute(view: View, seconds: float) -> dict[str, str]:
    """What sampling and decoding a minute of video took, of rows whose time is their own."""
    said = {}
    for row, speed in view.run.speed.items():
        spent, unit = speed.cpu_s, "core-s"
        if speed.timed:
            spent, unit = speed.clip_s, "GPU-s" if speed.on_gpu else "s"
        if spent is not None:
            said[row] = f"{spent * 60 / seconds:.3g} {unit}"
    return said


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
    compared, labels = compared_metric(table.metrics), {row.row: row.label for row in ranked}
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
    measured = {cell.measure for cell in table.cells}
    of_scores = {SEVEN_QUALITY, *BETWEEN_MEASURES.values()}
    columns = tuple(one for one in LONG_COLUMNS if one.measure in measured or one.measure not in of_scores)
    metric, drifts = drift_lines(view.run.chunks, view.rows, rolling_edges(view.run.settings.rows))
    published = read_published().long if view.run.settings.bounds == "vbench" else {}
    return LongClips(
        table=table,
        headline=drift_headline(view.run.chunks, curve_titles(view.known), view.ranked, reduced, seconds),
        columns=columns,
        cells=cells,
        reduced=reduced,
        pairs=pairs,
        motion=motion_figure(table, view.rows),
        drift_of=curve_titles(view.known).get(metric, metric),
        drifts=drifts,
        fused={
            row.row: {
                one.measure: row.dimensions[one.fused].raw.mean
                for one in columns
                if one.fused is not None and one.fused in row.dimensions
            }
            for row in view.rows
        },
        cost=cost_per_minute(view, table.pixel_frames / table.fps),
        published=[(row.label, line) for row in view.rows for line in published.get(row.row, ())],
    )


def long_clips_section(view: View) -> dict[str, Any]:
    """What long_clips.html.j2 shows."""
    return {"long": long_clips(view), "reduced_motion": REDUCED_MOTION, "level": LEVEL}
