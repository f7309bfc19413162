"""The two ways to fill a template: as HTML, in which text from outside is escaped, and as plain text."""

from pathlib import Path

import jinja2

from evaluation.files import one_line
from evaluation.words import numbered
from reports.exports import markdown_text
from reports.words import and_joined, count_word, foreign, p_text, picture_size

TEMPLATES = Path(__file__).parent / "templates"
PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
    trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
)  # fmt: skip
PAGES.filters["p_text"] = p_text
PAGES.filters["numbered"] = numbered
PAGES.filters["picture_size"] = picture_size
TEXTS = PAGES.overlay(autoescape=False)
"""For Markdown. A page escapes these texts like any other."""
TEXTS.filters |= {
    "and_joined": and_joined,
    "count": count_word,
    "counts": lambda numbers: and_joined([count_word(number) for number in numbers]),
    "foreign": foreign,
    "one_line": one_line,
    "cell": markdown_text,
}
STYLE_SHEET = (TEMPLATES / "style.css").read_text(encoding="utf-8")
