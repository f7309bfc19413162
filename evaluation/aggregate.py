"""Per-clip results of every row and dimension -> the table of scores. Refuses what is incomplete.

normalised = (raw - low) / (high - low), not clipped. Quality and Semantic are weighted means of normalised
scores, Total = (4 Quality + Semantic) / 5. All numbers of the table are in percent.
Source of the formula: VBench `scripts/cal_final_score.py`, without its zeros for dimensions that are missing.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from evaluation.dimensions import DIMENSIONS, NAMES, QUALITY_SHARE, SEMANTIC_SHARE, BoundsName
from evaluation.estimates import Design, Estimate, make_design, mean_estimates
from evaluation.intervals import Array, holm
from evaluation.metrics import CUSTOM_GROUP, Metric, metrics
from evaluation.records import (
    CustomDimension,
    DimensionResult,
    DimensionSummary,
    FilteredSet,
    Interval,
    PairedDifference,
    Prompt,
    RowSummary,
    ScoresTable,
    clip_id,
)
from evaluation.selection import expected_samples

TOTALS: tuple[str, ...] = ("total", "quality", "semantic")
RANKED_KINDS = ("native", "external", "import")


class RowName(BaseModel):
    """How a row is called in the table and what it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    kind: Literal["native", "external", "import", "control", "shipped"]


class AggregateSettings(BaseModel):
    """Settings of the aggregate stage.

    bounds: which normalisation table; dimensions: those this run was asked to score; draws, seed: of the
    bootstrap;
    rows: every row that the run was asked for, in the order of the table, also those without results.
    custom: dimensions of the user's; subset: what a subset run leaves out, as one sentence; totals: false of
    a run on some prompts or samples only, which has no total.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bounds: BoundsName
    dimensions: tuple[str, ...]
    draws: Annotated[int, Field(ge=100)]
    seed: Annotated[int, Field(ge=0)]
    rows: dict[str, RowName]
    custom: tuple[CustomDimension, ...] = ()
    subset: str | None = None
    totals: bool = True

    @property
    def known(self) -> dict[str, Metric]:
        """Every measure that a result may be of: the sixteen, then one's own."""
        return metrics(self.bounds, self.custom)

    @property
    def scored(self) -> dict[str, Metric]:
        """The measures that this run was asked for."""
        return {n: m for n, m in self.known.items() if m.group == CUSTOM_GROUP or n in self.dimensions}


class Totals(NamedTuple):
    """Percent, each [D] or a float."""

    total: Array
    quality: Array
    semantic: Array


