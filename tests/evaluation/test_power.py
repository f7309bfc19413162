"""What a paired test can find, against closed forms and published tables."""

from math import inf

import numpy as np
import pytest
from scipy import stats

from evaluation.intervals import Error
from evaluation.power import detectable_difference, needed_prompts, needed_samples, table_power
from evaluation.records import Interval, Needed, PairedDifference
from evaluation.variance import SeedPart


def test_the_detectable_difference_is_found_eight_times_of_ten() -> None:
    """Closed form: quantiles of test and power of the normal distribution; scipy's non-central t."""
    normal = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert detectable_difference(Error(0.3, inf), 93, 0.05) == pytest.approx(0.3 * normal, rel=1e-4)
    for df, level in ((11, 0.05), (11, 0.05 / 36), (70, 0.01)):
        found = detectable_difference(Error(2.0, df), 93, level)
        assert found is not None
        assert stats.nct.sf(stats.t.ppf(1 - level / 2, df), df, found / 2.0) == pytest.approx(0.8)


def test_nothing_is_found_with_too_few_prompts_or_without_spread() -> None:
    """No p-value of 10 prompts is below 2 / 2^10, so that no difference passes a level of 0.05 / 36."""
    assert detectable_difference(Error(0.3, 9), 10, 0.05 / 36) is None
    assert detectable_difference(Error(0.3, 10), 11, 0.05 / 36) is not None
    assert detectable_difference(Error(0.0, 10), 11, 0.05) is None
    assert needed_prompts(Error(0.0, 10), 11, 0.05, 1.0) is None
    assert needed_prompts(Error(1e6, 10), 11, 0.05, 1.0) is None


@pytest.mark.parametrize(("effect", "prompts"), [(0.2, 199), (0.5, 34), (1.0, 10)])
def test_needed_prompts_are_those_of_published_tables(effect: float, prompts: int) -> None:
    """One-sample t test, 5 %, 80 %, by Cohen's d: as every power table has it."""
    assert needed_prompts(Error(1 / 64**0.5, 63), 64, 0.05, effect) == prompts


def test_needed_samples_undo_the_part_of_seeds_alone() -> None:
    """Closed form with three quarters from seeds: to halve the error, all of that must go, to take a third
    of it away 0.75 must become 0.75 - 5/9; more cannot be had.
    """
    error, seeds = Error(1.0, inf), SeedPart(4.0, 0.75)
    today = detectable_difference(error, 93, 0.05)
    assert today is not None
    assert needed_samples(error, 0.05, 1.0001 * today, seeds) == 4
    assert needed_samples(error, 0.05, today * 2 / 3, seeds) == 16  # 4 x 0.75 / (0.75 - 5 / 9) = 15.4
    assert needed_samples(error, 0.05, today / 2, seeds) is None
    assert needed_samples(error, 0.05, today, SeedPart(1.0, None)) is None
    assert needed_samples(Error(0.0, 9), 0.05, 1.0, SeedPart(2.0, None)) is None


def test_a_table_is_told_by_its_middle_pair() -> None:
    """Medians over pairs; what most pairs cannot reach is not reached, and pairs that tell nothing are left
    out.
    """

    def pair(detectable: float | None, prompts: int | None, samples: int | None) -> PairedDifference:
        zero = Interval(mean=0.0, low=-1.0, high=1.0)
        return PairedDifference(
            a="a", b="b", metric="total", difference=zero, corrected=zero, p_value=1.0, holm=1.0, prompts=93,
            detectable=detectable, needed=(Needed(points=0.5, prompts=prompts, samples=samples),),
        )  # fmt: skip

    pairs = [pair(1.0, 300, None), pair(None, None, None), pair(0.8, 200, 9), pair(3.0, 900, None)]
    found = table_power(pairs, [np.zeros((2, 3))])
    assert found is not None
    assert (found.smallest, found.detectable, found.largest, found.tests) == (0.8, 1.0, 3.0, 4)
    assert found.needed == (Needed(points=0.5, prompts=300, samples=None),)
    assert table_power([pair(None, None, None)], []) is None
