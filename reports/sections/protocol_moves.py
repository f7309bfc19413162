"""What the protocol moves: the totals and the order of rows of the same scored clips under other choices."""

from typing import Any, NamedTuple

from evaluation.protocol import protocol_tag
from evaluation.protocol_moves import AS_RUN, Choice, ChosenTable, ChosenTotals
from evaluation.words import numbered
from reports.view import View
from reports.words import count_word


class ChoiceText(NamedTuple):
    """How the page calls a choice, and what it is."""

    title: str
    meaning: str


CHOICE_TEXTS: dict[Choice, ChoiceText] = {
    "as_run": ChoiceText("As run", ""),
    "extended_text": ChoiceText(
        "Extended text scores",
        "temporal style and overall consistency compare each clip with the extended prompt, of which their "
        "network reads 32 tokens, and not with the short one.",
    ),
    "unfiltered": ChoiceText(
        "No static filter",
        "of a prompt that asks for a static video the first samples are scored, as many as the filter would "
        "keep, whether they are static or not.",
    ),
    "first_sample": ChoiceText(
        "First sample alone",
        "one sample of each prompt; of a static one the first that the filter kept.",
    ),
    "several_processes": ChoiceText(
        "Several processes",
        "the averages of VBench's own run on several GPUs: appearance style by each clip's last frame, "
        "subject consistency and spatial relationship by clips and not by frames.",
    ),
    "missing_as_zero": ChoiceText(
        "Missing as zero",
        "a dimension without a result has the raw score 0, as in VBench's own script; where its floor lies "
        "above 0 that counts as less than nothing.",
    ),
}


class ChoiceColumn(NamedTuple):
    """One choice as the table shows it."""

    text: ChoiceText
    table: ChosenTable
    rows: dict[str, ChosenTotals]
    places: dict[str, int]
    """Of the ranked rows that have a total, from 1."""
    missing: dict[str, list[str]]
    """Labels of rows by what they lack."""


def choice_columns(view: View) -> list[ChoiceColumn]:
    """Every choice, as run first."""
    assert view.run.protocol_moves is not None, "the section is shown with its table alone"
    found: list[ChoiceColumn] = []
    for table in view.run.protocol_moves.tables:
        missing: dict[str, list[str]] = {}
        for row in table.rows:  # what a row lacks as run too is said once
            if row.missing is not None and (not found or found[0].rows[row.row].missing is None):
                missing.setdefault(row.missing, []).append(view.run.label(row.row))
        places = {row: place for place, row in enumerate(table.order, 1)}
        found.append(
            ChoiceColumn(
                CHOICE_TEXTS[table.choice], table, {row.row: row for row in table.rows}, places, missing
            )
        )
    return found


def _inside(columns: list[ChoiceColumn], total: str) -> str:
    others = [column.table for column in columns if column.table.pairs and column.table.choice != AS_RUN]
    count = f"{count_word(len(columns) - 1).capitalize()} other choices on the same scored clips"
    if not others:
        return f"{count}."
    most = max(abs(move) for table in others for move in (table.lowest, table.highest) if move is not None)
    worst = max(others, key=lambda table: table.swapped)
    swaps = f"up to {worst.swapped} of {numbered(worst.pairs, 'pair')} of models change places"
    return (
        f"{count}: {total} moves by up to {most:.2f} points, and "
        f"{swaps if worst.swapped else 'no two models change places'}."
    )


def protocol_moves_section(view: View) -> dict[str, Any]:
    """What protocol_moves.html.j2 shows."""
    columns = choice_columns(view)
    tags: dict[str, list[str]] = {}
    for row in view.ranked:
        if row.protocol is not None:
            tags.setdefault(protocol_tag(row.protocol), []).append(row.label)
    return {
        "inside": _inside(columns, view.total_name),
        "columns": columns,
        "others": columns[1:],
        "marked": any(column.table.swapped for column in columns),
        "models": view.ranked,
        "tags": tags,
    }