def totals(normalised: Mapping[str, Array]) -> Totals:
    """Quality, Semantic and Total from all sixteen normalised scores (percent, arrays of one shape or
    scalars).

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
    result: DimensionResult,
    prompts: Sequence[Prompt],
    filtered: FilteredSet | None,
    measure: Metric,
) -> None:
    """Prove that a result holds exactly the clips its measure asks for, each with a possible value.

    filtered: what the static filter kept of this row. A result without clips passes if none was expected.
    Raises ValueError with one sentence naming row, dimension and clips.
    """
    where = f"The {result.dimension} result of row {result.row}"
    wanted = [prompt for prompt in prompts if measure.serves(prompt)]
    expected = {clip_id(p.id, sample) for p in wanted for sample in expected_samples(p, filtered, result.row)}
    if result.left_out and (result.kind, result.dimension) != ("official", "color"):
        raise ValueError(
            f"{where} leaves out {len(result.left_out)} clips, which only the official color does; score "
            "it again."
        )
    expected -= set(result.left_out)
    found: set[str] = set()
    lengths = {None if clip.frame_values is None else len(clip.frame_values) for clip in result.clips}
    if len(lengths) > 1:
        raise ValueError(
            f"{where} has values of pixel frames for some clips only, or of different lengths; score it "
            "again."
        )
    # float16 cosines of the official scorer exceed 1: evaluation/vbench/worker/runner.py, ROUNDING
    spare = 4e-3 if result.kind == "official" else 1e-6
    low, high = measure.lowest - spare, measure.highest + spare
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
                    f"{where} gives clip {clip.clip_id} the value {value}, outside "
                    f"{measure.lowest:g}..{measure.highest:g}; its scorer or the scorer's weights are "
                    "wrong."
                )
        found.add(clip.clip_id)
    problems = [f"{clip} is missing" for clip in sorted(expected - found)]
    problems += [f"{clip} is not wanted" for clip in sorted(found - expected)]
    if problems:
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise ValueError(
            f"{where} does not hold the expected clips: {shown}. Sample and score them before aggregating."
        )
    mean = math.fsum(clip.value for clip in result.clips) / max(len(result.clips), 1)
    if result.clips and abs(mean - result.mean) > 1e-6 * max(1.0, measure.highest - measure.lowest):
        raise ValueError(
            f"{where} says its mean is {result.mean}, its {len(found)} clips give {mean}; score it again."
        )


class RowDraws(NamedTuple):
    """Of one row: estimates of shown raw and of normalised scores, totals among the latter under their own
    names.

    sums, counts: per dimension [P], the sum of shown raw clip values and the number of clips of each prompt.
    """

    sums: dict[str, Array]
    counts: dict[str, Array]
    raw: dict[str, Estimate]
    normalised: dict[str, Estimate]


def total_estimates(normalised: Mapping[str, Estimate], prompts_of: Mapping[str, int]) -> dict[str, Estimate]:
    """Quality, Semantic and Total of a row that has all dimensions: the formula over means, draws and
    influence values.
    """
    means = totals({name: np.asarray(found.mean) for name, found in normalised.items()})
    draws = totals({name: found.draws for name, found in normalised.items()})
    influence = totals({name: found.influence for name, found in normalised.items()})
    fewest = min(found.fewest for found in normalised.values())
    return {
        measure: Estimate(
            float(means._asdict()[measure]), draws._asdict()[measure], influence._asdict()[measure],
            prompts_of[measure], fewest,
        )
        for measure in TOTALS
    }  # fmt: skip


def _row_draws(
    results: Mapping[str, DimensionResult],
    design: Design,
    settings: AggregateSettings,
    prompts_of: Mapping[str, int],
) -> RowDraws:
    """Resample one row. Totals join the normalised scores under their own names when all dimensions are
    there.
    """
    column = {prompt: index for index, prompt in enumerate(design.prompts)}
    known = settings.known
    names = [name for name in known if name in results]
    sums, counts = np.zeros((len(names), len(column))), np.zeros((len(names), len(column)))
    for line, name in enumerate(names):
        for clip in sorted(results[name].clips, key=lambda clip: clip.clip_id):
            sums[line, column[clip.prompt_id]] += known[name].factor * clip.value
            counts[line, column[clip.prompt_id]] += 1
    ends = [known[name].ends for name in names]
    raw = dict(zip(names, mean_estimates(sums, counts, design, ends), strict=True)) if names else {}
    normalised = {name: found.scaled(known[name].scale, known[name].low) for name, found in raw.items()}
    if settings.totals and all(name in results for name in NAMES):
        normalised |= total_estimates({name: normalised[name] for name in NAMES}, prompts_of)
    return RowDraws(
        sums=dict(zip(names, sums, strict=True)),
        counts=dict(zip(names, counts, strict=True)),
        raw=raw,
        normalised=normalised,
    )


def percent(fraction: float | None) -> float | None:
    """A raw score in percent, if there is one."""
    return None if fraction is None else 100.0 * fraction


def _row_summary(
    row: str,
    name: RowName,
    results: Mapping[str, DimensionResult],
    draws: RowDraws,
    design: Design,
    settings: AggregateSettings,
    empty: Sequence[str],
) -> RowSummary:
    asked = settings.dimensions
    dimensions = {
        key: DimensionSummary(
            kind=results[key].kind,
            raw=draws.raw[key].interval(design),
            normalised=draws.normalised[key].interval(design),
            prompts=len({clip.prompt_id for clip in results[key].clips}),
            clips=len(results[key].clips),
            left_out=len(results[key].left_out),
            several_processes=percent(results[key].several_processes),
        )
        for key in settings.known
        if key in results
    }
    missing = [key for key in NAMES if key not in results]
    incomplete = None
    if missing:
        not_asked = [key for key in missing if key not in asked]
        incomplete = f"{len(NAMES) - len(missing)} of {len(NAMES)} dimensions scored"
        incomplete += "; this run leaves some out by its settings" if not_asked else ""
        incomplete += f"; no clip passed the static filter: {', '.join(empty)}" if empty else ""
        lost = [key for key in missing if key in asked and key not in empty]
        incomplete += f"; missing: {', '.join(lost)}" if lost else ""
    elif not settings.totals:
        incomplete = "no total on a subset of the prompts or samples"
    intervals: dict[str, Interval | None] = {
        measure: None if incomplete else draws.normalised[measure].interval(design) for measure in TOTALS
    }
    return RowSummary(
        row=row, label=name.label, kind=name.kind, dimensions=dimensions, incomplete=incomplete,
        total=intervals["total"], quality=intervals["quality"], semantic=intervals["semantic"],
    )  # fmt: skip


def _compare_dimension(
    one: RowDraws, other: RowDraws, name: str, design: Design, scale: float
) -> Estimate | None:
    """Normalised difference of two rows on the prompts that both have clips of; None if there is none."""
    has, other_has = one.counts[name] > 0, other.counts[name] > 0
    common = has & other_has
    if not common.any():
        return None
    if np.array_equal(has, other_has):  # the rows' own draws are on these very prompts
        return one.raw[name].minus(other.raw[name]).scaled(scale)
    sums = np.stack([one.sums[name], other.sums[name]]) * common
    counts = np.stack([one.counts[name], other.counts[name]]) * common
    a, b = mean_estimates(sums, counts, design)
    return a.minus(b).scaled(scale)


def _pairs(
    draws: Mapping[str, RowDraws], rows: Sequence[str], design: Design, known: Mapping[str, Metric]
) -> list[PairedDifference]:
    """All pairs of ranked rows on every measure both have.

    Holm families: the 16 dimensions of one pair; its custom dimensions, so that adding one changes no other
    p-value; and, for each of Total, Quality and Semantic, all pairs of rows.
    """
    found: list[PairedDifference] = []
    for measure in TOTALS:
        family = []
        for a, b in itertools.combinations(rows, 2):
            if measure in draws[a].normalised and measure in draws[b].normalised:
                difference = draws[a].normalised[measure].minus(draws[b].normalised[measure])
                family.append((a, b, measure, difference))
        found += holm_family(family, design)
    for a, b in itertools.combinations(rows, 2):
        families: dict[bool, list[tuple[str, str, str, Estimate]]] = {False: [], True: []}
        for name, described in known.items():
            if name in draws[a].raw and name in draws[b].raw:
                compared = _compare_dimension(draws[a], draws[b], name, design, described.scale)
                if compared is not None:
                    families[described.group == CUSTOM_GROUP].append((a, b, name, compared))
        found += [pair for family in families.values() for pair in holm_family(family, design)]
    return found


def holm_family(family: Sequence[tuple[str, str, str, Estimate]], design: Design) -> list[PairedDifference]:
    """Paired differences (row, row, measure, estimate) of one family, with p-values after Holm's correction."""
    p_values = [difference.p_value(design) for _, _, _, difference in family]
    return [
        PairedDifference(
            a=a, b=b, measure=measure, difference=difference.interval(design),
            p_value=p_value, holm=adjusted, prompts=difference.prompts,
        )
        for (a, b, measure, difference), p_value, adjusted in zip(family, p_values, holm(p_values), strict=True)
    ]  # fmt: skip


