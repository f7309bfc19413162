"""Per-clip results of every row and dimension -> the table of scores. Refuses what is incomplete.

normalised = (raw - low) / (high - low), not clipped. Quality and Semantic are weighted means of normalised
scores, Total = (4 Quality + Semantic) / 5. All numbers of the table are in percent. The formula is VBench's
(evaluation/vbench/README.md#results-and-totals), without its zeros for dimensions that are missing.
"""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from evaluation.dimensions import DIMENSIONS, NAMES, QUALITY_SHARE, SEMANTIC_SHARE, BoundsName
from evaluation.estimates import Design, Estimate, make_design, mean_estimates, with_unseen
from evaluation.intervals import LEVEL, Array, holm, holm_levels, rank_ranges
from evaluation.metrics import CUSTOM_GROUP, Metric, fewest_draws, metrics
from evaluation.power import detectable_difference, needs, table_power
from evaluation.protocol import protocol_groups, row_protocol
from evaluation.records import (
    CustomDimension,
    DimensionResult,
    DimensionSummary,
    FilteredSet,
    PairedDifference,
    Positive,
    Prompt,
    Protocol,
    RankRange,
    Record,
    RowKind,
    RowSummary,
    ScoresTable,
    TableInputs,
    clip_id,
)
from evaluation.selection import expected_samples, first_samples
from evaluation.variance import seed_part

TOTALS: tuple[str, ...] = ("total", "quality", "semantic")
RANKED_KINDS = ("native", "external", "import", "results")
MODEL_KINDS = (*RANKED_KINDS, "teacher")
NO_SUBSET_TOTAL = "no total on a subset of the prompts or samples"
"""Why a row of a subset run that has every dimension has no totals."""


RowPair = tuple[str, str, str, Estimate]
"""Two rows, a metric, and the estimate of the first row minus the second."""


class RowLabel(Record):
    """How a row is called in the table and what it is."""

    label: str
    kind: RowKind
    of: str | None = None
    """The row whose clips a control is made from."""
    samples: Positive | None = None
    """Of each prompt the row has the first so many samples alone; None: all of them."""
    protocol: Protocol | None = None
    """What is said of it, see `row_protocol`; None of a control."""


class AggregateSettings(Record):
    """Settings of the aggregate stage."""

    bounds: BoundsName
    """Which table of normalisation bounds."""
    dimensions: tuple[str, ...]
    """Of the sixteen, those that this run was asked to score."""
    draws: Annotated[int, Field(ge=100)]
    seed: Annotated[int, Field(ge=0)]
    """Of the bootstrap."""
    rows: dict[str, RowLabel]
    """Every row that the run was asked for, in the order of the table, also those without results."""
    custom: tuple[CustomDimension, ...] = ()
    subset: str | None = None
    """What a subset run leaves out, as one sentence."""
    totals: bool = True
    """False of a run on some prompts or samples only, which has no total."""
    seconds_of: Positive | None = None
    """Pixel frames of a second, of a suite whose clips are long: its curves go by seconds."""

    @property
    def known(self) -> dict[str, Metric]:
        """Every metric that a result may be of: the sixteen, then custom dimensions."""
        return metrics(self.bounds, self.custom)

    @property
    def scored(self) -> dict[str, Metric]:
        """The metrics that this run was asked for."""
        return {n: m for n, m in self.known.items() if m.group == CUSTOM_GROUP or n in self.dimensions}

    def protocols(self, prompts: Sequence[Prompt]) -> dict[str, Protocol | None]:
        """The protocol of every row that is no control."""
        long = self.seconds_of is not None
        return {
            row: row_protocol(found.protocol, prompts, long=long)
            for row, found in self.rows.items()
            if found.kind in RANKED_KINDS
        }


class Totals(NamedTuple):
    """Percent, each [D] or a float."""

    total: Array
    quality: Array
    semantic: Array


