"""Measures of long clips -> a mean with its interval for every row, and paired differences of rows.

Prompts are drawn again as for every other number of a run, with the same draws. A measure has no better and
no worse end: 1 of a ratio and 0 of a drift mean no change. A clip without a value (nothing moved that could
persist) is left out of its measure and counted.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from evaluation.aggregate import AggregateSettings, RowPair, holm_family, run_design
from evaluation.dimensions import DIMENSIONS
from evaluation.estimates import Design, Estimate, mean_estimates
from evaluation.intervals import Array
from evaluation.long_series import MEASURES, PIXEL_SERIES, LongRow
from evaluation.metrics import Metric
from evaluation.protocol import protocol_groups
from evaluation.records import (
    DimensionResult,
    Identifier,
    Interval,
    Natural,
    PairedDifference,
    PlainText,
    Positive,
    Prompt,
    Record,
    Sha256,
    TableInputs,
)

SEVEN_QUALITY = "quality"
"""Quality of its seven dimensions, as papers on long videos print it: normalised, VBench's weights."""
BETWEEN_MEASURES = {"subject_consistency": "between_subject", "background_consistency": "between_background"}
"""Raw clip-to-clip consistency of the dimensions that it is in, in percent."""

ClipValues = Iterable[tuple[str, float | None]]
"""Prompt and value of every clip."""


class LongCell(Record):
    """One measure of one row: of its pixels, in the unit of evaluation/long_series.py, or of its scores."""

    row: Identifier
    measure: Identifier
    value: Interval
    clips: Positive
    without: Natural
    """Clips that have no value."""


class LongCurve(Record):
    """One series of one row: means over clips by second."""

    row: Identifier
    series: Identifier
    seconds: tuple[float, ...]


class LongTable(Record):
    """aggregate/long.json: what the pixels of long clips say, by row."""

    schema_version: Literal[1] = 1
    suite: PlainText
    inputs: TableInputs
    """As in ScoresTable."""
    measured: dict[Identifier, Sha256]
    """Of each row's LongRow."""
    fps: Positive
    pixel_frames: Positive
    cells: tuple[LongCell, ...]
    curves: tuple[LongCurve, ...]
    looping: dict[Identifier, tuple[Natural, Positive | None]]
    """By row: how many clips repeat themselves, and after how many frames the middle one of them does."""
    pairs: tuple[PairedDifference, ...]
    """Of ranked rows, on prompts of which both have a value; Holm over the pairs of a measure."""


def score_measures(
    results: Sequence[DimensionResult], known: Mapping[str, Metric]
) -> dict[str, dict[str, list[tuple[str, float]]]]:
    """What scores of pieces add, by measure and row: clip-to-clip consistency beside the fused score, and
    quality where all its dimensions are there. Nothing of clips that were not scored in pieces.
    """
    found: dict[str, dict[str, list[tuple[str, float]]]] = {}
    cut = [result for result in results if any(clip.pieces is not None for clip in result.clips)]
    for result in cut:
        values = [(clip.prompt_id, 100 * clip.between) for clip in result.clips if clip.between is not None]
        if values:
            found.setdefault(BETWEEN_MEASURES[result.dimension], {})[result.row] = values
    weights = {one.name: one.weight for one in DIMENSIONS if one.group == "quality"}
    for row in dict.fromkeys(result.row for result in cut):
        scored = {one.dimension: one.clips for one in cut if one.row == row and one.dimension in weights}
        if scored.keys() != weights.keys():
            continue
        sums: dict[tuple[str, int], float] = {}
        for name, clips in scored.items():
            for clip in clips:
                value = known[name].normalise(known[name].factor * clip.value)
                key = clip.prompt_id, clip.sample
                sums[key] = sums.get(key, 0.0) + weights[name] * value / sum(weights.values())
        found.setdefault(SEVEN_QUALITY, {})[row] = [(prompt, value) for (prompt, _), value in sums.items()]
    return found


def _sums(values: ClipValues, design: Design) -> tuple[Array, Array]:
    """Sums and counts [P] of values by prompt."""
    column = {prompt: index for index, prompt in enumerate(design.prompts)}
    sums, counts = np.zeros((2, len(column)))
    for prompt, value in values:
        if value is not None:
            sums[column[prompt]] += value
            counts[column[prompt]] += 1
    return sums, counts


