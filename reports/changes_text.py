"""What changed between two runs, for people: Markdown, or one offline HTML page."""

from typing import Any

from reports.changes import PARTS, Changes
from reports.rendering import PAGES, STYLE_SHEET, TEXTS

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
EXPLANATION = (
    "Differences are in normalised points, after minus before, paired on the prompts that both runs "
    "scored; Holm's correction is over the dimensions of a row, and over the rows for totals. A score "
    "without a proven difference may still have changed: its interval says by how much at most."
)


def shortened(text: str, most: int = 80) -> str:
    """A value on one line, cut in the middle if it is long."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"


def _shown(changes: Changes) -> dict[str, Any]:
    """Inputs by part, then the scores that differ, then all others."""
    return {
        "changes": changes,
        "parts": [
            (part, found) for part in PARTS if (found := [c for c in changes.inputs if c.part == part])
        ],
        "differ": changes.chosen(differs=True),
        "same": changes.chosen(differs=False),
        "shortened": shortened,
        "explanation": EXPLANATION,
    }


def changes_markdown(changes: Changes) -> str:
    """As Markdown."""
    return TEXTS.get_template("changes.md.j2").render(_shown(changes))


def changes_html(changes: Changes) -> str:
    """As a page that loads nothing and runs nothing."""
    template = PAGES.get_template("changes.html.j2")
    return template.render(_shown(changes), policy=POLICY, style=STYLE_SHEET)
