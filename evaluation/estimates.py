"""Estimates over prompts: a mean with its bootstrap draws and influence values, and what follows from them.

An estimate can be scaled, subtracted and put through the formula of the totals; interval and p-value come
last.

Axes: D draws, P prompts, M metrics.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import (
    ALIKE,
    LEVEL,
    NEAR_END,
    SMALL,
    Array,
    Error,
    Range,
    bootstrap_generator,
    bounded_range,
    draw_weights,
    effective_trials,
    linear_error,
    normal_quantile,
    paired_p_value,
    paired_range,
    percentile_range,
    resample_means,
    student_p_value,
    student_range,
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
    """Draws for prompts in their strata, see draw_weights.

    Strata of one prompt, whose spread cannot be known, are one stratum together; a single one joins the
    smallest of the others. Otherwise their prompts would count as certain.
    Source: collapsed strata, Cochran, Sampling Techniques, 5A.12.
    """
    sizes = Counter(strata.values())
    by_size = sorted(sizes, key=lambda stratum: (sizes[stratum], repr(stratum)))
    lonely = [stratum for stratum in by_size if sizes[stratum] == 1]
    joined = dict.fromkeys(by_size[:2] if len(lonely) == 1 else lonely, by_size[0])
    strata = {prompt: joined.get(stratum, stratum) for prompt, stratum in strata.items()}
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
    """Of the scale, of a difference the largest that there can be. None where they are not known."""
    unseen: tuple[float, float] | None = None
    """Of a sum of means, see with_unseen; 0 of a difference of two, None of a mean over clips."""
    rows: tuple[Estimate, Estimate] | None = None
    """The two that it is the difference of."""

    def scaled(self, scale: float, low: float = 0.0) -> Estimate:
        """scale (estimate - low)."""
        ends = None
        if self.ends is not None:
            a, b = (scale * (end - low) for end in self.ends)
            ends = (min(a, b), max(a, b))
        return Estimate(
            scale * (self.mean - low),
            scale * (self.draws - low),
            scale * self.influence,
            self.prompts,
            self.fewest,
            ends,
            self.unseen,
            self.rows and (self.rows[0].scaled(scale), self.rows[1].scaled(scale)),
        )

    def minus(self, other: Estimate) -> Estimate:
        """The paired difference on the prompts of this estimate."""
        ends = unseen = None
        if self.ends is not None and other.ends is not None:
            ends = self.ends[0] - other.ends[1], self.ends[1] - other.ends[0]
        if self.unseen is not None and other.unseen is not None:
            unseen = 0.0, 0.0  # so that intervals of totals go with their tests
        return Estimate(
            self.mean - other.mean,
            self.draws - other.draws,
            self.influence - other.influence,
            self.prompts,
            min(self.fewest, other.fewest),
            ends,
            unseen,
            (self, other),
        )

    def interval(self, design: Design) -> Interval:
        """The 95 % one of `range`."""
        low, high = self.range(design)
        return Interval(mean=self.mean, low=low, high=high)

    def range(self, design: Design, level: float = LEVEL) -> Range:
        """What holds the truth but with probability `level`: the plain interval, of a sum with what is unseen
        of its parts; of a mean bounded_range, and of a difference paired_range of both rows' intervals, where
        a mean lies near an end of its scale or the plain one would leave it. Nothing lies beyond the scale.
        Rows that are equal on every prompt, away from the ends, are taken for the same.
        """
        if self.ends is None:
            return self.plain(design, level)
        if self.unseen is not None:
            low, high = self.plain(design, level)
            below, above = (normal_quantile(level) * error for error in self.unseen)
            low = self.mean - math.hypot(self.mean - low, below)
            return self._cut(low, self.mean + math.hypot(high - self.mean, above))
        if not any(found._near_end(design, level) for found in self.rows or (self,)):
            return self._cut(*self.plain(design, level))
        if self.rows is None or self._error(design).se < ALIKE:
            return self._bounded(design, level)
        return self._cut(*self._of_both(design, level))

    def _of_both(self, design: Design, level: float) -> Range:
        """Of a difference, from the intervals of its rows and how far these go together."""
        assert self.rows is not None, "only of a difference"
        variances = [
            linear_error(found.influence, design.strata, found.prompts).se ** 2
            for found in (*self.rows, self)
        ]
        both = 2 * math.sqrt(variances[0] * variances[1])
        shared = (variances[0] + variances[1] - variances[2]) / both if both else 0.0
        (one, of_one), (other, of_other) = ((row.mean, row.range(design, level)) for row in self.rows)
        return paired_range(one, of_one, other, of_other, min(1.0, max(-1.0, shared)))

    def _error(self, design: Design) -> Error:
        """As of a scale of 0..1."""
        assert self.ends is not None, "only of what has a scale"
        error = linear_error(self.influence, design.strata, self.prompts)
        return error._replace(se=error.se / (self.ends[1] - self.ends[0]))

    def _near_end(self, design: Design, level: float) -> bool:
        """Whether the plain interval of a mean is too narrow, or leaves the scale."""
        assert self.ends is not None, "only of what has a scale"
        (bottom, top), known = self.ends, self._error(design)
        share = (self.mean - bottom) / (top - bottom)
        if known.se < ALIKE or effective_trials(share, known) * min(share, 1.0 - share) < NEAR_END:
            return True
        low, high = self.plain(design, level)
        return low < bottom or high > top

    def _bounded(self, design: Design, level: float) -> Range:
        assert self.ends is not None, "only of what has a scale"
        bottom, width = self.ends[0], self.ends[1] - self.ends[0]
        share = (self.mean - bottom) / width
        low, high = bounded_range(share, self._error(design), self.prompts, level)
        return Range(bottom + width * low, bottom + width * high)

    def corrected(self, design: Design, tests: int, adjusted: float) -> Interval:
        """The interval of a difference beside a p-value that was corrected.

        tests: of the family, all of whose intervals are meant to hold their truths together 95 times of 100
        (Bonferroni; 93 to 96 in the simulations of tests/evaluation/test_coverage.py, more near an end).
        adjusted: the p-value after Holm's correction, which is sharper. Where it parts the two, the interval
        ends at zero at the latest; where it does not, the interval holds zero.
        """
        mean = self.mean
        low, high = self.range(design, LEVEL / tests)
        if adjusted >= LEVEL:
            return Interval(mean=mean, low=min(low, 0.0), high=max(high, 0.0))
        return Interval(
            mean=mean, low=max(low, 0.0) if mean > 0 else low, high=min(high, 0.0) if mean < 0 else high
        )

    def _cut(self, low: float, high: float) -> Range:
        """No part of an interval lies where the mean cannot be, but for rounding of the mean itself."""
        bottom, top = self.ends or (-math.inf, math.inf)
        return Range(max(low, min(bottom, self.mean)), min(high, max(top, self.mean)))

    def plain(self, design: Design, level: float = LEVEL) -> Range:
        """Without regard to ends of the scale: percentiles of the draws, Student's t below SMALL prompts."""
        if self.fewest >= SMALL:
            return percentile_range(self.draws, level)
        return student_range(self.mean, linear_error(self.influence, design.strata, self.prompts), level)

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


