"""What stands above every number: what the scores are, and what a reader must know before them."""

from typing import Any

from evaluation.dimensions import NAMES, BoundsName
from reports.run import Run
from reports.view import View

FEW_PROMPTS = 8
HONEST_LABELS: dict[BoundsName, str] = {
    "toybox": (
        "Toybox suite: procedural 32 x 32 videos of 81 frames, tiny models (about 1 M parameters), "
        "{trained}; scores come from exact checkers and classical image processing, not from VBench "
        "networks. They show that the pipeline works and how the training recipes behave in a small world. "
        "They say nothing about the published models."
    ),
    "vbench": (
        "VBench protocol: clips were sampled and scored in one run under the settings listed below. Clips "
        "last 81 frames at 16 fps (5.06 s), just over the length from which VBench advises its long-video "
        "variant; as in all papers of this family, the standard suite is used. Only rows of this table may "
        "be compared with each other."
    ),
}


def _trained(run: Run) -> str:
    """Which rows this run trained."""
    names = [run.label(row) for row in run.curves]
    return (
        f"{' and '.join(names)} trained in this run within minutes"
        if names
        else "none of them trained in this run"
    )


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
    label = HONEST_LABELS[view.run.settings.bounds].format(trained=_trained(view.run))
    return {"honest_label": label, "warnings": warnings(view)}
