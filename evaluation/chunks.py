"""Quality over time: scores of pixel frames -> a curve over latent chunks, and its drift from first to last.

A chunk is CHUNK latent frames, what a causal model denoises together: the first holds pixel frames 0 to 8,
every later one 12 more (the first latent frame is one pixel frame, each other STEP). A chunk's value is the
mean over clips of the mean over the clip's frames in it; prompts are drawn again as for every other number of
the table, with the same draws. Long clips (AggregateSettings.seconds_of) have a
curve over seconds instead, and their drift is that of the last five seconds against the first.
"""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from evaluation.aggregate import RANKED_KINDS, AggregateSettings, RowPair, holm_family, run_design
from evaluation.estimates import Design, Estimate, average, mean_estimates
from evaluation.intervals import Array, holm
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
    Probability,
    Prompt,
    Record,
    TableInputs,
)

CHUNK = 3
"""Latent frames of a chunk."""
STEP = 4
"""Pixel frames of a latent frame, but for the first."""
END_SECONDS = 5
"""Of the windows at both ends whose difference is the drift of a long clip."""
KNOWN_SHARE = 0.2
"""Of a second's frames that must have a value, so that the curve does not end on a few."""
SUMMARY = "frame_quality"
"""Name of the curve that is the mean of the quality dimensions which are scored frame by frame."""

ChunkEstimates = dict[int, Estimate]
"""Normalised estimates of the chunks that have values, by number; behind them those of the windows at both
ends of long clips.
"""


class ChunkCurve(Record):
    """The curve of one row and metric, in normalised points."""

    row: Identifier
    metric: Identifier
    chunks: tuple[Interval | None, ...]
    """None where no frame of the chunk, or second, has a value."""
    drift: Interval | None
    """Last chunk, or window, minus first, on the same prompts; None, as its p-values, with one alone."""
    p_value: Probability | None
    holm: Probability | None
    """The p-value among the curves of the metric, ranked rows and controls apart."""
    prompts: Positive


class ChunkTable(Record):
    """aggregate/chunks.json: curves of every row and metric."""

    schema_version: Literal[4] = 4
    suite: PlainText
    inputs: TableInputs
    """As in ScoresTable."""
    subset: PlainText | None = None
    """As in ScoresTable."""
    pixel_frames: Natural
    """Of a clip."""
    seconds_of: Positive | None = None
    """Pixel frames of a second, where the curves go by seconds and not by chunks."""
    metrics: tuple[Identifier, ...]
    without: tuple[Identifier, ...]
    """Dimensions of the run whose scorer gives no values of frames."""
    curves: tuple[ChunkCurve, ...]
    pairs: tuple[PairedDifference, ...]
    """Difference of two ranked rows' drifts on common prompts; Holm over the pairs of a metric."""

    @property
    def unit(self) -> str:
        """What a point of a curve is."""
        return "second" if self.seconds_of else "latent chunk"


