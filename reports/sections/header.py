"""The first screen: the verdict, how far each model is from the top, and what the scores are."""

from typing import Any, NamedTuple

from evaluation.dimensions import NAMES
from evaluation.intervals import LEVEL
from reports.sections.controls import Said, said_of_controls
from reports.tables import MainLine, is_made_here, suite_kind
from reports.verdict import FEATURED, verdict_of
from reports.view import View
from reports.words import commit_text

CEILING = "truth"
"""The control that is meant to be above every model."""
FEW_PROMPTS = 8
FIRST_SCREEN = 10
"""Models on the first screen; FEATURED rows stand there in any case."""


class Track(NamedTuple):
    """Places from the left of a small figure, percent of its width."""

    low: float
    mean: float
    high: float
    tie: bool


class RunFacts(NamedTuple):
    """What a run compared, for one line of small print."""

    date: str | None
    code: str
    """`commit 0906d9e`."""
    models: int
    prompts: int
    seeds: str
    """Samples of a prompt that are scored, such as `2` or `2 or 5`."""


def facts(view: View) -> RunFacts:
    """The facts of a run."""
    run = view.run
    seeds = sorted({prompt.keep or prompt.samples for prompt in run.prompts})
    return RunFacts(
        date=run.starts[-1].started[:10] if run.starts else None,
        code=commit_text(run.provenance, 7),
        models=len(view.ranked),
        prompts=len(run.prompts),
        seeds=" or ".join(map(str, seeds)),
    )


def shown_lines(view: View) -> list[MainLine]:
    """The models of the first screen: the highest, and the featured ones."""
    ranked = view.main.ranked
    return [*ranked[:FIRST_SCREEN], *(line for line in ranked[FIRST_SCREEN:] if line.summary.row in FEATURED)]


def tracks(lines: list[MainLine]) -> tuple[dict[str, Track], float]:
    """Where the difference of each row to the highest lies on one common scale, and where its zero lies."""
    differences = {line.summary.row: line.versus for line in lines if line.versus is not None}
    low = min((found.low for found in differences.values()), default=0.0)
    high = max((found.high for found in differences.values()), default=0.0)
    low, high = min(low, 0.0), max(high, 0.0)
    spare = 0.04 * (high - low) or 1.0

    def place(value: float) -> float:
        return round(100 * (value - low + spare) / (high - low + 2 * spare), 2)

    ties = {line.summary.row: (line.p_value or 0.0) >= LEVEL for line in lines}
    return {
        row: Track(place(found.low), place(found.mean), place(found.high), ties[row])
        for row, found in differences.items()
    }, place(0.0)


def cautions(view: View) -> list[str]:
    """What must be read before any number: a part of a run, a note of the suite's."""
    run, table = view.run, view.run.table
    found = [sentence for sentence in (table.subset, run.settings.note) if sentence]
    if table.subset is None and len(table.dimensions) < len(NAMES):
        found.append(
            f"Subset run: {len(table.dimensions)} of {len(NAMES)} dimensions were asked for, so no row has "
            "a total."
        )
    return found


def few_prompts(view: View) -> str | None:
    """The dimensions whose intervals and tests say little, in a sentence."""
    counts: dict[str, int] = {}
    for row in view.ranked:
        for name, cell in row.dimensions.items():
            counts[name] = min(counts.get(name, cell.prompts), cell.prompts)
    few = [f"{view.known[name].title} ({count})" for name, count in counts.items() if count < FEW_PROMPTS]
    if not few:
        return None
    return f"Fewer than {FEW_PROMPTS} prompts, so that intervals and tests say little: {', '.join(few)}."


def warning(view: View) -> Said | None:
    """The control, other than the ceiling, that most models are not above; None if all are above all."""
    found = [one for one in said_of_controls(view) if one.row.row != CEILING]
    worst = max(found, key=lambda one: one.standing.compared - len(one.standing.below), default=None)
    return worst if worst and len(worst.standing.below) < worst.standing.compared else None


def header_section(view: View) -> dict[str, Any]:
    """What header.html.j2 shows."""
    run = view.run
    lines = shown_lines(view)
    placed, zero = tracks(lines)
    return {
        "badge": suite_kind(run.table),
        "with_clips": [row.label for row in view.rows if row.kind != "results"],
        "imported": [row.label for row in view.rows if row.kind == "results"],
        "made_here": is_made_here(run.table),
        "facts": facts(view),
        "cautions": cautions(view),
        "verdict": verdict_of(run.table),
        "warning": warning(view),
        "lines": lines,
        "hidden": len(view.main.ranked) - len(lines),
        "tracks": placed,
        "zero": zero,
        "ranks": len(view.main.ranked),
        "level": LEVEL,
        "trained": [run.label(row) for row in run.curves],
        "few_prompts": few_prompts(view),
    }
