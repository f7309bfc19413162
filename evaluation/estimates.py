"""Estimates over prompts: a mean with its bootstrap draws and influence values, and what follows from them.

An estimate can be scaled, subtracted and put through the formula of the totals; interval and p-value come
last.

Axes: D draws, P prompts, M metrics.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import (
    LEVEL,
    NEAR_END,
    SMALL,
    Array,
    Error,
    bootstrap_generator,
    draw_weights,
    effective_trials,
    linear_error,
    paired_p_value,
    percentile_range,
    resample_means,
    student_p_value,
    student_range,
    wilson_range,
)
from evaluation.records import Interval


class Design(NamedTuple):
    """What all rows share."""

    prompts: tuple[str, ...]
    """Sorted ids, [P]."""
    weights: Array
    """Of the bootstrap, [D, P]."""
    strata: NDArray[np.intp]
    """Number of each prompt's stratum, [P]."""


def make_design(strata: Mapping[str, Hashable], draws: int, seed: int) -> Design:
    """Draws for prompts in their strata, see draw_weights."""
    prompts, weights = draw_weights(strata, draws, bootstrap_generator(seed))
    numbers = {stratum: number for number, stratum in enumerate(sorted(set(strata.values()), key=repr))}
    return Design(prompts, weights, np.array([numbers[strata[prompt]] for prompt in prompts]))


class Estimate(NamedTuple):
    """A mean (percent) with what its interval and p-value follow from."""

    mean: float
    draws: Array
    """Of the bootstrap, [D]."""
    influence: Array
    """[P]."""
    prompts: int
    """How many it rests on."""
    fewest: int
    """Prompts of any one dimension in it, which decides between the bootstrap and Student's t."""
    ends: tuple[float, float] | None = None
    """Of the scale, where clip values cannot leave it; None otherwise and for differences and totals."""

    def scaled(self, scale: float, low: float = 0.0) -> Estimate:
        """scale (estimate - low)."""
        ends = None
        if self.ends is not None:
            a, b = (scale * (end - low) for end in self.ends)
            ends = (min(a, b), max(a, b))
        draws = scale * (self.draws - low)
        return self._replace(
            mean=scale * (self.mean - low), draws=draws, influence=scale * self.influence, ends=ends
        )

    def minus(self, other: Estimate) -> Estimate:
        """The paired difference on the prompts of this estimate."""
        return Estimate(
            self.mean - other.mean,
            self.draws - other.draws,
            self.influence - other.influence,
            self.prompts,
            min(self.fewest, other.fewest),
        )

    def interval(self, design: Design) -> Interval:
        """95 %: Wilson's near an end of the scale, Student's t below SMALL prompts, else percentiles."""
        error = linear_error(self.influence, design.strata, self.prompts)
        if self.ends is not None:
            low, high = self.ends
            width = high - low
            share, known = (self.mean - low) / width, error._replace(se=error.se / width)
            trials = effective_trials(share, known, self.prompts)
            if trials * min(share, 1.0 - share) < NEAR_END:
                found = wilson_range(share, known, trials)
                return Interval(mean=self.mean, low=low + width * found.low, high=low + width * found.high)
        mean, low, high = self._difference(design, LEVEL)
        return Interval(mean=mean, low=low, high=high)

    def corrected(self, design: Design, tests: int, adjusted: float) -> Interval:
        """The interval of a difference beside a p-value that was corrected.

        tests: of the family, all of whose intervals are meant to hold their truths together 95 times of 100
        (Bonferroni; 93 to 96 in the simulations of tests/evaluation/test_coverage.py).
        adjusted: the p-value after Holm's correction, which is sharper. Where it parts the two, the interval
        ends at zero at the latest; where it does not, the interval holds zero.
        """
        mean, low, high = self._difference(design, LEVEL / tests)
        if adjusted >= LEVEL:
            return Interval(mean=mean, low=min(low, 0.0), high=max(high, 0.0))
        return Interval(
            mean=mean, low=max(low, 0.0) if mean > 0 else low, high=min(high, 0.0) if mean < 0 else high
        )

    def _difference(self, design: Design, level: float) -> tuple[float, float, float]:
        """Mean, low and high of an estimate without ends of its scale."""
        if self.fewest >= SMALL:
            return self.mean, *percentile_range(self.draws, level)
        error = linear_error(self.influence, design.strata, self.prompts)
        return self.mean, *student_range(self.mean, error, level)

    def tested_error(self, design: Design) -> Error:
        """Standard error, with the degrees of freedom of the test in use: endless for the bootstrap."""
        error = linear_error(self.influence, design.strata, self.prompts)
        return error._replace(df=math.inf) if self.fewest >= SMALL else error

    def p_value(self, design: Design) -> float:
        """That the mean is zero; by the method of `interval`."""
        if self.fewest < SMALL:
            error = linear_error(self.influence, design.strata, self.prompts)
            return student_p_value(self.mean, error, self.prompts)
        return paired_p_value(self.draws, self.prompts)


def average(estimates: Sequence[Estimate], prompts: int) -> Estimate:
    """The mean of several metrics, which rests on so many prompts in all."""
    return Estimate(
        sum(found.mean for found in estimates) / len(estimates),
        np.mean([found.draws for found in estimates], axis=0),
        np.mean([found.influence for found in estimates], axis=0),
        prompts,
        min(found.fewest for found in estimates),
    )


def mean_estimates(
    sums: Array, counts: Array, design: Design, ends: Sequence[tuple[float, float] | None] | None = None
) -> list[Estimate]:
    """Means over clips of M metrics. sums, counts: [M, P], see resample_means; ends: [M], see Estimate."""
    clips = counts.sum(axis=1)
    means = sums.sum(axis=1) / clips
    draws = resample_means(design.weights, sums, counts)
    influence = (sums - means[:, None] * counts) / clips[:, None]
    prompts = (counts > 0).sum(axis=1)
    return [
        Estimate(
            float(mean),
            draws[:, m],
            influence[m],
            int(prompts[m]),
            int(prompts[m]),
            ends[m] if ends else None,
        )
        for m, mean in enumerate(means)
    ]
