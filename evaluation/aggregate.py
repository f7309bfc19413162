"""Per-clip results of every row and dimension -> the table of scores. Refuses what is incomplete.

normalised = (raw - low) / (high - low), not clipped. Quality and Semantic are weighted means of normalised scores,
Total = (4 Quality + Semantic) / 5. All numbers of the table are in percent.
Source of the formula: VBench `scripts/cal_final_score.py`, without its zeros for dimensions that are missing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from evaluation.dimensions import (
    BY_NAME,
    DIMENSIONS,
    NAMES,
    QUALITY_SHARE,
    SEMANTIC_SHARE,
    BoundsName,
    bounds_of,
)
from evaluation.intervals import (
    Array,
    bootstrap_generator,
    draw_weights,
    holm,
    paired_p_value,
    percentile_range,
    resample_means,
)
from evaluation.records import (
    DimensionResult,
    DimensionSummary,
    Interval,
    PairedDifference,
    Prompt,
    RowSummary,
    ScoresTable,
)

TOTALS: tuple[Literal["total", "quality", "semantic"], ...] = ("total", "quality", "semantic")
RANKED_KINDS = ("native", "external", "import")


class RowName(BaseModel):
    """How a row is called in the table and what it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    kind: Literal["native", "external", "import", "control", "shipped"]


