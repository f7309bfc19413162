"""What the protocol moves: Total, Quality and Semantic of the very same scored clips under each choice of a
protocol that needs no new clip, and the order of rows under it. Pure.

Papers make these choices differently, mostly without saying so:
- extended_text: where a scorer reads the prompt, it reads the extended one (`scoring.texts` of the suite).
- unfiltered: of a still prompt the first samples are scored, as many as the static filter would keep.
- first_sample: one sample of each prompt, of a still one the first that the filter kept.
- several_processes: the averages that VBench prints where several processes share the clips
  (evaluation/vbench/README.md#processes-and-rounding).
- missing_as_zero: a dimension without a result is a raw score of 0, as VBench's own script has it
  (Vchitect/VBench:scripts/cal_final_score.py); its normalised score may then lie below 0.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np

from evaluation.aggregate import NO_SUBSET_TOTAL, AggregateSettings, totals
from evaluation.dimensions import NAMES
from evaluation.intervals import ROUNDED
from evaluation.metrics import Metric
from evaluation.protocol import protocol_groups
from evaluation.records import (
    ClipScore,
    DimensionResult,
    FilteredSet,
    Identifier,
    Natural,
    PlainText,
    Prompt,
    Record,
    SecondScoring,
    TableInputs,
    clip_id,
)
from evaluation.second_scores import SECOND_DIMENSIONS
from evaluation.selection import expected_samples

Choice = Literal[
    "as_run", "extended_text", "unfiltered", "first_sample", "several_processes", "missing_as_zero"
]
AS_RUN: Final = "as_run"


class ChosenTotals(Record):
    """One row under one choice, in percent."""

    row: Identifier
    total: float | None
    """None, as the others, where scores are missing."""
    quality: float | None
    semantic: float | None
    missing: PlainText | None
    """What is missing."""


class ChosenTable(Record):
    """All rows under one choice."""

    choice: Choice
    rows: tuple[ChosenTotals, ...]
    """Every row that is no control."""
    order: tuple[Identifier, ...]
    """The ranked rows that have a total, highest first."""
    pairs: Natural
    """Of ranked rows that have a total here and as run."""
    swapped: Natural
    """Of these pairs, how many stand the other way round than as run."""
    lowest: float | None
    """The least that a ranked row's Total moves by, against as run; None without pairs. A gap between two
    rows moves by at most highest - lowest."""
    highest: float | None


class ProtocolMoves(Record):
    """aggregate/protocol_moves.json: what each choice does to the totals."""

    schema_version: Literal[1] = 1
    suite: PlainText
    inputs: TableInputs
    """As in ScoresTable."""
    tables: tuple[ChosenTable, ...]
    """As run, then every choice that means something for this run."""


class ScoredRow(NamedTuple):
    """What one row is computed from again."""

    row: str
    prompts: Sequence[Prompt]
    filtered: FilteredSet | None
    results: Mapping[str, DimensionResult]
    second: Mapping[tuple[SecondScoring | None, str], DimensionResult]
    """Second scorings, by what they are and dimension."""


class MissingScoresError(ValueError):
    """A choice needs scores that are not there; its text says which."""


def protocol_moves(
    suite: str,
    prompts: Sequence[Prompt],
    results: Sequence[DimensionResult],
    filtered: Sequence[FilteredSet],
    settings: AggregateSettings,
    inputs: TableInputs,
    second: Sequence[DimensionResult] = (),
) -> ProtocolMoves:
    """The totals of every row under every choice. Arguments as of `aggregate`, which has checked them.

    second: what was scored once more.
    """
    kept = {entry.row: entry for entry in filtered}
    protocols = settings.protocols(prompts)
    rows = [
        ScoredRow(
            row,
            prompts,
            kept.get(row),
            {r.dimension: r for r in results if r.row == row and r.clips},
            {(r.second, r.dimension): r for r in second if r.row == row},
        )
        for row in protocols
    ]
    ranked = (protocol_groups(protocols) or [[]])[0]
    means_something = dict.fromkeys(CHOICES, True) | {
        "extended_text": any(result.second == "extended_text" for result in second),
        "unfiltered": any(prompt.keep is not None for prompt in prompts),
    }
    as_run: dict[str, float] = {}
    tables: list[ChosenTable] = []
    for choice, mean_of in CHOICES.items():
        if not means_something[choice]:
            continue
        chosen = [_chosen_totals(row, mean_of, settings) for row in rows]
        found = {r.row: r.total for r in chosen if r.total is not None and r.row in ranked}
        as_run = as_run if tables else found
        tables.append(_table(choice, chosen, found, as_run))
    return ProtocolMoves(suite=suite, inputs=inputs, tables=tuple(tables))


def _table(
    choice: Choice, chosen: Sequence[ChosenTotals], found: Mapping[str, float], as_run: Mapping[str, float]
) -> ChosenTable:
    both = [row for row in found if row in as_run]
    moves = [found[row] - as_run[row] for row in both]
    pairs = list(itertools.combinations(both, 2))
    return ChosenTable(
        choice=choice,
        rows=tuple(chosen),
        order=tuple(sorted(found, key=lambda row: -found[row])),
        pairs=len(pairs),
        swapped=sum(_sign(found[a] - found[b]) * _sign(as_run[a] - as_run[b]) < 0 for a, b in pairs),
        lowest=min(moves) if pairs else None,
        highest=max(moves) if pairs else None,
    )


def _sign(difference: float) -> int:
    return 0 if abs(difference) < ROUNDED else 1 if difference > 0 else -1


def _chosen_totals(
    row: ScoredRow, mean_of: "Callable[[ScoredRow, Metric], float]", settings: AggregateSettings
) -> ChosenTotals:
    """mean_of: the recorded mean of a dimension, as a fraction. It raises MissingScoresError."""
    known = settings.known
    normalised, missing = {}, [] if settings.totals else [NO_SUBSET_TOTAL]
    for name in NAMES if settings.totals else ():
        try:
            normalised[name] = np.asarray(
                known[name].normalise(known[name].factor * mean_of(row, known[name]))
            )
        except MissingScoresError as error:
            missing.append(str(error))
    if missing:
        shown = "; ".join(dict.fromkeys(missing))
        return ChosenTotals(row=row.row, total=None, quality=None, semantic=None, missing=shown)
    found = {name: float(value) for name, value in totals(normalised)._asdict().items()}
    return ChosenTotals(row=row.row, missing=None, **found)


def _result(row: ScoredRow, metric: Metric) -> DimensionResult:
    if metric.name not in row.results:
        raise MissingScoresError(f"no score of {metric.title}")
    return row.results[metric.name]


def _mean(clips: Sequence[ClipScore], metric: Metric) -> float:
    if not clips:
        raise MissingScoresError(f"no such clip of {metric.title} has a score")
    return math.fsum(clip.value for clip in clips) / len(clips)


def _as_run(row: ScoredRow, metric: Metric) -> float:
    return _mean(_result(row, metric).clips, metric)


def _extended_text(row: ScoredRow, metric: Metric) -> float:
    if metric.name not in SECOND_DIMENSIONS["vbench"]["extended_text"]:
        return _as_run(row, metric)
    if ("extended_text", metric.name) not in row.second:
        raise MissingScoresError(f"{metric.title} was not scored by the extended text")
    return _mean(row.second["extended_text", metric.name].clips, metric)


def _unfiltered(row: ScoredRow, metric: Metric) -> float:
    if ("unfiltered", metric.name) in row.second:
        return _mean(row.second["unfiltered", metric.name].clips, metric)
    result = _result(row, metric)
    scores = {(clip.prompt_id, clip.sample): clip for clip in result.clips}
    left_out = {*result.left_out}
    chosen: list[ClipScore] = []
    lacking = False
    for prompt in row.prompts:
        if metric.serves(prompt):
            first = range(prompt.samples)[: prompt.keep]
            there = [scores[prompt.id, sample] for sample in first if (prompt.id, sample) in scores]
            chosen += there
            lacking |= any(
                (prompt.id, s) not in scores and clip_id(prompt.id, s) not in left_out for s in first
            )
    if lacking:
        raise MissingScoresError(f"{metric.title} was not scored on clips that the static filter left out")
    return _mean(chosen, metric)


def _first_sample(row: ScoredRow, metric: Metric) -> float:
    first = {
        (prompt.id, expected_samples(prompt, row.filtered, row.row)[:1])
        for prompt in row.prompts
        if metric.serves(prompt)
    }
    clips = _result(row, metric).clips
    return _mean([clip for clip in clips if (clip.prompt_id, (clip.sample,)) in first], metric)


def _several_processes(row: ScoredRow, metric: Metric) -> float:
    several = _result(row, metric).several_processes
    return _as_run(row, metric) if several is None else several


def _missing_as_zero(row: ScoredRow, metric: Metric) -> float:
    return _as_run(row, metric) if metric.name in row.results else 0.0


CHOICES: dict[Choice, Callable[[ScoredRow, Metric], float]] = {
    AS_RUN: _as_run,
    "extended_text": _extended_text,
    "unfiltered": _unfiltered,
    "first_sample": _first_sample,
    "several_processes": _several_processes,
    "missing_as_zero": _missing_as_zero,
}
"""The mean of one dimension of one row under each choice, as a fraction."""