def totals(normalised: Mapping[str, Array]) -> Totals:
    """Quality, Semantic and Total from all sixteen normalised scores: percent, of one shape or scalars.

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


def check_result(
    result: DimensionResult, prompts: Sequence[Prompt], filtered: FilteredSet | None, metric: Metric
) -> None:
    """Verify that a result holds exactly the clips its metric asks for, each with a possible value.

    filtered: what the static filter kept of this row. A result without clips passes if none was expected.
    Raises ValueError naming row, dimension and clips.
    """
    where = f"The {result.dimension} result of row {result.row}"
    prompts = first_samples(prompts, None if filtered is None else filtered.samples)
    if result.left_out and (result.kind, result.dimension) != ("official", "color"):
        raise ValueError(
            f"{where} leaves out {len(result.left_out)} clips, which only the official color does; score "
            "it again."
        )
    if len({None if clip.frame_values is None else len(clip.frame_values) for clip in result.clips}) > 1:
        raise ValueError(
            f"{where} has values of pixel frames for some clips only, or of different lengths; score it "
            "again."
        )
    # float16 cosines of the official scorer exceed 1: evaluation/vbench/worker/runner.py, ROUNDING
    spare = 4e-3 if result.kind == "official" else 1e-6
    low, high = metric.lowest - spare, metric.highest + spare
    found: set[str] = set()
    for clip in result.clips:
        if clip.clip_id in found:
            raise ValueError(f"{where} counts clip {clip.clip_id} twice; score it again.")
        if clip.clip_id != clip_id(clip.prompt_id, clip.sample):
            raise ValueError(
                f"{where} says clip {clip.clip_id} is sample {clip.sample} of {clip.prompt_id}; score it "
                "again."
            )
        for value in (clip.value, *(clip.frame_values or ())):
            if value is not None and not low <= value <= high:  # also false for NaN
                raise ValueError(
                    f"{where} gives clip {clip.clip_id} the value {value}, outside {metric.lowest:g}.."
                    f"{metric.highest:g}; its scorer or the scorer's weights are wrong."
                )
        found.add(clip.clip_id)
    expected = {
        clip_id(prompt.id, sample)
        for prompt in prompts
        if metric.serves(prompt)
        for sample in (
            range(prompt.samples) if metric.unfiltered else expected_samples(prompt, filtered, result.row)
        )
    } - set(result.left_out)
    problems = [f"{clip} is missing" for clip in sorted(expected - found)]
    problems += [f"{clip} is not wanted" for clip in sorted(found - expected)]
    if problems:
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise ValueError(
            f"{where} does not hold the expected clips: {shown}. Sample and score them before aggregating."
        )
    mean = math.fsum(clip.value for clip in result.clips) / max(len(result.clips), 1)
    if result.clips and abs(mean - result.mean) > 1e-6 * max(1.0, metric.highest - metric.lowest):
        raise ValueError(
            f"{where} says its mean is {result.mean}, its {len(found)} clips give {mean}; score it again."
        )


class RowDraws(NamedTuple):
    """Estimates of one row, by dimension."""

    sums: dict[str, Array]
    """[P], the sum of shown raw clip values of each prompt."""
    counts: dict[str, Array]
    """[P], the number of clips of each prompt."""
    raw: dict[str, Estimate]
    normalised: dict[str, Estimate]
    """Holds the totals too, under their own names, if all dimensions are there."""
    by_clip: Array
    """[P, S], the share of each clip in the influence of its prompt on Total, NaN where a prompt has no such
    clip; empty without totals. S are the clips of a prompt in the order of their samples, from the first that
    the static filter kept.
    """


def total_estimates(
    normalised: Mapping[str, Estimate], prompts_of: Mapping[str, int], design: Design
) -> dict[str, Estimate]:
    """Quality, Semantic and Total of a row that has all dimensions, with their draws and influence values.

    prompts_of: how many prompts each total rests on.
    """
    means, draws, influence = (
        totals({name: np.asarray(getattr(found, part)) for name, found in normalised.items()})._asdict()
        for part in ("mean", "draws", "influence")
    )
    fewest = min(found.fewest for found in normalised.values())
    weights = totals(dict(zip(normalised, np.eye(len(normalised)), strict=True)))._asdict()
    return {
        name: with_unseen(
            Estimate(float(means[name]), draws[name], influence[name], prompts_of[name], fewest),
            list(normalised.values()),
            weights[name],
            design,
        )
        for name in TOTALS
    }


def _row_draws(
    results: Mapping[str, DimensionResult],
    design: Design,
    settings: AggregateSettings,
    prompts_of: Mapping[str, int],
) -> RowDraws:
    column = {prompt: index for index, prompt in enumerate(design.prompts)}
    known = settings.known
    names = [name for name in known if name in results]
    sums, counts = np.zeros((len(names), len(column))), np.zeros((len(names), len(column)))
    for line, name in enumerate(names):
        for clip in sorted(results[name].clips, key=lambda clip: (clip.prompt_id, clip.sample)):
            sums[line, column[clip.prompt_id]] += known[name].factor * clip.value
            counts[line, column[clip.prompt_id]] += 1
    ends = [known[name].ends for name in names]
    raw = dict(zip(names, mean_estimates(sums, counts, design, ends), strict=True)) if names else {}
    normalised = {name: found.scaled(known[name].scale, known[name].low) for name, found in raw.items()}
    by_clip = np.empty((len(column), 0))
    if settings.totals and all(name in results for name in NAMES):
        normalised |= total_estimates({name: normalised[name] for name in NAMES}, prompts_of, design)
        by_clip = _by_clip(results, column, known)
    return RowDraws(
        dict(zip(names, sums, strict=True)), dict(zip(names, counts, strict=True)), raw, normalised, by_clip
    )


def _by_clip(
    results: Mapping[str, DimensionResult], column: Mapping[str, int], known: Mapping[str, Metric]
) -> Array:
    """RowDraws.by_clip of a row that has all dimensions."""
    places, seen = {}, Counter[str]()
    for prompt, sample in sorted({(c.prompt_id, c.sample) for name in NAMES for c in results[name].clips}):
        places[prompt, sample] = column[prompt], seen[prompt]
        seen[prompt] += 1
    shape = len(column), max(seen.values())
    influence = {name: np.zeros(shape) for name in NAMES}
    for name in NAMES:
        clips = results[name].clips
        values = np.array([known[name].normalise(known[name].factor * clip.value) for clip in clips])
        for clip, value in zip(clips, (values - values.mean()) / len(clips), strict=True):
            influence[name][places[clip.prompt_id, clip.sample]] = value
    found = np.full(shape, np.nan)
    at = tuple(np.array(list(places.values())).T)
    found[at] = totals(influence).total[at]
    return found


def _incomplete(scored: Sequence[str], empty: Sequence[str], settings: AggregateSettings) -> str | None:
    """Why a row has no totals, if so. empty: dimensions of which no clip passed the static filter."""
    missing = [name for name in NAMES if name not in scored]
    if not missing:
        return None if settings.totals else NO_SUBSET_TOTAL
    asked = settings.dimensions
    lost = [name for name in missing if name in asked and name not in empty]
    return (
        f"{len(NAMES) - len(missing)} of {len(NAMES)} dimensions scored"
        + ("; this run leaves some out by its settings" if set(missing) - set(asked) else "")
        + (f"; no clip passed the static filter: {', '.join(empty)}" if empty else "")
        + (f"; missing: {', '.join(lost)}" if lost else "")
    )


def _row_summary(
    row: str,
    results: Mapping[str, DimensionResult],
    draws: RowDraws,
    design: Design,
    settings: AggregateSettings,
    incomplete: str | None,
) -> RowSummary:
    dimensions = {}
    for name, raw in draws.raw.items():
        result = results[name]
        several = result.several_processes
        dimensions[name] = DimensionSummary(
            kind=result.kind,
            raw=raw.interval(design),
            normalised=draws.normalised[name].interval(design),
            prompts=len({clip.prompt_id for clip in result.clips}),
            clips=len(result.clips),
            left_out=len(result.left_out),
            several_processes=None if several is None else 100.0 * several,
        )
    total, quality, semantic = (
        None if incomplete else draws.normalised[name].interval(design) for name in TOTALS
    )
    shown_row = settings.rows[row]
    return RowSummary(
        row=row,
        label=shown_row.label,
        kind=shown_row.kind,
        of=shown_row.of,
        samples=shown_row.samples,
        dimensions=dimensions,
        incomplete=incomplete,
        total=total,
        quality=quality,
        semantic=semantic,
    )


def _compare_dimension(one: RowDraws, other: RowDraws, metric: Metric, design: Design) -> Estimate | None:
    """Normalised difference of two rows on the prompts that both have clips of; None if there is none."""
    name = metric.name
    has, other_has = one.counts[name] > 0, other.counts[name] > 0
    common = has & other_has
    if not common.any():
        return None
    if np.array_equal(has, other_has):  # the rows' own draws are on these very prompts
        return one.raw[name].minus(other.raw[name]).scaled(metric.scale)
    sums = np.stack([one.sums[name], other.sums[name]]) * common
    counts = np.stack([one.counts[name], other.counts[name]]) * common
    a, b = mean_estimates(sums, counts, design, [metric.ends] * 2)
    return a.minus(b).scaled(metric.scale)


def on_samples(results: Mapping[str, DimensionResult], samples: int | None) -> dict[str, DimensionResult]:
    """Results on the first `samples` of each prompt alone, those that have any; all of them where it is None.

    Their `mean` stays that of all clips.
    """
    if samples is None:
        return dict(results)
    cut = {
        name: result.model_copy(update={"clips": tuple(c for c in result.clips if c.sample < samples)})
        for name, result in results.items()
    }
    return {name: result for name, result in cut.items() if result.clips}


def _pairs(
    draws: Mapping[str, RowDraws],
    compared: Sequence[tuple[str, str]],
    design: Design,
    known: Mapping[str, Metric],
) -> list[PairedDifference]:
    """Pairs of rows on every metric both have.

    Holm families: the 16 dimensions of one pair; its custom dimensions, so that adding one changes no other
    p-value; and, for each of Total, Quality and Semantic, all pairs that are given.
    """
    found: list[PairedDifference] = []
    complete = [(a, b) for a, b in compared if all("total" in draws[row].normalised for row in (a, b))]
    for total in TOTALS:
        found += holm_family(
            [
                (a, b, total, draws[a].normalised[total].minus(draws[b].normalised[total]))
                for a, b in complete
            ],
            design,
            [_clip_differences(draws[a], draws[b]) for a, b in complete] if total == "total" else None,
        )
    for a, b in compared:
        families: dict[bool, list[RowPair]] = {False: [], True: []}
        for name, metric in known.items():
            if name in draws[a].raw and name in draws[b].raw:
                found_here = _compare_dimension(draws[a], draws[b], metric, design)
                if found_here is not None:
                    families[metric.group == CUSTOM_GROUP].append((a, b, name, found_here))
        found += [pair for family in families.values() for pair in holm_family(family, design)]
    return found


def _clip_differences(one: RowDraws, other: RowDraws) -> Array:
    """RowDraws.by_clip of a difference; a clip that one of them lacks counts as average there."""
    most = max(one.by_clip.shape[1], other.by_clip.shape[1])
    both = np.stack([
        np.pad(sign * row.by_clip, ((0, 0), (0, most - row.by_clip.shape[1])), constant_values=np.nan)
        for sign, row in ((1.0, one), (-1.0, other))
    ])  # fmt: skip
    return np.where(np.isnan(both).all(axis=0), np.nan, np.nansum(both, axis=0))


def holm_family(
    family: Sequence[RowPair], design: Design, by_clip: Sequence[Array] | None = None
) -> list[PairedDifference]:
    """The paired differences of one family of tests, with p-values after Holm's correction.

    by_clip: of each, see RowDraws; with it, what smaller differences would need is found too.
    """
    p_values = [difference.p_value(design) for *_, difference in family]
    levels = holm_levels(p_values)
    errors = [difference.tested_error(design) for *_, difference in family]
    seeds = None
    if by_clip is not None:
        seeds = [seed_part(c, e.se**2) for c, e in zip(by_clip, errors, strict=True)]
    return [
        PairedDifference(
            a=a,
            b=b,
            metric=metric,
            difference=difference.interval(design),
            corrected=difference.corrected(design, len(family), adjusted),
            p_value=p_value,
            holm=adjusted,
            prompts=difference.prompts,
            detectable=detectable_difference(errors[i], difference.prompts, levels[i]),
            needed=needs(errors[i], difference.prompts, levels[i], seeds[i]) if seeds is not None else (),
        )
        for i, ((a, b, metric, difference), p_value, adjusted) in enumerate(
            zip(family, p_values, holm(p_values), strict=True)
        )
    ]


def row_groups(rows: Sequence[RowSummary]) -> list[list[str]]:
    """The rows of a table that are no controls, by protocol; those of the first group are ranked."""
    return protocol_groups({row.row: row.protocol for row in rows if row.kind in RANKED_KINDS}) or [[]]


def ranks_by_row(pairs: Sequence[PairedDifference], rows: Sequence[str]) -> dict[str, dict[str, RankRange]]:
    """The rank ranges of ranked rows, by row and metric. A row that a metric has no pair of has none."""
    found: dict[str, dict[str, RankRange]] = {row: {} for row in rows}
    for metric in dict.fromkeys(pair.metric for pair in pairs):
        compared = [pair for pair in pairs if pair.metric == metric]
        parted = {
            (pair.a, pair.b) if pair.difference.mean > 0 else (pair.b, pair.a)
            for pair in compared
            if pair.holm < LEVEL
        }
        there = [row for row in rows if any(row in (pair.a, pair.b) for pair in compared)]
        for row, (first, last) in rank_ranges(there, parted).items():
            found[row][metric] = RankRange(first=first, last=last)
    return found


def run_design(prompts: Sequence[Prompt], settings: AggregateSettings) -> Design:
    """The draws that every number of a run shares: over all its prompts.

    A stratum is what prompts are scored on and filtered by.
    """
    strata = {prompt.id: (tuple(sorted(prompt.dimensions)), prompt.keep) for prompt in prompts}
    return make_design(strata, settings.draws, settings.seed)


def _by_row(
    suite: str,
    prompts: Sequence[Prompt],
    results: Sequence[DimensionResult],
    filtered: Sequence[FilteredSet],
    settings: AggregateSettings,
) -> dict[str, dict[str, DimensionResult]]:
    """Checked results by row and dimension. Raises ValueError if one is wrong or not part of the run."""
    by_row: dict[str, dict[str, DimensionResult]] = {row: {} for row in settings.rows}
    asked = list(settings.scored)
    kept = {entry.row: entry for entry in filtered}
    for row, entry in kept.items():
        if row in settings.rows and entry.samples != settings.rows[row].samples:
            raise ValueError(
                f"The static filter's outcome of row {row} is of {entry.samples or 'all'} samples of a "
                f"prompt, expected {settings.rows[row].samples or 'all'}; filter again."
            )
    kinds: dict[str, set[str]] = {}
    for result in results:
        where = f"The {result.dimension} result of row {result.row}"
        if result.suite != suite or result.row not in by_row or result.dimension not in asked:
            raise ValueError(
                f"{where} (suite {result.suite}) is not part of this run (suite {suite}, rows "
                f"{', '.join(by_row)}, dimensions {', '.join(asked)}); take it out of the inputs or add it "
                "to the config."
            )
        if result.dimension in by_row[result.row]:
            raise ValueError(f"{where} was given twice; give each result file once.")
        check_result(result, prompts, kept.get(result.row), settings.known[result.dimension])
        by_row[result.row][result.dimension] = result
        kinds.setdefault(result.dimension, set()).add(result.kind)
    for dimension, found in kinds.items():
        if len(found) > 1:
            raise ValueError(
                f"Rows were scored on {dimension} by different kinds of scorer ({', '.join(sorted(found))}); "
                "use one."
            )
    return by_row


def aggregate(
    suite: str,
    prompts: Sequence[Prompt],
    results: Sequence[DimensionResult],
    filtered: Sequence[FilteredSet],
    settings: AggregateSettings,
    inputs: TableInputs,
) -> ScoresTable:
    """The table of scores of one suite. inputs: sha256 of the files that all this was read from.

    filtered: the static filter's outcome of every row, wanted where a prompt has `keep`. Rows whose
    dimensions are not all there get totals None and the reason; a result that lacks a clip, or holds a wrong
    one, stops everything with a ValueError.
    """
    unknown = [name for name in settings.dimensions if name not in NAMES]
    if unknown:
        raise ValueError(
            f"Unknown dimensions {', '.join(unknown)} in the settings; expected some of {', '.join(NAMES)}."
        )
    given = _by_row(suite, prompts, results, filtered, settings)
    by_row = {row: {n: result for n, result in found.items() if result.clips} for row, found in given.items()}
    design = run_design(prompts, settings)
    scored = [set(p.dimensions) for p in prompts if set(settings.dimensions) & set(p.dimensions)]
    prompts_of = {"total": len(scored)}
    for group in ("quality", "semantic"):
        members = {dimension.name for dimension in DIMENSIONS if dimension.group == group}
        prompts_of[group] = sum(bool(members & served) for served in scored)
    draws = {row: _row_draws(by_row[row], design, settings, prompts_of) for row in settings.rows}
    protocols = settings.protocols(prompts)
    ranked, *apart = protocol_groups(protocols) or [[]]
    controls = [row for row in settings.rows if row not in protocols]
    fewest = fewest_draws(len(protocols), len(settings.custom))
    if settings.draws < fewest:
        raise ValueError(
            f"{settings.draws} bootstrap draws cannot show a difference at the 5 % level after Holm's "
            f"correction; set draws to at least {fewest}."
        )
    pairs = _pairs(draws, list(itertools.combinations(ranked, 2)), design, settings.known)
    power = table_power(
        [pair for pair in pairs if pair.metric == "total"], [draws[r].by_clip for r in ranked]
    )
    ranks = ranks_by_row(pairs, ranked)
    # Families of their own, so that no row of another protocol and no control change a test of two models.
    for others in apart:
        pairs += _pairs(draws, list(itertools.combinations(others, 2)), design, settings.known)
    for control in controls:
        samples, beside = settings.rows[control].samples, draws
        if samples is not None:
            cut = {row: on_samples(by_row[row], samples) for row in [*protocols, control]}
            beside = {row: _row_draws(found, design, settings, prompts_of) for row, found in cut.items()}
        pairs += _pairs(beside, [(row, control) for row in protocols], design, settings.known)
    summaries = []
    for row, found in given.items():
        empty = [name for name in found if name not in by_row[row]]
        incomplete = _incomplete(list(by_row[row]), empty, settings)
        summary = _row_summary(row, by_row[row], draws[row], design, settings, incomplete)
        more = {"ranks": ranks.get(row, {}), "protocol": protocols.get(row)}
        summaries.append(summary.model_copy(update=more))
    return ScoresTable(
        suite=suite,
        inputs=inputs,
        benchmark=settings.bounds,
        dimensions=tuple(name for name in NAMES if name in settings.dimensions),
        custom=settings.custom,
        subset=settings.subset,
        rows=tuple(summaries),
        pairs=tuple(pairs),
        power=power,
        draws=settings.draws,
        seed=settings.seed,
    )