def average(estimates: Sequence[Estimate], prompts: int, design: Design) -> Estimate:
    """The mean of several metrics, which rests on so many prompts in all."""
    found = Estimate(
        sum(found.mean for found in estimates) / len(estimates),
        np.mean([found.draws for found in estimates], axis=0),
        np.mean([found.influence for found in estimates], axis=0),
        prompts,
        min(found.fewest for found in estimates),
    )
    return with_unseen(found, estimates, np.full(len(estimates), 1.0 / len(estimates)), design)


def with_unseen(found: Estimate, parts: Sequence[Estimate], weights: Array, design: Design) -> Estimate:
    """A weighted sum of means with the ends of its scale, and with its standard errors towards less and
    towards more that draws and influence values do not show: those of parts whose prompts are all alike.

    The share of the scale's prompts that is unlike the n seen has Jeffreys' posterior Beta(1/2, n + 1/2), and
    lies at an end of the scale; parts add their squares. weights: [M], of the parts, all of which have ends.
    """
    ends, squares = np.zeros(2), np.zeros(2)
    for weight, part in zip(weights, parts, strict=True):
        assert part.ends is not None, "a mean of clips has the ends of their scale"
        there = np.array(part.ends)
        ends += weight * there
        if linear_error(part.influence, design.strata, part.prompts).se < ALIKE * np.ptp(there):
            mean_square = 0.75 / ((part.prompts + 1) * (part.prompts + 2))
            squares += mean_square * (weight * (there - part.mean)) ** 2
    below, above = (squares**0.5).tolist()
    return found._replace(ends=(float(ends[0]), float(ends[1])), unseen=(below, above))


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
