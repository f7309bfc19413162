"""What stands above every number: what the scores are, and what a reader must know before them."""

from typing import Any

from evaluation.dimensions import NAMES
from reports.view import View

FEW_PROMPTS = 8


def warnings(view: View) -> list[str]:
    """Sentences on subsets, incomplete rows and dimensions on few prompts."""
    run, table = view.run, view.run.table
    found = [sentence for sentence in (table.subset, run.settings.note) if sentence]
    whole = len(table.dimensions) == len(NAMES)
    if table.subset is None and not whole:
        found.append(
            f"Subset run: {len(table.dimensions)} of {len(NAMES)} dimensions were asked for, so no row has "
            "a total."
        )
    short = [row.label for row in table.rows if row.incomplete and whole and table.subset is None]
    if short:
        found.append(f"Incomplete rows have no total and no rank: {', '.join(short)}.")
    counts: dict[str, int] = {}
    for row in view.ranked:
        for name, cell in row.dimensions.items():
            counts[name] = min(counts.get(name, cell.prompts), cell.prompts)
    few = [f"{view.known[name].title} ({count})" for name, count in counts.items() if count < FEW_PROMPTS]
    if few:
        found.append(
            f"Fewer than {FEW_PROMPTS} prompts, so that intervals and tests say little: {', '.join(few)}."
        )
    return found


def header_section(view: View) -> dict[str, Any]:
    """What header.html.j2 shows."""
    run = view.run
    return {"trained": [run.label(row) for row in run.curves], "warnings": warnings(view)}
