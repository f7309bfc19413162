"""Confidence intervals and paired comparisons over prompts. Pure numpy; randomness comes in as a Generator.

The unit that is drawn is the prompt: samples of one prompt are not independent, so they stay together.
All rows and all dimensions share one matrix of draws, so a prompt that serves several dimensions stays
joined, an interval of Total goes through the whole formula, and every difference of two rows is a paired one.
Below SMALL prompts a percentile interval is too narrow (92 % at 12 prompts where 95 % are meant); there
Student's t takes its place, on the same prompts and strata, with every metric as a sum over prompts (its
influence values). Near an end of a bounded scale (96 % of clips pass) both are too narrow (60 % at 12
prompts, 89 % at 72), and bounded_range takes their place.

Axes: D draws, P prompts, M metrics (dimensions).
"""

import math
from collections.abc import Hashable, Mapping, Sequence, Set
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtri, stdtr, stdtrit

Array = NDArray[np.float64]
LEVEL = 0.05
"""Of every test, after its correction."""
SMALL = 20
"""Prompts below which Student's t is used instead of the bootstrap."""
NEAR_END = 30
"""Passes or failures, as if prompts were independent trials, below which bounded_range is used."""
ALIKE = 1e-9
"""Standard errors below this part of the scale are rounding: no prompt differs from another."""
ROUNDED = 1e-9
"""Points below which two rows of a draw are equal."""


class Range(NamedTuple):
    """An interval, of 95 % unless another level was asked for."""

    low: float
    high: float


def bootstrap_generator(seed: int) -> np.random.Generator:
    """Philox generator of the bootstrap: the same stream on every machine and NumPy build."""
    return np.random.Generator(np.random.Philox(key=seed))


def draw_weights(
    strata: Mapping[str, Hashable], draws: int, generator: np.random.Generator
) -> tuple[tuple[str, ...], Array]:
    """Sorted prompt ids and their bootstrap weights [D, P].

    strata: prompt id -> what the suite fixes by design (here: the set of dimensions the prompt serves).
    Prompts are drawn within strata, so no draw can leave a dimension without prompts. n - 1 of n prompts are
    drawn with replacement and weighted n / (n - 1): the variance of a mean is then the unbiased s^2 / n and
    not (n - 1) / n of it. A stratum of one prompt cannot vary. Independent of the order of the mapping.
    Source: Rao and Wu (1988), "Resampling inference with complex survey data", JASA 83.
    """
    if not strata or draws < 1:
        raise ValueError(
            f"A bootstrap needs prompts and draws; found {len(strata)} prompts and {draws} draws."
        )
    prompts = tuple(sorted(strata))
    column = {prompt: index for index, prompt in enumerate(prompts)}
    weights = np.ones((draws, len(prompts)))
    for stratum in sorted(set(strata.values()), key=repr):
        members = np.array([column[prompt] for prompt in prompts if strata[prompt] == stratum])
        n = len(members)
        if n > 1:
            counts = generator.multinomial(n - 1, np.full(n, 1.0 / n), size=draws)
            weights[:, members] = counts * (n / (n - 1))
    return prompts, weights


def resample_means(weights: Array, sums: Array, counts: Array) -> Array:
    """Means over clips in every draw, [D, M].

    weights: [D, P]; sums, counts: [M, P], the sum of clip values and the number of clips of each prompt (0
    where the metric does not use the prompt, or no clip passed the static filter). A ratio of two weighted
    sums, so prompts with more clips weigh more, as in the mean over clips that it resamples. A draw without
    any clip of a metric (it takes a filter that left very few prompts) is NaN, and is left out below.
    """
    below = weights @ counts.T
    return np.divide(weights @ sums.T, below, out=np.full_like(below, np.nan), where=below > 0)


def percentile_range(values: Array, level: float = LEVEL) -> Range:
    """The central 1 - level of draws [D], of those that are defined. Raises ValueError if none is."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        raise ValueError("No bootstrap draw holds a clip of this metric; draw more often.")
    low, high = np.percentile(defined, [50.0 * level, 100.0 - 50.0 * level])
    return Range(float(low), float(high))


def sign_test_floor(prompts: int) -> float:
    """2 / 2^prompts, the least p-value of an exact sign test, below which no p-value here ever is."""
    return 2.0 / 2.0 ** min(prompts, 60)


def paired_p_value(differences: Array, prompts: int) -> float:
    """Two-sided p-value that a difference is zero, from its draws [D].

    Twice the smaller tail, with one added to count and draws, so it is never 0. It is never below
    sign_test_floor either: one prompt shows nothing. A draw in which two rows are equal counts in both tails
    on every machine: below ROUNDED points, what a difference is depends on the order of sums.
    """
    draws = int((~np.isnan(differences)).sum())
    tail = min(int((differences <= ROUNDED).sum()), int((differences >= -ROUNDED).sum()))
    return min(1.0, max(2.0 * (tail + 1) / (draws + 1), sign_test_floor(prompts)))


class Error(NamedTuple):
    """Standard error of an estimate, and the degrees of freedom it was found with."""

    se: float
    df: float


def linear_error(influence: Array, strata: NDArray[np.intp], prompts: int) -> Error:
    """Error of an estimate whose change with the prompts' values is the sum of `influence` [P].

    strata: stratum number of each prompt [P], those within which draw_weights draws; its variances are s^2 n
    / (n - 1) in each, so this is the error that the draws have in the limit. Degrees of freedom: Welch and
    Satterthwaite over strata, at most prompts - 1, where prompts is how many the estimate rests on.
    Source: Satterthwaite (1946), Biometrics Bulletin 2; linearisation of a ratio as in Cochran, Sampling
    Techniques, 6.
    """
    n = np.bincount(strata)
    centred = influence - (np.bincount(strata, influence) / np.maximum(n, 1))[strata]
    free = np.maximum(n - 1, 1)
    variances = np.where(n > 1, np.bincount(strata, centred**2) * n / free, 0.0)
    variance = float(variances.sum())
    if variance == 0.0:
        return Error(0.0, max(prompts - 1.0, 1.0))
    df = variance**2 / float((variances**2 / free).sum())
    return Error(variance**0.5, max(1.0, min(df, prompts - 1.0)))


def student_range(mean: float, error: Error, level: float = LEVEL) -> Range:
    """The interval of Student's t around a mean, which misses it with probability `level`."""
    half = float(stdtrit(error.df, 1.0 - level / 2)) * error.se
    return Range(mean - half, mean + half)


