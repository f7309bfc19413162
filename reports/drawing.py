"""How every figure is drawn: inline SVG that follows the page's colours. Pure: the same bytes every time.

matplotlib draws with marker colours, which are replaced by CSS variables of the page; that is how one picture
is readable on a light screen, on a dark one and on paper.
"""

import io
import re
from html import escape
from typing import Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure

matplotlib.use("svg")

INK, MUTED, LINE, PAGE, ACCENT = "#010a01", "#010a02", "#010a03", "#010a04", "#010a05"
SERIES = ("#010a11", "#010a12", "#010a13", "#010a14", "#010a15", "#010a16")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (2, 1.5)))
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    PAGE: "var(--page)",
    ACCENT: "var(--accent)",
}
_VARIABLES |= {colour: f"var(--s{index})" for index, colour in enumerate(SERIES, 1)}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "raven-bench", "font.size": 9.0, "text.color": INK, "axes.edgecolor": LINE,
    "axes.labelcolor": INK, "xtick.color": MUTED, "ytick.color": INK, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True, "grid.color": LINE, "grid.linewidth": 0.6,
    "text.parse_math": False, "axes.titlesize": 9.5, "axes.titleweight": "bold", "axes.titlecolor": INK, "legend.frameon": False,
    "legend.fontsize": 8.0, "lines.linewidth": 1.4,
}  # fmt: skip


class Picture(NamedTuple):
    """svg: an inline <svg> element; width: the least CSS pixels at which its text is readable."""

    svg: str
    width: int


def to_svg(figure: Figure, name: str, alt: str) -> Picture:
    """Inline SVG with page colours, ids that are unique per `name`, a title and a description.

    alt: the title, and after the first semicolon the description.
    """
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
        text = text.replace(colour, variable)
    points = figure.get_size_inches()[0] * 72
    height = figure.get_size_inches()[1] * 72
    title, _, described = (escape(part.strip()) for part in alt.partition(";"))
    head = (
        f'<svg viewBox="0 0 {points:g} {height:g}" role="img" aria-label="{title}" '
        f'aria-describedby="{name}-desc"><title>{title}</title><desc id="{name}-desc">{described}</desc>'
    )
    text = re.sub(r"^<svg[^>]*>", lambda _: head, text, count=1).replace("xlink:href", "href")
    return Picture(text.strip(), round(points * 1.1))
