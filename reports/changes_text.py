"""What changed between two runs, for people: Markdown, or one offline HTML page."""

from reports.changes import PARTS, Changes
from reports.exports import markdown_text
from reports.page import ENVIRONMENT, STYLE_SHEET

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def shortened(text: str, most: int = 80) -> str:
    """A value on one line, cut in the middle if it is long."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"


def changes_markdown(changes: Changes) -> str:
    """Inputs by part, then the scores that differ, then all others."""

    def cell(text: str) -> str:
        return markdown_text(shortened(text))

    lines = ["# What changed", "", changes.summary, "", f"## Inputs: {len(changes.inputs)} differ", ""]
    for part in PARTS:
        found = [change for change in changes.inputs if change.part == part]
        if found:
            lines += [f"### {part}", "", "| input | before | after |", "| --- | --- | --- |"]
            lines += [f"| {cell(c.key)} | {cell(c.before)} | {cell(c.after)} |" for c in found]
            lines.append("")
    for which, alone in (("before", changes.only_before), ("after", changes.only_after)):
        if alone:
            lines += [f"Only in the run {which}: {markdown_text(', '.join(alone))}.", ""]
    for title, differs in (("Scores that differ", True), ("Scores without a proven difference", False)):
        chosen = changes.chosen(differs=differs)
        lines += [f"## {title}: {len(chosen)}", ""]
        if chosen:
            lines += [
                "| row | metric | after minus before | 95 % interval | p (Holm) | prompts |",
                "| --- " * 6 + "|",
            ]
        for change in chosen:
            d = change.difference
            lines.append(
                f"| {markdown_text(changes.labels[change.row])} | {changes.metric_title(change)} | "
                f"{d.mean:+z.2f} | {d.low:+z.2f} to {d.high:+z.2f} | {change.holm:.3g} | {change.prompts} |"
            )
        lines.append("")
    lines += [f"{changes.identical} scores are the same on every common prompt.", "", EXPLANATION]
    return "\n".join(lines) + "\n"


EXPLANATION = (
    "Differences are in normalised points, after minus before, paired on the prompts that both runs "
    "scored; Holm's correction is over the dimensions of a row, and over the rows for totals. A score "
    "without a proven difference may still have changed: its interval says by how much at most."
)


def changes_html(changes: Changes) -> str:
    """The same as a page that loads nothing and runs nothing; every text from outside is escaped."""
    return ENVIRONMENT.get_template("changes.html.j2").render(
        changes=changes,
        parts=[(part, found) for part in PARTS if (found := [c for c in changes.inputs if c.part == part])],
        differ=changes.chosen(differs=True),
        same=changes.chosen(differs=False),
        shortened=shortened,
        explanation=EXPLANATION,
        policy=POLICY,
        style=STYLE_SHEET,
    )
