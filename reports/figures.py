"""Figures of the report. Pure: numbers in, SVG text out, see reports/drawing.py."""

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.aggregate import RANKED_KINDS, TOTALS
from evaluation.dimensions import BoundsName
from evaluation.metrics import Metric
from evaluation.records import FilteredSet, Interval, RowSummary
from reports.curves import CurveGroup, HeldOutLine
from reports.drawing import ACCENT, DASHES, MUTED, PAGE, SERIES, STYLE, Picture, to_svg
from reports.speed import Speed
from reports.tables import LEVEL, TOTAL_NAMES, MainTable, Pairs


def _colour(row: RowSummary, trained: Sequence[str]) -> str:
    if row.row in trained:
        return ACCENT
    return SERIES[0] if row.kind in RANKED_KINDS else MUTED


def _dots(
    axes: Axes, rows: Sequence[RowSummary], values: Sequence[Interval | None], trained: Sequence[str]
) -> None:
    """One dot with its interval per row, first row on top; controls are hollow."""
    for place, (row, value) in enumerate(zip(rows, values, strict=True)):
        if value is not None:
            colour = _colour(row, trained)
            axes.plot(
                [value.low, value.high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt"
            )
            face = colour if row.kind in RANKED_KINDS else PAGE
            axes.plot(value.mean, place, "o", markersize=4.5, markeredgecolor=colour, markerfacecolor=face)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.tick_params(length=0)
    axes.grid(axis="y", visible=False)


def _span(values: Sequence[Interval | None], whole: bool) -> tuple[float, float]:
    """0..100, stretched where an interval leaves it; or, unless `whole`, just what the intervals need."""
    known = [value for value in values if value is not None]
    if whole or not known:
        return min([-2.0, *(v.low - 2 for v in known)]), max([102.0, *(v.high + 2 for v in known)])
    low, high = min(v.low for v in known), max(v.high for v in known)
    room = max(0.08 * (high - low), 0.05)
    return low - room, high + room


def totals_figure(rows: Sequence[RowSummary], trained: Sequence[str], bounds: BoundsName) -> Picture:
    """Total, Quality and Semantic of the given rows with 95 % intervals; `trained` rows in the accent colour."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 1.0 + 0.24 * len(rows)), layout="constrained")
        panels = figure.subplots(1, 3, sharey=True)
        for axes, title, measure in zip(
            panels,
            (TOTAL_NAMES[bounds], "Quality", "Semantic"),
            ("total", "quality", "semantic"),
            strict=True,
        ):
            values = [{"total": r.total, "quality": r.quality, "semantic": r.semantic}[measure] for r in rows]
            _dots(axes, rows, values, trained)
            axes.set_title(title, loc="left")
        return to_svg(
            figure,
            "totals",
            "Total, Quality and Semantic of every row with 95 percent intervals; numbers in the table",
        )


def paired_figure(
    main: MainTable, pairs: Pairs, trained: Sequence[str], bounds: BoundsName
) -> Picture | None:
    """Every ranked row minus the highest, paired, for Total, Quality and Semantic; None with fewer than two
    ranked rows.

    Filled: the two differ after Holm's correction; hollow: a tie.
    """
    if len(main.ranked) < 2:
        return None
    best, others = main.ranked[0], main.ranked[1:]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 1.2 + 0.24 * len(others)), layout="constrained")
        panels = figure.subplots(1, 3, sharey=True)
        for axes, measure, title in zip(
            panels, TOTALS, (TOTAL_NAMES[bounds], "Quality", "Semantic"), strict=True
        ):
            axes.axvline(0, color=MUTED, linewidth=1)
            for place, line in enumerate(others):
                if (found := pairs.find(line.row, best.row, measure)) is None:
                    continue
                difference, p_value = found
                colour = ACCENT if line.row in trained else SERIES[0]
                axes.plot(
                    [difference.low, difference.high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt"
                )  # fmt: skip
                face = colour if p_value < LEVEL else PAGE
                axes.plot(
                    difference.mean, place, "o", markersize=4.5, markeredgecolor=colour, markerfacecolor=face
                )
            axes.set_ylim(len(others) - 0.4, -0.6)
            axes.set_yticks(range(len(others)), [line.label for line in others])
            axes.set_title(title, loc="left")
            axes.tick_params(length=0)
            axes.grid(axis="y", visible=False)
        figure.supxlabel(f"row minus {best.label}", color=MUTED, fontsize=9)
        return to_svg(
            figure,
            "paired",
            f"Paired differences from {best.label} with 95 percent intervals; filled dots differ, hollow "
            "ones are ties; numbers in the table",
        )


def dimensions_figure(rows: Sequence[RowSummary], trained: Sequence[str], shown: Sequence[Metric]) -> Picture:
    """A panel of normalised scores with 95 % intervals for every measure: a forest plot per dimension.

    All on the scale 0..100 where a control shows its ends; otherwise each on its own, since good rows differ
    by few points.
    """
    whole = any(row.kind == "control" for row in rows)
    with matplotlib.rc_context(STYLE):
        lines = -(-len(shown) // 4)
        figure = Figure(figsize=(12.5, lines * (0.62 + 0.19 * len(rows))), layout="constrained")
        panels = figure.subplots(lines, 4, sharey=True, squeeze=False)
        for axes in list(panels.flat)[len(shown) :]:
            axes.set_visible(False)
        for axes, dimension in zip(panels.flat[: len(shown)], shown, strict=True):
            cells = [row.dimensions.get(dimension.name) for row in rows]
            values = [None if cell is None else cell.normalised for cell in cells]
            _dots(axes, rows, values, trained)
            axes.set_xlim(*_span(values, whole))
            kinds = sorted({cell.kind for cell in cells if cell is not None})
            axes.set_title(f"{dimension.title} ({kinds[0] if kinds else 'not scored'})", loc="left")
        return to_svg(
            figure,
            "dimensions",
            f"Normalised score of every row in {len(shown)} dimensions with 95 percent intervals; numbers "
            "in the table",
        )


def cost_figure(
    rows: Sequence[RowSummary], speed: Mapping[str, Speed], trained: Sequence[str], bounds: BoundsName
) -> Picture | None:
    """Total with its 95 % interval against seconds per clip, network and VAE; None if fewer than two rows
    have both.
    """
    known = [(row, row.total, found) for row in rows if row.total and (found := speed.get(row.row))]
    points = [(row, total, found.clip_s) for row, total, found in known if found.clip_s is not None]
    if len(points) < 2:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 4.2), layout="constrained")
        axes = figure.subplots()
        order = sorted(points, key=lambda point: -point[1].mean)
        for number, (row, total, seconds) in enumerate(order, 1):
            colour = _colour(row, trained)
            axes.plot([seconds, seconds], [total.low, total.high], color=colour, linewidth=1.6)
            axes.plot(seconds, total.mean, "o", markersize=5, markeredgecolor=colour, markerfacecolor=colour)
            axes.annotate(
                str(number), (seconds, total.mean), xytext=(6, -3), textcoords="offset points", fontsize=8.5
            )
            axes.plot([], [], " ", label=f"{number}  {row.label}")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=0, handletextpad=0)
        spent = [seconds for _, _, seconds in points]
        axes.set_xlim(max(0.0, 0.9 * min(spent)), 1.08 * max(spent))
        axes.tick_params(length=0)
        axes.set_xlabel("seconds per clip, network and VAE", color=MUTED)
        axes.set_ylabel(TOTAL_NAMES[bounds], color=MUTED)
        return to_svg(
            figure, "cost", "Total with 95 percent interval against seconds per clip; numbers in the table"
        )


def filter_figure(filters: Sequence[FilteredSet], labels: Mapping[str, str]) -> Picture | None:
    """Per row, how many prompts of the static filter have at least n static samples; None if nothing was
    filtered.
    """
    found = [entry for entry in filters if entry.filtered]
    if not found:
        return None
    most = max(len(line.motion) for entry in found for line in entry.filtered)
    prompts = max(len(entry.filtered) for entry in found)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 3.6), layout="constrained")
        axes = figure.subplots()
        for index, entry in enumerate(found):
            static = [sum(line.static) for line in entry.filtered]
            share = [sum(count >= n for count in static) for n in range(most + 1)]
            axes.plot(
                range(most + 1), share, color=SERIES[index % len(SERIES)], label=labels[entry.row],
                linestyle=DASHES[index // len(SERIES) % len(DASHES)],
            )  # fmt: skip
        axes.set_xlim(0, most)
        axes.set_ylim(0, prompts * 1.04)
        axes.tick_params(length=0)
        axes.set_xlabel("static samples of a prompt, at least", color=MUTED)
        axes.set_ylabel("prompts", color=MUTED)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return to_svg(
            figure,
            "static",
            "Number of prompts with at least so many static samples, by row; a line that falls early has "
            "few still samples; numbers in the table",
        )


def curves_figure(row: str, label: str, groups: Sequence[CurveGroup]) -> Picture:
    """Training metrics of one row, one panel per group."""
    columns = min(3, len(groups))
    lines = -(-len(groups) // columns)
    longest = max(len(group.curves) for group in groups)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.6 * columns + 0.3, 2.5 * lines + 0.15 * longest), layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False)
        for axes, group in zip(panels.flat[: len(groups)], groups, strict=True):
            for index, curve in enumerate(group.curves):
                axes.plot(
                    curve.steps, curve.values, color=SERIES[index % len(SERIES)], label=curve.name.removeprefix(
                        f"{group.name}/"
                    ),
                    linestyle=DASHES[index // len(SERIES) % len(DASHES)], marker="o" if len(curve.steps) < 3 else "",
                    markersize=3,
                )  # fmt: skip
            axes.set_title(group.name.replace("_", " "), loc="left")
            axes.set_xlabel("step", color=MUTED)
            axes.tick_params(length=0)
            if len(group.curves) > 1:
                axes.legend(loc="upper left", bbox_to_anchor=(-0.05, -0.2), borderaxespad=0, ncols=2)
        for axes in list(panels.flat)[len(groups) :]:
            axes.set_visible(False)
        return to_svg(
            figure,
            f"curves-{row}",
            f"Training curves of {label}; over steps: {', '.join(group.name for group in groups)}",
        )


def heldout_figure(lines: Sequence[HeldOutLine]) -> Picture:
    """Paired change of each measure with its 95 % interval; filled: part of the reward, hollow: held out."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 0.9 + 0.26 * len(lines)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=MUTED, linewidth=1)
        for place, line in enumerate(lines):
            colour = ACCENT if line.trained else SERIES[0]
            axes.plot(
                [line.difference.low, line.difference.high], [place, place], color=colour, linewidth=1.6
            )
            face = colour if line.trained else PAGE
            axes.plot(
                line.difference.mean, place, "o", markersize=5, markeredgecolor=colour, markerfacecolor=face
            )
        names = [
            f"{line.name.replace('_', ' ')} ({'rewarded' if line.trained else 'held out'})" for line in lines
        ]
        axes.set_yticks(range(len(lines)), names)
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.tick_params(length=0)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("after minus before, same prompts and noise", color=MUTED)
        return to_svg(
            figure,
            "heldout",
            "Change of reward and checkers on held-out prompts with 95 percent intervals; numbers in the "
            "table",
        )