def run_design(prompts: Sequence[Prompt], settings: AggregateSettings) -> Design:
    """The draws that every number of a run shares: over all its prompts, in strata of what they are scored on
    and filtered by.
    """
    strata = {prompt.id: (tuple(sorted(prompt.dimensions)), prompt.keep) for prompt in prompts}
    return make_design(strata, settings.draws, settings.seed)


def aggregate(
    suite: str,
    prompts: Sequence[Prompt],
    results: Sequence[DimensionResult],
    filtered: Sequence[FilteredSet],
    settings: AggregateSettings,
) -> ScoresTable:
    """The table of scores of one suite.

    filtered: the static filter's outcome of every row, wanted where a prompt has `keep`. Rows whose
    dimensions are not all there get totals None and the reason; a result that lacks a clip, or holds a wrong
    one, stops everything. Raises ValueError with one sentence.
    """
    by_row: dict[str, dict[str, DimensionResult]] = {row: {} for row in settings.rows}
    asked = list(settings.scored)
    kept = {entry.row: entry for entry in filtered}
    unknown = [name for name in settings.dimensions if name not in NAMES]
    if unknown:
        raise ValueError(
            f"Unknown dimensions {', '.join(unknown)} in the settings; expected some of {', '.join(NAMES)}."
        )
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
    kinds = {(result.dimension, result.kind) for result in results}
    for dimension in asked:
        found = sorted(kind for name, kind in kinds if name == dimension)
        if len(found) > 1:
            raise ValueError(
                f"Rows were scored on {dimension} by different kinds of scorer ({', '.join(found)}); use one."
            )
    empty = {row: [n for n in found if not found[n].clips] for row, found in by_row.items()}
    by_row = {
        row: {n: result for n, result in found.items() if result.clips} for row, found in by_row.items()
    }
    design = run_design(prompts, settings)
    scored = {p.id: p for p in prompts if set(settings.dimensions) & set(p.dimensions)}
    prompts_of = {"total": len(scored)}
    for group in ("quality", "semantic"):
        members = {dimension.name for dimension in DIMENSIONS if dimension.group == group}
        prompts_of[group] = sum(bool(members & set(prompt.dimensions)) for prompt in scored.values())
    draws = {row: _row_draws(by_row[row], design, settings, prompts_of) for row in settings.rows}
    ranked = [row for row, name in settings.rows.items() if name.kind in RANKED_KINDS]
    family = max(len(ranked) * (len(ranked) - 1) // 2, len(NAMES), len(settings.custom))
    if settings.draws < 40 * family:
        raise ValueError(
            f"{settings.draws} bootstrap draws cannot show a difference among {family} tests at the 5 % "
            f"level after Holm's correction; set draws to at least {40 * family}."
        )
    return ScoresTable(
        suite=suite,
        dimensions=tuple(name for name in NAMES if name in settings.dimensions),
        custom=settings.custom,
        subset=settings.subset,
        rows=tuple(
            _row_summary(row, name, by_row[row], draws[row], design, settings, empty[row])
            for row, name in settings.rows.items()
        ),
        pairs=tuple(_pairs(draws, ranked, design, settings.known)),
        draws=settings.draws,
        seed=settings.seed,
    )


def csv_text(lines: Sequence[str], subset: str | None) -> str:
    """Lines of a CSV file, of a subset run with one column more, which says what was left out: no line can be
    taken for a whole run's.
    """
    if subset is None:
        return "\n".join(lines) + "\n"
    said = '"' + subset.replace('"', '""') + '"'
    return "\n".join([f"{lines[0]},subset", *(f"{line},{said}" for line in lines[1:])]) + "\n"


def scores_csv(table: ScoresTable) -> str:
    """One line per row and measure: row, label, kind, measure, scorer kind, raw and normalised mean/low/high,
    counts.
    """
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
    return csv_text(lines, table.subset)
