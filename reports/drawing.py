"""How every figure is drawn: as inline SVG that follows the page's colours. Same numbers, same bytes.

matplotlib draws with marker colours, which are then replaced by CSS variables of the page. That is how one
image is readable on a light screen, on a dark one and on paper.
"""

import io
import re
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple
from unicodedata import east_asian_width

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from evaluation.aggregate import RANKED_KINDS
from evaluation.records import Interval, RowSummary

matplotlib.use("svg")

INK, MUTED, LINE, PAGE, ACCENT = "#010a01", "#010a02", "#010a03", "#010a04", "#010a05"
SERIES = ("#010a11", "#010a12", "#010a13", "#010a14", "#010a15", "#010a16")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (2, 1.5)))
_VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", PAGE: "page", ACCENT: "accent"}
_VARIABLES |= {colour: f"s{index}" for index, colour in enumerate(SERIES, 1)}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "raven-bench", "font.size": 9.0, "text.color": INK,
    "axes.edgecolor": LINE, "axes.labelcolor": INK, "xtick.color": MUTED, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": LINE, "grid.linewidth": 0.6, "text.parse_math": False, "axes.titlesize": 9.5,
    "axes.titleweight": "bold", "axes.titlecolor": INK, "legend.frameon": False, "legend.fontsize": 8.0,
    "lines.linewidth": 1.4, "xtick.major.size": 0, "ytick.major.size": 0,
}  # fmt: skip
NAME_POINTS = 150.0
"""So wide a row's name may be in a figure, in points."""
_FONT = FontProperties(size=9.0)
PANEL = 4.5
"""Inches of a panel that a phone shows whole."""
styled = matplotlib.rc_context(_STYLE)
"""Decorates a function that draws a figure."""


class SvgFigure(NamedTuple):
    """A figure that is ready to stand in the page."""

    svg: str
    """An inline <svg> element."""
    width: int
    """The least CSS pixels at which its text is readable."""


class Dot(NamedTuple):
    """A mean with its interval."""

    value: Interval
    colour: str
    filled: bool


def plot_names(names: Sequence[str]) -> list[str]:
    """Names of rows as a figure has room for them: cut behind a word, or in the middle where that would make
    two of them alike, and numbered where even that does. The tables beside have the whole names.
    """
    cut = [_cut_behind_a_word(name) for name in names]
    alike = Counter(cut)
    cut = [
        _cut_in_the_middle(name) if alike[short] > 1 else short
        for name, short in zip(names, cut, strict=True)
    ]
    alike = Counter(cut)
    return [f"{n}: {short}" if alike[short] > 1 else short for n, short in enumerate(cut, 1)]


def _cut_behind_a_word(name: str) -> str:
    if _points(name) <= NAME_POINTS:
        return name
    most = next(n for n in range(len(name), 0, -1) if _points(name[:n]) <= NAME_POINTS)
    words = name[: most - 1].rsplit(" ", 1)[0].rstrip(" ,;:(-")
    return f"{words}\u2026"


