"""How much of a score's variance is between prompts and how much between seeds of one prompt. Pure numpy.

One-way random effects: value = mean + prompt effect + seed effect, by the analysis of variance for unequal
numbers of samples.
Source: Searle, Casella and McCulloch (1992), Variance Components, 3.6.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from evaluation.intervals import Array
from evaluation.metrics import Metric
from evaluation.records import (
    DimensionResult,
    Identifier,
    NonNegative,
    PlainText,
    Positive,
    Probability,
    Record,
    TableInputs,
)


class Components(NamedTuple):
    """Standard deviations in the values' unit."""

    prompt_sd: float
    seed_sd: float | None
    """None where no prompt has two samples; prompt_sd then holds both."""
    samples: float
    """Per prompt: n0 of the analysis of variance, their mean if all are equal."""


class VarianceCell(Record):
    """The components of one row and dimension, in normalised points."""

    row: Identifier
    dimension: Identifier
    prompts: Positive
    samples: NonNegative
    prompt_sd: NonNegative
    seed_sd: NonNegative | None
    seed_share: Probability | None
    """Part of the mean's error that comes from seeds, 0..1."""


class VarianceTable(Record):
    """aggregate/variance.json: standard deviations between prompts and between seeds."""

    schema_version: Literal[2] = 2
    suite: PlainText
    inputs: TableInputs
    """As in ScoresTable."""
    cells: tuple[VarianceCell, ...]


def components(values: Array, prompts: Sequence[str]) -> Components:
    """values: [N], one per clip; prompts: its prompt. Raises ValueError with fewer than two prompts."""
    names, index = np.unique(np.asarray(prompts), return_inverse=True)
    n = np.bincount(index).astype(np.float64)
    if len(names) < 2:
        raise ValueError(f"A standard deviation between prompts needs two prompts; found {len(names)}.")
    means = np.bincount(index, values) / n
    between = float((n * (means - values.mean()) ** 2).sum()) / (len(names) - 1)
    samples = (n.sum() - (n**2).sum() / n.sum()) / (len(names) - 1)
    if n.max() == 1:
        return Components(between**0.5, None, 1.0)
    within = float(((values - means[index]) ** 2).sum()) / (n.sum() - len(names))
    return Components(max(0.0, (between - within) / samples) ** 0.5, within**0.5, float(samples))


def seed_share(found: Components) -> float | None:
    """Part of the variance of the mean over prompts that more samples per prompt would take away, 0..1.

    None where it cannot be told: one sample per prompt, or no variance at all.
    """
    if found.seed_sd is None:
        return None
    seeds = found.seed_sd**2 / found.samples
    whole = found.prompt_sd**2 + seeds
    return seeds / whole if whole > 0 else None


class SeedPart(NamedTuple):
    """What more samples of each prompt could do for an estimate."""

    samples: float
    """Of a prompt, their mean."""
    share: float | None
    """Part of the squared standard error that comes from seeds, 0..1. None where no prompt has two samples or
    there is no error.
    """


def seed_part(influence: Array, squared_error: float) -> SeedPart:
    """The part of seeds in the error of an estimate that is a sum over clips.

    influence: [P, S], the share of each clip in the estimate's change, NaN where there is no such clip;
    squared_error: of the whole estimate. A prompt with one sample counts as one without any spread of seeds.
    """
    n = (~np.isnan(influence)).sum(axis=1)
    several = influence[n > 1]
    if not len(several) or squared_error == 0.0:
        return SeedPart(float(n[n > 0].mean()), None)
    seeds = float((n[n > 1] ** 2 * np.nanvar(several, axis=1) / (n[n > 1] - 1)).sum())
    return SeedPart(float(n[n > 0].mean()), min(1.0, seeds / squared_error))


def variance_table(
    suite: str, results: Sequence[DimensionResult], known: Mapping[str, Metric], inputs: TableInputs
) -> VarianceTable:
    """A cell per result with at least two prompts, by row and dimension. known: every metric by name; inputs:
    as of `aggregate`.
    """
    cells = []
    for result in results:
        metric = known[result.dimension]
        clips = sorted(result.clips, key=lambda clip: clip.clip_id)
        names = [clip.prompt_id for clip in clips]
        if len(set(names)) < 2:
            continue
        values = np.array([metric.normalise(metric.factor * clip.value) for clip in clips])
        found = components(values, names)
        cells.append(
            VarianceCell(
                row=result.row,
                dimension=result.dimension,
                prompts=len(set(names)),
                seed_share=seed_share(found),
                **found._asdict(),
            )
        )
    cells.sort(key=lambda cell: (cell.row, cell.dimension))
    return VarianceTable(suite=suite, inputs=inputs, cells=tuple(cells))
