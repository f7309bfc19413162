"""Quality over time: curves by latent chunk, drifts by row and metric, and which rows drift differently."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from evaluation.aggregate import RANKED_KINDS
from evaluation.chunks import SUMMARY, ChunkCurve, ChunkTable, chunk_frames
from evaluation.intervals import LEVEL
from evaluation.metrics import Metric
from evaluation.records import PairedDifference, RowSummary
from evaluation.words import numbered
from reports.drawing import DASHES, MUTED, PAGE, SERIES, SvgFigure, panel_grid, plot_names, styled, to_svg
from reports.view import View

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
COLUMNS = 4
DODGE = 0.05  # chunks between the intervals of neighbouring rows, so that they can be told apart

DENSE = 20
"""Points of a curve from which on intervals are bands and not every point has a marker."""


class Look(NamedTuple):
    """How a row is drawn. No two rows share colour, dash and marker, and no row is known by colour alone."""

    colour: str
    dash: Any
    marker: str
    control: bool

    @property
    def style(self) -> dict[str, Any]:
        """As arguments of matplotlib. Controls are hollow."""
        face = PAGE if self.control else self.colour
        return {
            "color": self.colour, "linestyle": self.dash, "marker": self.marker, "markerfacecolor": face,
        }  # fmt: skip


def looks(rows: Sequence[RowSummary]) -> dict[str, Look]:
    """How each row is drawn: ranked rows in colour, controls grey."""
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


def _draw(axes: Axes, curves: Sequence[ChunkCurve], known: Mapping[str, Look], *, intervals: bool) -> None:
    for place, curve in enumerate(curves):
        look = known[curve.row]
        points = [(chunk, found) for chunk, found in enumerate(curve.chunks) if found is not None]
        dense = len(curve.chunks) > DENSE
        shift = DODGE * (place - (len(curves) - 1) / 2) if intervals and not dense else 0.0
        x = [chunk + shift for chunk, _ in points]
        low, high = [v.low for _, v in points], [v.high for _, v in points]
        if intervals and dense:
            axes.fill_between(x, low, high, color=look.colour, alpha=0.12, linewidth=0)
        elif intervals:
            axes.vlines(x, low, high, color=look.colour, linewidth=0.8, alpha=0.7)
        axes.plot(
            x, [value.mean for _, value in points], **look.style, markersize=4 if intervals else 3,
            markevery=10 if dense else 1,
            linewidth=1.0 if look.control else 1.4, zorder=1.5 if look.control else 2.0,
        )  # fmt: skip


def _zoom(axes: Axes, curves: Sequence[ChunkCurve], known: Mapping[str, Look]) -> None:
    """Scale a panel to the ranked rows, and to controls as near to them as they are to each other.

    Other controls are cut off.
    """
    ranked = [curve for curve in curves if not known[curve.row].control]
    means = [v.mean for c in ranked or curves for v in c.chunks if v is not None]
    if not means:
        return
    low, high = min(means), max(means)
    reach = max(high - low, 1.0)
    for curve in curves:
        its = [v.mean for v in curve.chunks if v is not None]
        if its and low - reach <= min(its) and max(its) <= high + reach:
            means += its
    room = max(0.12 * (max(means) - min(means)), 1.0)
    axes.set_ylim(min(means) - room, max(means) + room)


def legend(rows: Sequence[RowSummary], known: Mapping[str, Look]) -> list[Line2D]:
    """An entry for each row."""
    names = plot_names([row.label for row in rows])
    return [
        Line2D([], [], **known[row.row].style, markersize=4, label=name)
        for row, name in zip(rows, names, strict=True)
    ]


def _seconds(chunk: int, pixel_frames: int, fps: float) -> str:
    """From when to when a chunk is seen."""
    frames = chunk_frames(chunk, pixel_frames)
    return f"{frames.start / fps:.1f}-{frames.stop / fps:.1f} s"


def _curves(table: ChunkTable, metric: str, rows: Sequence[RowSummary]) -> list[ChunkCurve]:
    """The curves of a metric, in the table's order, of the rows that are shown."""
    names = {row.row for row in rows}
    return [curve for curve in table.curves if curve.metric == metric and curve.row in names]


@styled
def summary_figure(table: ChunkTable, rows: Sequence[RowSummary], fps: float) -> SvgFigure | None:
    """The mean of the quality dimensions that are scored frame by frame. None without such a curve."""
    curves = {curve.row: curve for curve in _curves(table, SUMMARY, rows)}
    drawn = [row for row in rows if row.row in curves]
    if not drawn:
        return None
    known = looks(rows)
    ordered = [curves[row.row] for row in drawn]
    figure, (axes,) = panel_grid(1, 1, (10.5, max(4.4, 0.6 + 0.24 * len(drawn))))
    _draw(axes, ordered, known, intervals=True)
    _zoom(axes, ordered, known)
    chunks = range(len(ordered[0].chunks))
    if table.seconds_of is None:
        axes.set_xticks(chunks, [f"{c}\n{_seconds(c, table.pixel_frames, fps)}" for c in chunks])
    axes.set_ylabel("mean of quality dimensions", color=MUTED)
    axes.set_xlabel("second" if table.seconds_of else "latent chunk, and when it is seen", color=MUTED)
    axes.legend(handles=legend(drawn, known), loc="upper left", bbox_to_anchor=(1.0, 1.0))
    title = f"Quality by {table.unit} of every row with 95 percent intervals"
    return to_svg(figure, "chunks", title, "drifts in the table")


