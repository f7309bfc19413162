"""Quality over time: one panel for the mean of the quality dimensions, and a small one for every dimension
with values of frames.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from evaluation.aggregate import RANKED_KINDS
from evaluation.chunks import SUMMARY, ChunkCurve, ChunkTable, chunk_frames
from evaluation.records import RowSummary
from reports.drawing import DASHES, MUTED, PAGE, SERIES, STYLE, Picture, to_svg

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
COLUMNS = 4
DODGE = 0.05  # chunks between the intervals of neighbouring rows, so that they can be told apart


class Look(NamedTuple):
    """Colour, dash and marker of a row: no two rows share all three, and no row is known by colour alone."""

    colour: str
    dash: Any
    marker: str
    control: bool


def looks(rows: Sequence[RowSummary]) -> dict[str, Look]:
    """How each row is drawn: ranked rows in colour, controls grey and hollow."""
    found: dict[str, Look] = {}
    numbers = {False: 0, True: 0}
    for row in rows:
        control = row.kind not in RANKED_KINDS
        n = numbers[control]
        numbers[control] += 1
        dash = DASHES[(n if control else n // len(SERIES)) % len(DASHES)]
        colour = MUTED if control else SERIES[n % len(SERIES)]
        found[row.row] = Look(colour, dash, MARKERS[n % len(MARKERS)], control)
    return found


def seconds_of(chunk: int, pixel_frames: int, fps: int) -> str:
    """From when to when a chunk is seen, in seconds."""
    frames = chunk_frames(chunk, pixel_frames)
    return f"{frames.start / fps:.1f}-{frames.stop / fps:.1f}"


def _draw(axes: Axes, curves: Sequence[ChunkCurve], known: Mapping[str, Look], *, intervals: bool) -> None:
    shown = [curve for curve in curves if curve.row in known]
    for place, curve in enumerate(shown):
        look = known[curve.row]
        points = [(chunk, found) for chunk, found in enumerate(curve.chunks) if found is not None]
        shift = DODGE * (place - (len(shown) - 1) / 2) if intervals else 0.0
        x = [chunk + shift for chunk, _ in points]
        if intervals:
            axes.vlines(
                x, [v.low for _, v in points], [v.high for _, v in points], color=look.colour, linewidth=0.8, alpha=0.7
            )  # fmt: skip
        axes.plot(
            x, [value.mean for _, value in points], color=look.colour, linestyle=look.dash, marker=look.marker,
            markersize=4 if intervals else 3, markerfacecolor=PAGE if look.control else look.colour,
            linewidth=1.0 if look.control else 1.4, zorder=1.5 if look.control else 2.0,
        )  # fmt: skip
    axes.tick_params(length=0)


def _legend(rows: Sequence[RowSummary], known: Mapping[str, Look]) -> list[Line2D]:
    return [
        Line2D(
            [], [], color=known[row.row].colour, linestyle=known[row.row].dash, marker=known[row.row].marker, markersize=4,
            markerfacecolor=PAGE if known[row.row].control else known[row.row].colour, label=row.label,
        )
        for row in rows
    ]  # fmt: skip


def _zoom(axes: Axes, curves: Sequence[ChunkCurve], known: Mapping[str, Look]) -> None:
    """Scale a panel to the rows that are compared, and to controls as near to them as they are to each other;
    others are cut off.
    """
    shown = [curve for curve in curves if curve.row in known]
    ranked = [c for c in shown if not known[c.row].control]
    means = [v.mean for c in ranked or shown for v in c.chunks if v is not None]
    low, high = min(means), max(means)
    span = max(high - low, 1.0)
    for curve in shown:
        own = [v.mean for v in curve.chunks if v is not None]
        if low - span <= min(own) and max(own) <= high + span:
            means += own
    room = max(0.12 * (max(means) - min(means)), 1.0)
    axes.set_ylim(min(means) - room, max(means) + room)


def summary_figure(table: ChunkTable, rows: Sequence[RowSummary], fps: int) -> Picture | None:
    """The mean of the quality dimensions that are scored frame by frame, with 95 % intervals; None without
    such a curve.
    """
    curves = [curve for curve in table.curves if curve.measure == SUMMARY]
    if not curves:
        return None
    known = looks(rows)
    drawn = [row for row in rows if any(curve.row == row.row for curve in curves)]
    order = {row.row: place for place, row in enumerate(drawn)}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, max(4.4, 0.6 + 0.24 * len(drawn))), layout="constrained")
        axes = figure.subplots()
        _draw(
            axes,
            sorted(curves, key=lambda curve: order.get(curve.row, 0)),
            {row.row: known[row.row] for row in drawn},
            intervals=True,
        )
        _zoom(axes, curves, known)
        chunks = range(len(curves[0].chunks))
        axes.set_xticks(chunks, [f"{c}\n{seconds_of(c, table.pixel_frames, fps)} s" for c in chunks])
        axes.set_ylabel("mean of quality dimensions", color=MUTED)
        axes.set_xlabel("latent chunk, and when it is seen", color=MUTED)
        axes.legend(handles=_legend(drawn, known), loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return to_svg(
            figure,
            "chunks",
            "Quality by latent chunk of every row with 95 percent intervals; drifts in the table",
        )


def chunks_figure(table: ChunkTable, rows: Sequence[RowSummary], titles: Mapping[str, str]) -> Picture | None:
    """A panel for every dimension with values of frames, zoomed to the ranked rows; None without any."""
    names = [name for name in table.measures if name != SUMMARY]
    if not names:
        return None
    known = looks(rows)
    drawn = [row for row in rows if any(curve.row == row.row for curve in table.curves)]
    lines = -(-len(names) // COLUMNS)
    with matplotlib.rc_context(STYLE):
        legend_lines = -(-len(drawn) // COLUMNS)
        figure = Figure(figsize=(10.5, 2.0 * lines + 0.22 * legend_lines + 0.1), layout="constrained")
        panels = figure.subplots(lines, COLUMNS, squeeze=False, sharex=True)
        for axes, name in zip(panels.flat[: len(names)], names, strict=True):
            curves = [curve for curve in table.curves if curve.measure == name]
            _draw(axes, curves, known, intervals=False)
            _zoom(axes, curves, known)
            axes.set_title(titles[name], loc="left")
            chunks = range(len(curves[0].chunks))
            axes.set_xticks(chunks, [str(chunk) for chunk in chunks])
            axes.xaxis.set_tick_params(labelbottom=True)
        for axes in list(panels.flat)[len(names) :]:
            axes.set_visible(False)
        figure.legend(handles=_legend(drawn, known), loc="outside lower center", ncols=COLUMNS)
        return to_svg(
            figure,
            "chunks-by-dimension",
            "Normalised score by latent chunk of every row, a panel for each dimension that is scored "
            "frame by frame",
        )
