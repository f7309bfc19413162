"""The report: the record of a run -> one HTML text. Pure, but for reading its own templates.

The page loads nothing: style, script, figures and clips are inside, and its Content-Security-Policy says so.
The module reports/sections/<name>.py makes what templates/<name>.html.j2 shows.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from reports.rendering import PAGES, STYLE_SHEET, TEMPLATES
from reports.run import Run
from reports.sections.audit import audit_section
from reports.sections.controls import controls_section
from reports.sections.cost import cost_section
from reports.sections.dimensions import dimensions_section
from reports.sections.formula import formula_section
from reports.sections.header import header_section
from reports.sections.licences import licences_section
from reports.sections.limits import limits_section
from reports.sections.long_clips import long_clips_section
from reports.sections.methods import methods_section
from reports.sections.over_time import over_time_section
from reports.sections.protocol_moves import protocol_moves_section
from reports.sections.provenance import provenance_section
from reports.sections.scores import scores_section
from reports.sections.static_filter import static_filter_section
from reports.sections.statistics import compared_pairs, statistics_section
from reports.sections.training import training_section
from reports.sections.watch import browser_blocks, browser_index, watch_section
from reports.view import View, view_of


class PagePart(NamedTuple):
    """A part of the page."""

    anchor: str
    title: str
    """In the bar of sections."""
    heading: str
    make: Callable[[View], dict[str, Any]]
    """The data of its template; of a folded section with `inside`, one line of what is in it."""
    folded: bool = True
    printed: bool = True
    """Whether print opens it."""
    shown: Callable[[Run], bool] = lambda _: True
    """Whether a run has it at all."""


SECTIONS: dict[str, PagePart] = {
    "scores": PagePart("scores", "Scores", "Scores", scores_section, folded=False),
    "controls": PagePart("controls", "Controls", "What the controls say", controls_section, folded=False),
    "watch": PagePart("watch", "Clips", "Clips side by side", watch_section, folded=False),
    "statistics": PagePart(
        "statistics", "How sure it is", "How sure it is", statistics_section, folded=False
    ),
    "dimensions": PagePart("by-dimension", "Dimensions", "Dimensions", dimensions_section),
    "long_clips": PagePart(
        "long-clips",
        "Long clips",
        "Long clips",
        long_clips_section,
        folded=False,
        shown=lambda run: run.long is not None,
    ),
    "over_time": PagePart("over-time", "Over time", "Quality over time", over_time_section),
    "training": PagePart("training", "Training", "Training in this run", training_section),
    "protocol_moves": PagePart(
        "protocol-moves",
        "Protocol",
        "What the protocol moves",
        protocol_moves_section,
        shown=lambda run: run.protocol_moves is not None,
    ),
    "limits": PagePart("limits", "Limits", "Limits", limits_section),
    "cost": PagePart("cost", "Time and memory", "Time and memory", cost_section),
    "static_filter": PagePart(
        "filter", "Static filter", "Static filter", static_filter_section, printed=False
    ),
    "audit": PagePart("audit", "Settings", "Same settings for all", audit_section, printed=False),
    "formula": PagePart("formula", "The total", "How the total is built", formula_section),
    "methods": PagePart("methods", "Methods text", "Methods text", methods_section, printed=False),
    "licences": PagePart("licences", "Licences", "Licences", licences_section, printed=False),
    "provenance": PagePart("provenance", "Provenance", "Provenance", provenance_section),
}
"""By the name of its template, in the order of the page."""


def content_policy(script: str) -> str:
    """The page's Content-Security-Policy: nothing from anywhere, our one script by its hash."""
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "media-src data:; base-uri 'none'; form-action 'none'"
    )


def _inside_script(value: Any) -> str:
    """JSON that cannot end the <script> element it stands in."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")


def _filled(name: str, view: View, data: dict[str, Any]) -> str:
    """A template with its data, and with what all sections may name."""
    run = view.run
    return PAGES.get_template(f"{name}.html.j2").render(
        settings=run.settings, table=run.table, rows=view.rows, total_name=view.total_name, **data
    )


def render_section(run: Run, name: str) -> str:
    """The header, or one section of SECTIONS without its heading, as HTML."""
    view = view_of(run)
    return _filled(name, view, header_section(view) if name == "header" else SECTIONS[name].make(view))


def render_page(run: Run) -> str:
    """The page of a run. The same record gives the same bytes; every text from outside is escaped."""
    view = view_of(run)
    index = browser_index(view)
    with_clips = (
        ["clips.js", "players.js", "browse.js", "vote.js"] if run.gallery.clips or index["scores"] else []
    )
    names = ["words.js", "page.js", "tables.js", "copy.js", *with_clips]
    shown = {name: section for name, section in SECTIONS.items() if section.shown(run)}
    made = {name: section.make(view) for name, section in shown.items()}
    sections = [
        (section, made[name].get("inside"), _filled(name, view, made[name]))
        for name, section in shown.items()
    ]
    script = "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)
    return _filled(
        "report",
        view,
        {
            "policy": content_policy(script),
            "style": STYLE_SHEET,
            "script": script,
            "header": _filled("header", view, header_section(view)),
            "sections": sections,
            "pairs_json": _inside_script(compared_pairs(view)),
            "clips_json": _inside_script(index),
            "clip_blocks": [
                (n, _inside_script(block)) for n, block in browser_blocks(run.prompts, run.gallery)
            ],
        },
    )