def effective_trials(share: float, error: Error) -> float:
    """How many independent trials would know a mean of 0..1 as well as these prompts do."""
    return share * (1.0 - share) / error.se**2


def normal_quantile(level: float) -> float:
    """Standard errors in half of an interval that misses with probability `level`."""
    return float(ndtri(1.0 - level / 2))


def bounded_range(share: float, error: Error, prompts: int, level: float = LEVEL) -> Range:
    """The interval of a mean of 0..1 that lies near an end of its scale, missed with probability `level`.

    The wider at each end of Wilson's interval, with t in the place of the normal quantile, and of Jeffreys'
    for as many trials as are worth the same with the normal quantile: each is too narrow alone, by up to 10
    points of coverage, Wilson's towards the near end of the scale, Jeffreys' away from it.
    If no prompt differs from another, their spread is not known. A prompt then counts as one trial, however
    many samples it has, and up to Wilson's share of the scale's prompts may be unlike those seen: 24 prompts
    without a failure are 86 to 100 %.
    Sources: Wilson (1927), JASA 22; Brown, Cai and DasGupta (2001), Statistical Science 16; effective numbers
    of trials: Korn and Graubard (1998), Survey Methodology 24.
    """
    share, z = min(max(share, 0.0), 1.0), normal_quantile(level)
    if error.se < ALIKE or share in (0.0, 1.0):
        unseen = z**2 / (prompts + z**2)
        return Range(share * (1.0 - unseen), share * (1.0 - unseen) + unseen)
    trials, t = effective_trials(share, error), float(stdtrit(error.df, 1.0 - level / 2))
    squared = t**2 / trials
    centre = (share + squared / 2) / (1 + squared)
    half = (squared * share * (1 - share) + squared**2 / 4) ** 0.5 / (1 + squared)
    worth, tails = trials * (z / t) ** 2, (level / 2, 1.0 - level / 2)
    low, high = betaincinv(worth * share + 0.5, worth * (1 - share) + 0.5, tails)
    return Range(min(centre - half, float(low), share), max(centre + half, float(high), share))


def paired_range(mean: float, of: Range, other: float, of_other: Range, correlation: float) -> Range:
    """The interval of a difference of two means from an interval of each, around them, of the same level.

    Towards less, what the first may be less by and the other more by add up as two correlated errors do, and
    the other way round. Where both intervals are those of a normal mean, so is this one.
    Sources: Newcombe (1998), Statistics in Medicine 17, 2635 (method 10); Zou and Donner (2008), Statistics
    in Medicine 27, 1693.
    """

    def joined(one: float, another: float) -> float:
        return math.sqrt(max(0.0, one**2 - 2 * correlation * one * another + another**2))

    return Range(
        mean - other - joined(mean - of.low, of_other.high - other),
        mean - other + joined(of.high - mean, other - of_other.low),
    )


def student_p_value(mean: float, error: Error, prompts: int) -> float:
    """Two-sided p-value of Student's t that a difference is zero; never below
    sign_test_floor.
    """
    if error.se == 0.0:
        return 1.0 if mean == 0.0 else sign_test_floor(prompts)
    p_value = 2.0 * float(stdtr(error.df, -abs(mean) / error.se))
    return min(1.0, max(p_value, sign_test_floor(prompts)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the given order. Source: Holm (1979), Scand. J. Statist. 6."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def holm_levels(p_values: Sequence[float]) -> list[float]:
    """The level that each test faces under Holm's correction, the other p-values being what they are: a
    p-value below it, and no other, is below LEVEL after the correction.

    LEVEL / (tests - those of the others that are rejected whatever this one is), in the given order.
    """
    levels = []
    for index in range(len(p_values)):
        others = sorted([*p_values[:index], *p_values[index + 1 :]])
        rejected = 0
        while rejected < len(others) and (len(p_values) - rejected) * others[rejected] < LEVEL:
            rejected += 1
        levels.append(LEVEL / (len(p_values) - rejected))
    return levels


def rank_ranges(rows: Sequence[str], above: Set[tuple[str, str]]) -> dict[str, tuple[int, int]]:
    """The best and the worst rank that the tests leave open to each row, (1, 1) being the sole first.

    above: pairs of rows, the first of which is significantly above the second. A row can hold the ranks from
    1 + (rows above it) to n - (rows below it): two rows that are not parted always have a rank in common.
    Source: the confidence intervals for ranks of Klein, Wright and Wieczorek (2020), JRSS C 69, with tests
    of pairs.
    """
    return {
        row: (1 + sum(loser == row for _, loser in above), len(rows) - sum(best == row for best, _ in above))
        for row in rows
    }
