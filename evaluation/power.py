"""What a paired test can find: the smallest difference, and the prompts or samples that a smaller one needs.

A true difference is found when its p-value falls below the level that its test faced after Holm's correction,
so a power of 80 % is asked of Student's t (of the normal distribution from SMALL prompts up) that lies around
that difference: the non-central t.
Source: Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, chapter 2.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from statistics import median

import numpy as np
from scipy.special import nctdtrinc, stdtrit

from evaluation.intervals import Array, Error, sign_test_floor
from evaluation.records import Needed, PairedDifference, TablePower
from evaluation.variance import SeedPart

POWER = 0.8
"""How often a test is meant to find a difference."""
POINTS = (0.2, 0.5, 1.0)
"""Differences of Total that are planned for."""
MOST = 10**7
"""More prompts or samples than this are none at all."""


def standard_errors(df: float, level: float) -> float:
    """How many standard errors a difference must measure for a two-sided test at `level` to find it."""
    return float(nctdtrinc(df, 1.0 - POWER, stdtrit(df, 1.0 - level / 2)))


def detectable_difference(error: Error, prompts: int, level: float) -> float | None:
    """The smallest true difference that the test finds with 80 %, in the unit of the error.

    level: of this one test, see holm_levels. None where it cannot be told, because no prompt differs from
    another, or where no difference would do, because so few prompts have no p-value below the level.
    """
    if error.se == 0.0 or sign_test_floor(prompts) >= level:
        return None
    return standard_errors(error.df, level) * error.se


def needed_prompts(error: Error, prompts: int, level: float, points: float) -> int | None:
    """How many prompts would find a true difference of `points` with 80 %, each with its samples of today.

    The mix of prompts is kept: error and degrees of freedom (of `prompts` prompts) change with their number.
    None if the error is 0 or more than MOST would be needed.
    """

    def finds(count: int) -> bool:
        share = count / prompts
        there = Error(error.se / share**0.5, max(1.0, share * (error.df + 1) - 1))
        found = detectable_difference(there, count, level)
        return found is not None and found <= points

    if error.se == 0.0 or not finds(MOST):
        return None
    return 2 + bisect_left(range(2, MOST), True, key=finds)


def needed_samples(error: Error, level: float, points: float, seeds: SeedPart) -> int | None:
    """How many samples of each prompt would find a true difference of `points` with 80 %, on today's prompts.

    None if the part of seeds is not known, or no number of samples would do, since the prompts remain.
    """
    if seeds.share is None:
        return None
    room = (points / standard_errors(error.df, level) / error.se) ** 2 - (1.0 - seeds.share)
    if room <= 0.0 or seeds.share * seeds.samples > MOST * room:
        return None
    return max(1, math.ceil(seeds.share * seeds.samples / room))


def needs(error: Error, prompts: int, level: float, seeds: SeedPart) -> tuple[Needed, ...]:
    """What each of POINTS would need."""
    return tuple(
        Needed(
            points=points,
            prompts=needed_prompts(error, prompts, level, points),
            samples=needed_samples(error, level, points, seeds),
        )
        for points in POINTS
    )


def table_power(pairs: Sequence[PairedDifference], by_clip: Sequence[Array]) -> TablePower | None:
    """What two rows of the table can show of Total, the median over its pairs; None if nothing can be told.

    pairs: of all ranked rows, by Total. by_clip: of each row [P, S], NaN where a prompt has no such clip.
    """
    told = [pair for pair in pairs if pair.detectable is not None]
    if not told:
        return None

    def middle(counts: Sequence[int | None]) -> int | None:
        found = median(MOST if count is None else count for count in counts)
        return None if found >= MOST / 2 else int(found + 0.5)

    there = [~np.isnan(clips) for clips in by_clip]
    sizes = [pair.detectable for pair in told if pair.detectable is not None]
    columns = zip(*(pair.needed for pair in told), strict=True)
    return TablePower(
        tests=len(pairs),
        prompts=told[0].prompts,
        samples=sum(int(clips.sum()) for clips in there)
        / sum(int(clips.any(axis=1).sum()) for clips in there),
        smallest=min(sizes),
        detectable=median(sizes),
        largest=max(sizes),
        needed=tuple(
            Needed(
                points=column[0].points,
                prompts=middle([one.prompts for one in column]),
                samples=middle([one.samples for one in column]),
            )
            for column in columns
        ),
    )