def _cut_in_the_middle(name: str) -> str:
    if _points(name) <= NAME_POINTS:
        return name
    ends = (f"{name[:n].rstrip()}\u2026{name[-n:].lstrip()}" for n in range(len(name) // 2, 0, -1))
    return next(end for end in ends if _points(end) <= NAME_POINTS)


def _points(name: str) -> float:
    """Width of a name in a figure, in points; letters as wide as they are high are in no font of ours."""
    wide = [letter for letter in name if east_asian_width(letter) in "WF"]
    narrow = "".join(letter for letter in name if letter not in wide)
    width, _, _ = text_to_path.get_text_width_height_descent(narrow, _FONT, ismath=False)
    return float(width) + len(wide) * _FONT.get_size()


def row_colour(row: RowSummary, trained: Sequence[str]) -> str:
    """The accent for a row that this run trained, grey for a control."""
    if row.row in trained:
        return ACCENT
    return SERIES[0] if row.kind in RANKED_KINDS else MUTED


def row_dot(row: RowSummary, value: Interval | None, trained: Sequence[str]) -> Dot | None:
    """The dot of a row. Controls are hollow."""
    return None if value is None else Dot(value, row_colour(row, trained), row.kind in RANKED_KINDS)


def series_style(index: int) -> dict[str, Any]:
    """Colour and dash of the n-th line of a panel."""
    return {"color": SERIES[index % len(SERIES)], "linestyle": DASHES[index // len(SERIES) % len(DASHES)]}


def panel_grid(
    count: int, columns: int, size: tuple[float, float], *, sharex: bool = False, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels, filled line by line. size: of the whole, in inches."""
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(-(-count // columns), columns, sharex=sharex, sharey=sharey, squeeze=False)
    for axes in list(panels.flat)[count:]:
        axes.set_visible(False)
    return figure, list(panels.flat)[:count]


def draw_dots(axes: Axes, labels: Sequence[str], dots: Sequence[Dot | None], *, zero: bool = False) -> None:
    """One dot with its interval a label, the first on top. zero: draw a line at 0."""
    if zero:
        axes.axvline(0, color=MUTED, linewidth=1)
    for place, dot in enumerate(dots):
        if dot is not None:
            value, colour, face = dot.value, dot.colour, dot.colour if dot.filled else PAGE
            axes.plot(
                [value.low, value.high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt"
            )
            axes.plot(value.mean, place, "o", markersize=4.5, markeredgecolor=colour, markerfacecolor=face)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_yticks(range(len(labels)), plot_names(labels))
    axes.grid(axis="y", visible=False)


def fit_to_models(axes: Axes, rows: Sequence[RowSummary], values: Sequence[Interval | None]) -> None:
    """Scale a panel of draw_dots to its models, and to controls within half of what models span.

    Other rows stand at the edge as their number, with an arrow.
    """
    placed = [
        (n, row.kind in RANKED_KINDS, v) for n, (row, v) in enumerate(zip(rows, values, strict=True)) if v
    ]
    spans = [(v.low, v.high) for _, ranked, v in placed if ranked] or [(v.low, v.high) for *_, v in placed]
    low, high = min(span[0] for span in spans), max(span[1] for span in spans)
    reach = max(0.5 * (high - low), 0.5)
    near = [v for *_, v in placed if low - reach <= v.mean <= high + reach]
    left, right = min(v.low for v in near), max(v.high for v in near)
    room = 0.05 * max(right - left, 0.5)
    axes.set_xlim(left - room, right + room)
    for place, _, value in placed:
        if value not in near:
            below = value.mean < left
            text = f"\u25c2 {value.mean:.1f}" if below else f"{value.mean:.1f} \u25b8"
            axes.annotate(
                text, (0 if below else 1, place),
                xycoords=("axes fraction", "data"), xytext=(2 if below else -2, 0), fontsize=8, color=MUTED,
                textcoords="offset points", ha="left" if below else "right", va="center",
            )  # fmt: skip


@styled
def forest(
    name: str,
    title: str,
    rows: Sequence[RowSummary],
    dots: Sequence[Dot | None],
    *,
    xlabel: str = "",
    zero: bool = False,
    described: str = "numbers in the table",
) -> SvgFigure:
    """A panel of one dot a row. zero: differences, with a line at 0; otherwise on the scale of the models."""
    figure, (axes,) = panel_grid(1, 1, (PANEL, 0.6 + 0.2 * len(rows) + (0.15 if xlabel else 0)))
    draw_dots(axes, [row.label for row in rows], dots, zero=zero)
    if not zero:
        fit_to_models(axes, rows, [dot and dot.value for dot in dots])
    axes.set_title(title, loc="left")
    axes.set_xlabel(xlabel, color=MUTED, fontsize=8.5)
    return to_svg(figure, name, f"{title} with 95 percent intervals", described)


def to_svg(figure: Figure, name: str, title: str, described: str) -> SvgFigure:
    """Inline SVG in page colours, with ids that begin with `name`. title, described: for screen readers."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r"(font: [^;\"]*?\d(?:\.\d+)?px) [^;\"]*", r"\1 system-ui, sans-serif", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    width, height = (72 * inches for inches in figure.get_size_inches())
    head = (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}" '
        f'aria-describedby="{name}-desc"><title>{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(described)}</desc>'
    )
    text = re.sub(r"^<svg[^>]*>", lambda _: head, text, count=1).replace("xlink:href", "href")
    return SvgFigure(text.strip(), round(width * 1.1))