def _estimate(sums: Array, counts: Array, design: Design) -> Estimate | None:
    return mean_estimates(sums[None], counts[None], design)[0] if counts.any() else None


def _check(rows: Sequence[LongRow], settings: AggregateSettings, prompts: Sequence[Prompt]) -> None:
    names, known = [row.row for row in rows], {prompt.id for prompt in prompts}
    if len(set(names)) != len(names) or not set(names) <= set(settings.rows):
        raise ValueError(
            f"Measures of long clips are of the rows {', '.join(names)}, expected each of "
            f"{', '.join(settings.rows)} at most once; measure again."
        )
    for row in rows:
        if (row.fps, row.pixel_frames) != (rows[0].fps, rows[0].pixel_frames):
            raise ValueError(
                f"Clips of row {row.row} have {row.pixel_frames} frames at {row.fps} a second, those of "
                f"{rows[0].row} {rows[0].pixel_frames} at {rows[0].fps}: their seconds differ."
            )
        for clip in row.clips:
            if clip.prompt_id not in known:
                raise ValueError(
                    f"Row {row.row} measures clip {clip.clip_id}, whose prompt is none of this run."
                )
            if set(clip.measures) != set(MEASURES) or set(clip.seconds) != set(PIXEL_SERIES):
                raise ValueError(f"Clip {clip.clip_id} of row {row.row} lacks measures; measure again.")


def long_table(
    suite: str,
    prompts: Sequence[Prompt],
    rows: Sequence[LongRow],
    settings: AggregateSettings,
    inputs: TableInputs,
    measured: Mapping[str, Sha256],
    results: Sequence[DimensionResult] = (),
) -> LongTable:
    """The table of all rows that were measured, at least one. measured: sha256 of their records; results: of
    the run, of which those of pieces add their measures.

    Raises ValueError if they are of other prompts or rows, or differ in length or rate.
    """
    _check(rows, settings, prompts)
    design = run_design(prompts, settings)
    cells: list[LongCell] = []
    pairs: list[PairedDifference] = []
    by_row = {row.row: row for row in rows}
    ordered = [by_row[name] for name in settings.rows if name in by_row]
    groups = protocol_groups(settings.protocols(prompts))
    of_pixels: dict[str, dict[str, ClipValues]] = {
        measure: {
            row.row: [(clip.prompt_id, clip.measures[measure]) for clip in row.clips] for row in ordered
        }
        for measure in MEASURES
    }
    for measure, values in (of_pixels | score_measures(results, settings.known)).items():
        found = {row.row: _sums(values.get(row.row, ()), design) for row in ordered}
        for row in ordered:
            sums, counts = found[row.row]
            if (estimate := _estimate(sums, counts, design)) is not None:
                clips = int(counts.sum())
                cells.append(
                    LongCell(
                        row=row.row, measure=measure, value=estimate.interval(design), clips=clips,
                        without=len(row.clips) - clips,
                    )
                )  # fmt: skip
        for group in groups:
            family: list[RowPair] = []
            for a, b in itertools.combinations([row for row in group if row in found], 2):
                common = (found[a][1] > 0) & (found[b][1] > 0)
                one, other = (_estimate(found[r][0] * common, found[r][1] * common, design) for r in (a, b))
                if one is not None and other is not None:
                    family.append((a, b, measure, one.minus(other)))
            pairs += holm_family(family, design)
    return LongTable(
        suite=suite,
        inputs=inputs,
        measured=dict(measured),
        fps=rows[0].fps,
        pixel_frames=rows[0].pixel_frames,
        cells=tuple(cells),
        curves=tuple(_curve(row, series) for row in ordered for series in PIXEL_SERIES),
        looping={row.row: _loops(row) for row in ordered},
        pairs=tuple(pairs),
    )


def _curve(row: LongRow, series: str) -> LongCurve:
    seconds = np.asarray([clip.seconds[series] for clip in row.clips], np.float64).mean(axis=0)
    return LongCurve(row=row.row, series=series, seconds=tuple(np.round(seconds, 6).tolist()))


def _loops(row: LongRow) -> tuple[int, int | None]:
    loops = sorted(clip.loop for clip in row.clips if clip.loop is not None)
    return len(loops), loops[len(loops) // 2] if loops else None