def flat(curves: Sequence[ChunkCurve], known: Mapping[str, Look]) -> bool:
    """Whether no model's curve moves by as much as is printed, so that its panel would show nothing."""
    moved = [[v.mean for v in c.chunks if v is not None] for c in curves if not known[c.row].control]
    return bool(moved) and all(max(means) - min(means) < 0.1 for means in moved if means)


@styled
def chunks_figure(
    table: ChunkTable, rows: Sequence[RowSummary], titles: Mapping[str, str]
) -> SvgFigure | None:
    """A panel for every dimension that is scored frame by frame and moves. None without any."""
    known = looks(rows)
    names = [
        name for name in table.metrics if name != SUMMARY and not flat(_curves(table, name, rows), known)
    ]
    if not names:
        return None
    drawn = [row for row in rows if any(curve.row == row.row for curve in table.curves)]
    columns = min(COLUMNS, len(names))
    size = (0.5 + 2.5 * columns, 2.0 * -(-len(names) // columns) + 0.22 * -(-len(drawn) // COLUMNS) + 0.1)
    figure, panels = panel_grid(len(names), columns, size, sharex=True)
    for axes, name in zip(panels, names, strict=True):
        curves = _curves(table, name, rows)
        _draw(axes, curves, known, intervals=False)
        _zoom(axes, curves, known)
        axes.set_title(titles[name], loc="left")
        if table.seconds_of is None:
            axes.set_xticks(range(len(curves[0].chunks)), [str(c) for c in range(len(curves[0].chunks))])
        axes.xaxis.set_tick_params(labelbottom=True)
    figure.legend(handles=legend(drawn, known), loc="outside lower center", ncols=COLUMNS)
    return to_svg(
        figure,
        "chunks-by-dimension",
        f"Normalised score by {table.unit} of every row, a panel for each dimension that is scored "
        "frame by frame",
        "",
    )


class OverTime(NamedTuple):
    """The curves of a run, ready to show."""

    table: ChunkTable
    titles: dict[str, str]
    """Of every metric."""
    still: list[str]
    """Titles of dimensions without a panel: no model moves on them."""
    summary: SvgFigure | None
    panels: SvgFigure | None
    drifts: dict[str, dict[str, ChunkCurve]]
    """row -> metric -> curve."""
    compared: str
    """The metric whose pairs are listed."""
    pairs: list[PairedDifference]
    """By p-value."""


def curve_titles(known: Mapping[str, Metric]) -> dict[str, str]:
    """What the curves of each metric are called."""
    return {SUMMARY: "mean of quality dimensions"} | {name: metric.title for name, metric in known.items()}


def over_time(
    table: ChunkTable | None, rows: Sequence[RowSummary], known: Mapping[str, Metric], fps: float
) -> OverTime | None:
    """None if no scorer of the run gave values of frames. rows: in the order of the main table."""
    if table is None or not table.curves:
        return None
    titles = curve_titles(known)
    drifts: dict[str, dict[str, ChunkCurve]] = {}
    for curve in table.curves:
        drifts.setdefault(curve.row, {})[curve.metric] = curve
    compared = table.metrics[0]
    pairs = sorted((pair for pair in table.pairs if pair.metric == compared), key=lambda pair: pair.holm)
    summary, panels = summary_figure(table, rows, fps), chunks_figure(table, rows, titles)
    known_looks = looks(rows)
    still = [titles[name] for name in table.metrics if flat(_curves(table, name, rows), known_looks)]
    return OverTime(table, titles, still, summary, panels, drifts, compared, pairs)


def _window(table: ChunkTable) -> str:
    return "five seconds" if table.seconds_of else "chunk"


def _inside(found: OverTime | None, ranked: Sequence[RowSummary]) -> str:
    """One line: how far the ranked rows drift by the compared metric."""
    curves = [found.drifts.get(row.row, {}).get(found.compared) for row in ranked] if found else []
    drifts = [curve for curve in curves if curve is not None and curve.drift is not None]
    if found is None or not drifts:
        return "No curve: the scorers gave one number a clip."
    means = [curve.drift.mean for curve in drifts if curve.drift is not None]
    changing = sum(curve.holm is not None and curve.holm < LEVEL for curve in drifts)
    return (
        f"From the first to the last {_window(found.table)} {found.titles[found.compared]} changes by "
        f"{min(means):+z.1f} to {max(means):+z.1f} points; {changing} of {numbered(len(drifts), 'model')} "
        "differ from no change."
    )


def over_time_section(view: View) -> dict[str, Any]:
    """What over_time.html.j2 shows."""
    found = over_time(view.run.chunks, view.rows, view.known, view.run.gallery.fps)
    return {
        "inside": _inside(found, view.ranked),
        "over_time": found,
        "has_controls": bool(view.controls),
        "has_teacher": bool(view.main.teachers),
        "level": LEVEL,
    }