class AggregateSettings(BaseModel):
    """Settings of the aggregate stage.

    bounds: which normalisation table; dimensions: those this run was asked to score; draws, seed: of the bootstrap;
    rows: every row that the run was asked for, in the order of the table, also those without results.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bounds: BoundsName
    dimensions: tuple[str, ...]
    draws: Annotated[int, Field(ge=100)]
    seed: Annotated[int, Field(ge=0)]
    rows: dict[str, RowName]


class Totals(NamedTuple):
    """Percent, each [D] or a float."""

    total: Array
    quality: Array
    semantic: Array


def totals(normalised: Mapping[str, Array]) -> Totals:
    """Quality, Semantic and Total from all sixteen normalised scores (percent, arrays of one shape or scalars).

    Raises ValueError naming what is missing: a dimension that is not there is never counted as 0.
    """
    missing = [name for name in NAMES if name not in normalised]
    if missing:
        raise ValueError(f"A total needs all {len(NAMES)} dimensions; missing: {', '.join(missing)}.")
    means = {}
    for group in ("quality", "semantic"):
        rows = [dimension for dimension in DIMENSIONS if dimension.group == group]
        weighted = sum((np.asarray(normalised[row.name]) * row.weight for row in rows), np.zeros(()))
        means[group] = weighted / sum(row.weight for row in rows)
    total = (QUALITY_SHARE * means["quality"] + SEMANTIC_SHARE * means["semantic"]) / (
        QUALITY_SHARE + SEMANTIC_SHARE
    )
    return Totals(total=total, quality=means["quality"], semantic=means["semantic"])


def check_result(result: DimensionResult, prompts: Sequence[Prompt]) -> None:
    """Prove that a result holds exactly the clips its dimension asks for, each with a possible value.

    A prompt with `keep` must have exactly that many distinct samples (the static filter chose which), any other
    prompt its samples 0 .. samples-1. Raises ValueError with one sentence naming row, dimension and clips.
    """
    where = f"The {result.dimension} result of row {result.row}"
    wanted = {prompt.id: prompt for prompt in prompts if result.dimension in prompt.dimensions}
    found: dict[str, set[int]] = {}
    for clip in result.clips:
        if clip.prompt_id not in wanted:
            raise ValueError(
                f"{where} has clip {clip.clip_id}, but no prompt {clip.prompt_id} is scored on it; score it again."
            )
        if clip.sample in found.setdefault(clip.prompt_id, set()):
            raise ValueError(f"{where} counts clip {clip.clip_id} twice; score it again.")
        found[clip.prompt_id].add(clip.sample)
        lowest = BY_NAME[result.dimension].lowest
        if not lowest - 1e-6 <= clip.value <= 1.0 + 1e-6:  # also false for NaN
            raise ValueError(
                f"{where} gives clip {clip.clip_id} the value {clip.value}, outside {lowest:g}..1; "
                "its scorer or the scorer's weights are wrong."
            )
    problems = []
    for prompt in wanted.values():
        have = found.get(prompt.id, set())
        if prompt.keep is None:
            lost = [f"{prompt.id}-{sample}" for sample in range(prompt.samples) if sample not in have]
            extra = [f"{prompt.id}-{sample}" for sample in sorted(have) if sample >= prompt.samples]
            problems += [f"{clip} is missing" for clip in lost] + [f"{clip} is not wanted" for clip in extra]
        elif len(have) != prompt.keep or max(have, default=0) >= prompt.samples:
            problems.append(
                f"{prompt.id} has samples {sorted(have)} where {prompt.keep} of {prompt.samples} are kept"
            )
    if problems:
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise ValueError(
            f"{where} does not hold the expected clips: {shown}. Sample and score them before aggregating."
        )
    mean = math.fsum(clip.value for clip in result.clips) / max(len(result.clips), 1)
    if not result.clips or abs(mean - result.mean) > 1e-6:
        raise ValueError(
            f"{where} says its mean is {result.mean}, its {len(result.clips)} clips give {mean}; score it again."
        )


class RowDraws(NamedTuple):
    """Of one row: observed means and bootstrap draws [D] of raw and normalised scores and totals (percent)."""

    raw: dict[str, float]
    raw_draws: dict[str, Array]
    normalised: dict[str, float]
    normalised_draws: dict[str, Array]


def _interval(mean: float, draws: Array) -> Interval:
    low, high = percentile_range(draws)
    return Interval(mean=mean, low=low, high=high)


def _row_draws(
    results: Mapping[str, DimensionResult], prompts: tuple[str, ...], weights: Array, bounds: BoundsName
) -> RowDraws:
    """Resample one row. Totals join the normalised scores under their own names when all dimensions are there."""
    column = {prompt: index for index, prompt in enumerate(prompts)}
    names = [name for name in NAMES if name in results]
    sums, counts = np.zeros((len(names), len(prompts))), np.zeros((len(names), len(prompts)))
    for line, name in enumerate(names):
        for clip in sorted(results[name].clips, key=lambda clip: clip.clip_id):
            sums[line, column[clip.prompt_id]] += 100.0 * clip.value
            counts[line, column[clip.prompt_id]] += 1
    raw = dict(zip(names, (sums.sum(axis=1) / counts.sum(axis=1)).tolist(), strict=True))
    raw_draws = dict(zip(names, resample_means(weights, sums, counts).T, strict=True)) if names else {}
    limits = {name: bounds_of(name, bounds) for name in names}
    normalised = {name: limits[name].normalise(raw[name]) for name in names}
    normalised_draws = {
        name: 100.0 * (raw_draws[name] - limits[name].low) / (limits[name].high - limits[name].low)
        for name in names
    }
    if len(names) == len(NAMES):
        mean = totals({name: np.asarray(value) for name, value in normalised.items()})
        drawn = totals(normalised_draws)
        for measure in TOTALS:
            normalised[measure] = float(mean._asdict()[measure])
            normalised_draws[measure] = drawn._asdict()[measure]
    return RowDraws(raw, raw_draws, normalised, normalised_draws)


def _row_summary(
    row: str, name: RowName, results: Mapping[str, DimensionResult], draws: RowDraws, asked: Sequence[str]
) -> RowSummary:
    dimensions = {
        key: DimensionSummary(
            kind=results[key].kind,
            raw=_interval(draws.raw[key], draws.raw_draws[key]),
            normalised=_interval(draws.normalised[key], draws.normalised_draws[key]),
            prompts=len({clip.prompt_id for clip in results[key].clips}),
            clips=len(results[key].clips),
        )
        for key in NAMES
        if key in results
    }
    missing = [key for key in NAMES if key not in results]
    incomplete = None
    if missing:
        not_asked = [key for key in missing if key not in asked]
        incomplete = f"{len(NAMES) - len(missing)} of {len(NAMES)} dimensions scored"
        incomplete += "; this run leaves some out by its settings" if not_asked else ""
        lost = [key for key in missing if key in asked]
        incomplete += f"; missing: {', '.join(lost)}" if lost else ""
    intervals: dict[str, Interval | None] = {
        measure: None if missing else _interval(draws.normalised[measure], draws.normalised_draws[measure])
        for measure in TOTALS
    }
    return RowSummary(
        row=row, label=name.label, kind=name.kind, dimensions=dimensions, incomplete=incomplete,
        total=intervals["total"], quality=intervals["quality"], semantic=intervals["semantic"],
    )  # fmt: skip


class _Pair(NamedTuple):
    a: str
    b: str
    difference: Interval
    p_value: float
    prompts: int


def _pairs(
    draws: Mapping[str, RowDraws], rows: Sequence[str], prompts_of: Mapping[str, int]
) -> list[PairedDifference]:
    """All pairs of ranked rows on every measure both have.

    Holm families: the 16 dimensions of one pair; and, for each of Total, Quality and Semantic, all pairs of rows.
    """
    by_measure: dict[str, list[_Pair]] = {}
    for (a, b), measure in itertools.product(itertools.combinations(rows, 2), (*TOTALS, *NAMES)):
        if measure in draws[a].normalised and measure in draws[b].normalised:
            drawn = draws[a].normalised_draws[measure] - draws[b].normalised_draws[measure]
            difference = _interval(draws[a].normalised[measure] - draws[b].normalised[measure], drawn)
            p_value = paired_p_value(drawn, prompts_of[measure])
            by_measure.setdefault(measure, []).append(_Pair(a, b, difference, p_value, prompts_of[measure]))
    found: list[tuple[str, _Pair, float]] = []
    for measure in TOTALS:
        pairs = by_measure.get(measure, [])
        found += [
            (measure, pair, p) for pair, p in zip(pairs, holm([pair.p_value for pair in pairs]), strict=True)
        ]
    for a, b in itertools.combinations(rows, 2):
        family = [(m, pair) for m in NAMES for pair in by_measure.get(m, []) if (pair.a, pair.b) == (a, b)]
        adjusted = holm([pair.p_value for _, pair in family])
        found += [(measure, pair, p) for (measure, pair), p in zip(family, adjusted, strict=True)]
    return [
        PairedDifference(
            a=pair.a, b=pair.b, measure=measure, difference=pair.difference,
            p_value=pair.p_value, holm=adjusted_p, prompts=pair.prompts,
        )
        for measure, pair, adjusted_p in found
    ]  # fmt: skip


def aggregate(
    suite: str, prompts: Sequence[Prompt], results: Sequence[DimensionResult], settings: AggregateSettings
) -> ScoresTable:
    """The table of scores of one suite.

    Rows whose dimensions are not all there get totals None and the reason; a result that lacks a clip, or holds a
    wrong one, stops everything. Raises ValueError with one sentence.
    """
    by_row: dict[str, dict[str, DimensionResult]] = {row: {} for row in settings.rows}
    asked = [name for name in NAMES if name in settings.dimensions]
    unknown = [name for name in settings.dimensions if name not in BY_NAME]
    if unknown:
        raise ValueError(
            f"Unknown dimensions {', '.join(unknown)} in the settings; expected some of {', '.join(NAMES)}."
        )
    for result in results:
        where = f"The {result.dimension} result of row {result.row}"
        if result.suite != suite or result.row not in by_row or result.dimension not in asked:
            raise ValueError(
                f"{where} (suite {result.suite}) is not part of this run (suite {suite}, rows {', '.join(by_row)}, "
                f"dimensions {', '.join(asked)}); take it out of the inputs or add it to the config."
            )
        if result.dimension in by_row[result.row]:
            raise ValueError(f"{where} was given twice; give each result file once.")
        check_result(result, prompts)
        by_row[result.row][result.dimension] = result
    kinds = {(result.dimension, result.kind) for result in results}
    for dimension in asked:
        found = sorted(kind for name, kind in kinds if name == dimension)
        if len(found) > 1:
            raise ValueError(
                f"Rows were scored on {dimension} by different kinds of scorer ({', '.join(found)}); use one."
            )
    scored = {prompt.id: prompt for prompt in prompts if any(name in asked for name in prompt.dimensions)}
    strata = {key: tuple(sorted(prompt.dimensions)) for key, prompt in scored.items()}
    order, weights = draw_weights(strata, settings.draws, bootstrap_generator(settings.seed))
    draws = {row: _row_draws(by_row[row], order, weights, settings.bounds) for row in settings.rows}
    prompts_of = {name: sum(name in prompt.dimensions for prompt in scored.values()) for name in NAMES}
    for group in ("quality", "semantic"):
        members = {dimension.name for dimension in DIMENSIONS if dimension.group == group}
        prompts_of[group] = sum(bool(members & set(prompt.dimensions)) for prompt in scored.values())
    prompts_of["total"] = len(scored)
    ranked = [row for row, name in settings.rows.items() if name.kind in RANKED_KINDS]
    return ScoresTable(
        suite=suite,
        dimensions=tuple(asked),
        rows=tuple(
            _row_summary(row, name, by_row[row], draws[row], asked) for row, name in settings.rows.items()
        ),
        pairs=tuple(_pairs(draws, ranked, prompts_of)),
        draws=settings.draws,
        seed=settings.seed,
    )


def scores_csv(table: ScoresTable) -> str:
    """One line per row and measure: row, label, kind, measure, scorer kind, raw and normalised mean/low/high, counts."""
    head = "row,label,row_kind,measure,scorer_kind,raw,raw_low,raw_high,normalised,low,high,prompts,clips"
    lines = [head]
    for row in table.rows:
        label = '"' + row.label.replace('"', '""') + '"'
        for measure, total in (("total", row.total), ("quality", row.quality), ("semantic", row.semantic)):
            if total is not None:
                numbers = f"{total.mean:.4f},{total.low:.4f},{total.high:.4f}"
                lines.append(f"{row.row},{label},{row.kind},{measure},,,,,{numbers},,")
        for name, cell in row.dimensions.items():
            raw = f"{cell.raw.mean:.4f},{cell.raw.low:.4f},{cell.raw.high:.4f}"
            normal = f"{cell.normalised.mean:.4f},{cell.normalised.low:.4f},{cell.normalised.high:.4f}"
            lines.append(
                f"{row.row},{label},{row.kind},{name},{cell.kind},{raw},{normal},{cell.prompts},{cell.clips}"
            )
    return "\n".join(lines) + "\n"