def chunk_of(pixel_frame: int) -> int:
    """The chunk that a pixel frame is decoded from."""
    return -(-pixel_frame // STEP) // CHUNK


def chunk_frames(chunk: int, pixel_frames: int) -> range:
    """The pixel frames of a chunk, in a clip of so many."""
    first, end = (STEP * (CHUNK * number - 1) + 1 for number in (chunk, chunk + 1))
    return range(max(0, first), min(pixel_frames, end))


class Bins(NamedTuple):
    """What a curve's points are means of, in pixel frames."""

    points: tuple[range, ...]
    ends: tuple[range, range] | None
    """The windows whose difference is the drift; None: the first and the last point that have values."""

    @property
    def all(self) -> tuple[range, ...]:
        """The points, then the windows."""
        return (*self.points, *(self.ends or ()))

    def within(self, frames: int) -> "Bins":
        """With the later window at the end of so many first frames, where those behind them have no values;
        at least behind the first window.
        """
        if self.ends is None:
            return self
        first, last = self.ends
        end = min(last.stop, max(frames, first.stop + len(last)))
        return self._replace(ends=(first, range(end - len(last), end)))


def curve_bins(pixel_frames: int, seconds_of: int | None = None) -> Bins:
    """Chunks of a clip of so many frames, or its seconds of `seconds_of` frames, the last what is left.

    Raises ValueError if seconds are asked for of a clip that is too short for two windows.
    """
    if seconds_of is None:
        return Bins(tuple(chunk_frames(c, pixel_frames) for c in range(chunk_of(pixel_frames - 1) + 1)), None)
    window = END_SECONDS * seconds_of
    if pixel_frames < 2 * window:
        raise ValueError(
            f"Clips of {pixel_frames} frames are too short for two windows of {END_SECONDS} seconds "
            f"at {seconds_of} frames a second; only suites of longer clips have curves by the second."
        )
    starts = range(0, pixel_frames, seconds_of)
    points = tuple(range(start, min(start + seconds_of, pixel_frames)) for start in starts)
    return Bins(points, (range(window), range(pixel_frames - window, pixel_frames)))


def bin_means(
    values: Sequence[float | None], bins: Sequence[range], least: float = 0.0
) -> list[float | None]:
    """Mean of the frames of each bin that have a value; None for one without any, or with less than the share
    `least` of its frames. values: [T].
    """
    means: list[float | None] = []
    for frames in bins:
        found = [v for f in frames if (v := values[f]) is not None]
        # Rounded, so that equal frames give equal means however many there are.
        means.append(
            round(math.fsum(found) / len(found), 9) if found and len(found) >= least * len(frames) else None
        )
    return means


class RowCurve(NamedTuple):
    """Bins of one row and metric, [C, P]."""

    sums: Array
    """Sums of shown raw values of a prompt's clips in each bin."""
    counts: Array
    """How many they are."""

    def prompts(self) -> Array:
        """Which prompts have a value, [P] of 0 and 1."""
        return np.asarray(self.counts.sum(axis=0) > 0, np.float64)


def _last_value(values: Sequence[float | None]) -> int:
    """The last frame that has a value; -1 without any."""
    return max((place for place, value in enumerate(values) if value is not None), default=-1)


def row_curve(result: DimensionResult, design: Design, factor: float, bins: Bins) -> RowCurve | None:
    """The bins of a result's clips; None if its scorer gave no values of frames."""
    lines = [(clip.prompt_id, clip.frame_values) for clip in result.clips]
    least = 0.0 if bins.ends is None else KNOWN_SHARE
    bins = bins.within(max((1 + _last_value(values) for _, values in lines if values is not None), default=0))
    means = [(prompt, bin_means(values, bins.all, least)) for prompt, values in lines if values is not None]
    if not means:
        return None
    column = {prompt: index for index, prompt in enumerate(design.prompts)}
    sums, counts = np.zeros((2, len(means[0][1]), len(column)))
    for prompt, chunks in means:
        for chunk, value in enumerate(chunks):
            if value is not None:
                sums[chunk, column[prompt]] += factor * value
                counts[chunk, column[prompt]] += 1
    return RowCurve(sums, counts)


def _drift(chunks: ChunkEstimates, bins: Bins) -> Estimate | None:
    """Last chunk, or window, minus first; None if there is only one."""
    if bins.ends is not None:
        chunks = {number: found for number, found in chunks.items() if number >= len(bins.points)}
    if not chunks:
        return None
    first, last = min(chunks), max(chunks)
    return chunks[last].minus(chunks[first]) if last > first else None


def _drawn(curve: RowCurve, metric: Metric, design: Design, prompts: Array) -> ChunkEstimates:
    """Estimates of a curve on the prompts [P] that are 1; empty if it has no value there."""
    sums, counts = curve.sums * prompts, curve.counts * prompts
    known = np.flatnonzero(counts.sum(axis=1))
    if not len(known):
        return {}
    found = mean_estimates(sums[known], counts[known], design, [metric.ends] * len(known))
    scaled = [one.scaled(metric.scale, metric.low) for one in found]
    return dict(zip(known.tolist(), scaled, strict=True))


def _drawn_row(
    curves: Mapping[str, RowCurve],
    known: Mapping[str, Metric],
    summarised: Sequence[str],
    design: Design,
    common: Mapping[str, Array] | None = None,
) -> dict[str, ChunkEstimates]:
    """Every metric of one row, and their summary, chunk by chunk, if all that belong to it are there.

    common: prompts [P] to keep, by metric; None keeps all.
    """
    whole = np.ones(len(design.prompts))
    drawn = {
        name: chunks
        for name, curve in curves.items()
        if (chunks := _drawn(curve, known[name], design, whole if common is None else common[name]))
    }
    if summarised and all(name in drawn for name in summarised):
        served = int(np.any([curves[name].prompts() for name in summarised], axis=0).sum())
        shared = set.intersection(*(set(drawn[name]) for name in summarised))
        if shared:
            drawn[SUMMARY] = {
                chunk: average([drawn[name][chunk] for name in summarised], served, design)
                for chunk in sorted(shared)
            }
    return drawn


def _curves_of(
    drawn: Mapping[str, Mapping[str, ChunkEstimates]],
    metric: str,
    rows: Sequence[str],
    bins: Bins,
    design: Design,
) -> list[ChunkCurve]:
    """The curves of one metric, whose drifts are one family of tests."""
    shown = [row for row in rows if metric in drawn[row]]
    drifts = {row: drift for row in shown if (drift := _drift(drawn[row][metric], bins)) is not None}
    p_values = [drift.p_value(design) for drift in drifts.values()]
    adjusted = dict(zip(drifts, zip(p_values, holm(p_values), strict=True), strict=True))
    curves = []
    for row in shown:
        found = drawn[row][metric]
        curves.append(
            ChunkCurve(
                row=row,
                metric=metric,
                chunks=tuple(
                    found[c].interval(design) if c in found else None for c in range(len(bins.points))
                ),
                drift=drifts[row].corrected(design, len(drifts), adjusted[row][1]) if row in drifts else None,
                p_value=adjusted[row][0] if row in drifts else None,
                holm=adjusted[row][1] if row in drifts else None,
                prompts=max(one.prompts for one in found.values()),
            )
        )
    return curves


def _pairs(
    curves: Mapping[str, Mapping[str, RowCurve]],
    drawn: Mapping[str, Mapping[str, ChunkEstimates]],
    rows: Sequence[str],
    known: Mapping[str, Metric],
    summarised: Sequence[str],
    bins: Bins,
    design: Design,
) -> list[PairedDifference]:
    """Difference of drifts of any two rows, on the prompts that both have clips of."""
    families: dict[str, list[RowPair]] = {}
    for a, b in itertools.combinations(rows, 2):
        shared = [name for name in curves[a] if name in curves[b]]
        has = {row: {name: curves[row][name].prompts() for name in shared} for row in (a, b)}
        if all(np.array_equal(has[a][name], has[b][name]) for name in shared):
            one, other = drawn[a], drawn[b]
        else:
            common = {name: has[a][name] * has[b][name] for name in shared}
            one, other = (
                _drawn_row({n: curves[row][n] for n in shared}, known, summarised, design, common)
                for row in (a, b)
            )
        for metric in one:
            if metric in other:
                left, right = _drift(one[metric], bins), _drift(other[metric], bins)
                if left is not None and right is not None:
                    families.setdefault(metric, []).append((a, b, metric, left.minus(right)))
    return [pair for family in families.values() for pair in holm_family(family, design)]


def row_lengths(results: Sequence[DimensionResult]) -> dict[str, int]:
    """Pixel frames of the clips of each row that has values of them, of rows whose clips are equally long."""
    found: dict[str, set[int]] = {}
    for result in results:
        for clip in result.clips:
            if clip.frame_values is not None:
                found.setdefault(result.row, set()).add(len(clip.frame_values))
    return {row: next(iter(lengths)) for row, lengths in found.items() if len(lengths) == 1}


def chunk_table(
    suite: str,
    prompts: Sequence[Prompt],
    results: Sequence[DimensionResult],
    settings: AggregateSettings,
    inputs: TableInputs,
) -> ChunkTable:
    """Curves of every row and metric whose scorer gave values of frames, by the draws of the table of scores.

    results: as `aggregate` has checked them. Rows whose clips differ in length, or from those of most rows,
    have no curve: their chunks lie elsewhere in time. inputs: as of `aggregate`.
    """
    design, known = run_design(prompts, settings), settings.scored
    curves: dict[str, dict[str, RowCurve]] = {row: {} for row in settings.rows}
    lengths = row_lengths(results)
    counted = Counter(lengths[row] for row in settings.rows if row in lengths)
    frames = counted.most_common(1)[0][0] if counted else 0
    bins = curve_bins(frames, settings.seconds_of) if frames else Bins((), None)
    for result in results:
        if lengths.get(result.row) == frames:
            curve = row_curve(result, design, known[result.dimension].factor, bins)
            if curve is not None:
                curves[result.row][result.dimension] = curve
    names = [name for name in known if any(name in found for found in curves.values())]
    curves = {row: {n: found[n] for n in names if n in found} for row, found in curves.items()}
    summarised = [name for name in names if known[name].group == "quality"]
    drawn = {row: _drawn_row(found, known, summarised, design) for row, found in curves.items()}
    shown = ([SUMMARY] if any(SUMMARY in found for found in drawn.values()) else []) + names
    ranked = [row for row, name in settings.rows.items() if name.kind in RANKED_KINDS]
    others = [row for row in settings.rows if row not in ranked]
    return ChunkTable(
        suite=suite,
        inputs=inputs,
        subset=settings.subset,
        pixel_frames=frames,
        seconds_of=settings.seconds_of,
        metrics=tuple(shown),
        without=tuple(name for name in known if name not in names),
        curves=tuple(
            curve
            for metric in shown
            for rows in (ranked, others)
            for curve in _curves_of(drawn, metric, rows, bins, design)
        ),
        pairs=tuple(
            pair
            for group in protocol_groups(settings.protocols(prompts))
            for pair in _pairs(curves, drawn, group, known, summarised, bins, design)
        ),
    )
