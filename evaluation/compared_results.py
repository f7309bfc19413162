"""Two sets of results, wherever they were computed, compared prompt by prompt: paired tests, no clip needed.

Prompts are told apart by their text, or by the id that records of ours have; both need the same protocol,
which no file states, so that it is the reader's to know.
"""

from typing import NamedTuple

import numpy as np

from evaluation.aggregate import TOTALS, holm_family, total_estimates
from evaluation.dimensions import NAMES
from evaluation.estimates import Design, Estimate, make_design, mean_estimates
from evaluation.imported_results import ForeignDimension, ForeignResults
from evaluation.intervals import Array
from evaluation.metrics import Metric, metrics
from evaluation.records import PairedDifference

DRAWS, SEED = 20_000, 0
"""Of the bootstrap: as the vbench suite's."""


class ComparedMetric(NamedTuple):
    """One dimension, or a total, of both."""

    metric: str
    one: float
    """In normalised points, over the prompts of both."""
    other: float
    test: PairedDifference
    """One minus other."""
    left: int
    """Prompts of either that the other lacks, which are left out."""


def compare_results(one: ForeignResults, other: ForeignResults, draws: int = DRAWS) -> list[ComparedMetric]:
    """Every dimension that both have, on the prompts of both, and totals where both have all sixteen whole.

    draws: of the bootstrap. Holm's correction is over the dimensions, and over the totals. Raises ValueError
    if they are of two benchmarks, or share no dimension or no prompt.
    """
    if one.benchmark != other.benchmark:
        raise ValueError(
            f"{one.path} is scored by {one.benchmark}, {other.path} by {other.benchmark}; their numbers "
            "cannot be compared."
        )
    known = metrics(one.benchmark)
    names = [name for name in NAMES if name in one.dimensions and name in other.dimensions]
    if not names:
        raise ValueError(
            f"{one.path} has {', '.join(one.dimensions)}, {other.path} has {', '.join(other.dimensions)}: no "
            "dimension is in both."
        )
    texts = {name: [_by_prompt(found.dimensions[name]) for found in (one, other)] for name in names}
    shared = {name: both[0].keys() & both[1].keys() for name, both in texts.items()}
    if lost := next((name for name in names if not shared[name]), None):
        raise ValueError(
            f"{one.path} and {other.path} share no prompt of {lost} (the first has "
            f"{next(iter(texts[lost][0]))[:80]!r}); compare results of one list of prompts."
        )
    served: dict[str, list[str]] = {}
    for name in names:
        for prompt in shared[name]:
            served.setdefault(prompt, []).append(name)
    design = make_design({prompt: tuple(dimensions) for prompt, dimensions in served.items()}, draws, SEED)
    estimates = [
        {name: _estimate(texts[name][side], shared[name], known[name], design) for name in names}
        for side in (0, 1)
    ]
    left = {name: len(texts[name][0].keys() ^ texts[name][1].keys()) for name in names}
    compared = _family(estimates[0], estimates[1], left, design)
    if len(names) == len(NAMES) and not any(left.values()):
        groups = {name: [n for n in names if name == "total" or known[n].group == name] for name in TOTALS}
        counts = {name: len(set().union(*(shared[n] for n in found))) for name, found in groups.items()}
        sides = [total_estimates(found, counts, design) for found in estimates]
        compared = [*_family(sides[0], sides[1], dict.fromkeys(TOTALS, 0), design), *compared]
    return compared


def _by_prompt(dimension: ForeignDimension) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for score in dimension.scores:
        found.setdefault(score.text, []).append(score.value)
    return found


def _estimate(values: dict[str, list[float]], shared: set[str], metric: Metric, design: Design) -> Estimate:
    sums: Array = np.zeros((1, len(design.prompts)))
    counts: Array = np.zeros((1, len(design.prompts)))
    for column, prompt in enumerate(design.prompts):
        if prompt in shared:
            sums[0, column] = metric.factor * sum(values[prompt])
            counts[0, column] = len(values[prompt])
    return mean_estimates(sums, counts, design, [metric.ends])[0].scaled(metric.scale, metric.low)


def _family(
    one: dict[str, Estimate], other: dict[str, Estimate], left: dict[str, int], design: Design
) -> list[ComparedMetric]:
    tests = holm_family([("one", "other", name, one[name].minus(other[name])) for name in one], design)
    return [
        ComparedMetric(test.metric, one[test.metric].mean, other[test.metric].mean, test, left[test.metric])
        for test in tests
    ]
