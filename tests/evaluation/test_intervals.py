"""Intervals and tests over prompts, against closed forms."""

import itertools

import numpy as np
import pytest
from scipy import stats

from evaluation.estimates import average, make_design, mean_estimates
from evaluation.intervals import (
    Error,
    Range,
    bootstrap_generator,
    bounded_range,
    draw_weights,
    effective_trials,
    holm,
    holm_levels,
    linear_error,
    paired_p_value,
    paired_range,
    percentile_range,
    rank_ranges,
    resample_means,
    student_p_value,
    student_range,
)


def clustered(seed: int, prompts: int = 40, samples: int = 5) -> np.ndarray:
    """Values [P, S] with a prompt effect four times the sample effect."""
    random = np.random.default_rng(seed)
    return random.normal(0, 2.0, (prompts, 1)) + random.normal(0, 0.5, (prompts, samples))


def test_standard_error_is_that_of_prompts_not_of_clips():
    """Guards against drawing clips (5 times too many units). Analytic: s / sqrt(P) of prompt means, unbiased
    s.

    Tolerance: the relative Monte-Carlo error of a standard deviation is 1 / sqrt(2 D) = 0.5 % at D = 20,000;
    4 of them.
    """
    values = clustered(1)
    _, weights = draw_weights({f"p{i:02d}": "one" for i in range(40)}, 20_000, bootstrap_generator(0))
    means = resample_means(weights, values.sum(axis=1)[None], np.full((1, 40), 5.0))[:, 0]
    analytic = values.mean(axis=1).std(ddof=1) / np.sqrt(40)
    assert means.std() == pytest.approx(analytic, rel=0.02)
    assert means.mean() == pytest.approx(values.mean(), abs=4 * analytic / np.sqrt(20_000))
    low, high = percentile_range(means)
    assert (high - low) / 2 == pytest.approx(1.96 * analytic, rel=0.05)


def test_strata_add_their_own_variances():
    """Two strata with different means: the gap between them must not enter the error. Analytic: sum of w^2
    s^2 / n.
    """
    random = np.random.default_rng(2)
    first, second = random.normal(0, 1, 12), random.normal(50, 3, 6)
    strata = {f"p{i:02d}": ("a" if i < 12 else "b") for i in range(18)}
    _, weights = draw_weights(strata, 20_000, bootstrap_generator(0))
    means = resample_means(weights, np.concatenate([first, second])[None], np.ones((1, 18)))[:, 0]
    analytic = np.sqrt((12 / 18) ** 2 * first.var(ddof=1) / 12 + (6 / 18) ** 2 * second.var(ddof=1) / 6)
    assert means.std() == pytest.approx(analytic, rel=0.02)


def test_every_draw_keeps_the_weight_of_its_stratum_and_a_lonely_prompt():
    """No draw may leave a dimension without prompts, whatever the draw."""
    strata = {"a": "x", "b": "x", "c": "x", "lonely": "y"}
    prompts, weights = draw_weights(strata, 500, bootstrap_generator(3))
    assert prompts == ("a", "b", "c", "lonely")
    assert np.allclose(weights[:, :3].sum(axis=1), 3.0)
    assert (weights[:, 3] == 1.0).all()


def test_draws_do_not_depend_on_the_order_of_prompts():
    """Guards byte equality of scores.json when the prompt list is sorted differently."""
    strata = {f"p{i}": i % 3 for i in range(9)}
    shuffled = dict(reversed(strata.items()))
    first = draw_weights(strata, 50, bootstrap_generator(5))
    second = draw_weights(shuffled, 50, bootstrap_generator(5))
    assert first[0] == second[0]
    assert np.array_equal(first[1], second[1])


def test_a_draw_without_clips_is_left_out():
    """A 0 / 0 mean must never become a number: such draws count in no interval and in no p-value."""
    means = resample_means(
        np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 0.7]]), np.array([[0.0, 1.0]])
    )[:, 0]
    assert np.isnan(means[0])
    assert means[1] == 0.7
    assert percentile_range(means) == (0.7, 0.7)
    assert paired_p_value(means, 40) == 1.0  # 2 (0 + 1) / (1 + 1): one draw tells nothing
    with pytest.raises(ValueError, match="No bootstrap draw"):
        percentile_range(means[:1])


def test_a_paired_difference_is_tighter_than_two_intervals():
    """A constant lead of 0.1 on every prompt is certain, although the rows' own intervals overlap widely."""
    values = clustered(4).mean(axis=1)
    _, weights = draw_weights({f"p{i:02d}": 0 for i in range(40)}, 2_000, bootstrap_generator(0))
    ones = np.ones((2, 40))
    means = resample_means(weights, np.stack([values, values + 0.1]), ones)
    assert percentile_range(means[:, 1])[0] < percentile_range(means[:, 0])[1]
    difference = means[:, 1] - means[:, 0]
    assert percentile_range(difference) == pytest.approx((0.1, 0.1))
    assert paired_p_value(difference, 40) == pytest.approx(2 / 2_001)


def test_p_values_under_the_null_are_uniform():
    """Closed form: 5 % of true nulls fall below 0.05. 400 repeats, so the bound is 0.05 + 4 sqrt(.05 .95 /
    400).
    """
    random = np.random.default_rng(6)
    _, weights = draw_weights({f"p{i:02d}": 0 for i in range(50)}, 400, bootstrap_generator(0))
    nulls = random.normal(0, 1, (400, 50))
    means = resample_means(weights, nulls, np.ones((400, 50)))
    p_values = np.array([paired_p_value(means[:, i], 50) for i in range(400)])
    assert (p_values < 0.05).mean() < 0.094
    assert 0.4 < p_values.mean() < 0.6


def test_p_values_of_nothing_and_of_one_prompt():
    """Equal rows are certainly equal, and one prompt cannot prove a difference."""
    assert paired_p_value(np.zeros(100), 40) == 1.0
    assert paired_p_value(np.ones(2_000), 1) == 1.0
    assert paired_p_value(np.ones(2_000), 4) == pytest.approx(2 / 16)


def test_the_small_sample_method_is_students_t():
    """Naive reference: scipy's own one-sample test and interval, of a mean of 9 prompts in one stratum."""
    values = np.random.default_rng(7).normal(0.4, 1.0, 9)
    error = linear_error((values - values.mean()) / 9, np.zeros(9, np.intp), 9)
    other = stats.ttest_1samp(values, 0.0)
    assert student_range(values.mean(), error) == pytest.approx(other.confidence_interval(0.95))
    assert student_p_value(values.mean(), error, 9) == pytest.approx(other.pvalue)


def test_small_samples_in_strata_are_welch():
    """Naive reference: the difference of two stratum means is Welch's test, with its degrees of freedom."""
    random = np.random.default_rng(8)
    a, b = random.normal(1.0, 1.0, 12), random.normal(0.0, 4.0, 6)
    influence = np.concatenate([a / 12, -b / 6])
    error = linear_error(influence, np.repeat([0, 1], [12, 6]), 18)
    other = stats.ttest_ind(a, b, equal_var=False)
    assert error.df == pytest.approx(other.df)
    assert student_p_value(a.mean() - b.mean(), error, 18) == pytest.approx(other.pvalue)


def test_a_prompt_of_a_kind_of_its_own_counts_like_any_other():
    """Prompts that share their dimensions with no other: twelve of them are one sample of twelve, not twelve
    certainties, of which any difference would be found; a single one joins the smallest kind.
    """
    values = np.random.default_rng(9).normal(0.3, 1.0, 12)
    design = make_design({f"p{i:02d}": i for i in range(12)}, 100, 0)
    (found,) = mean_estimates(values[None], np.ones((1, 12)), design)
    assert found.p_value(design) == pytest.approx(stats.ttest_1samp(values, 0.0).pvalue)
    sizes = {"a": 1, "b": 3, "c": 3, "d": 5}
    design = make_design({f"{kind}{i}": kind for kind, n in sizes.items() for i in range(n)}, 100, 0)
    assert np.bincount(design.strata).tolist() == [4, 3, 5]


def test_no_difference_is_larger_than_its_scale():
    """Guards -123 points of 100: Student's t of 4 prompts that pass or fail reaches beyond what can be. A
    dimension where less is better too, and a difference of sums.
    """
    design = make_design({f"p{i}": 0 for i in range(4)}, 100, 0)
    a, b = mean_estimates(np.array([[0, 0, 1, 0], [1, 1, 0, 1.0]]), np.ones((2, 4)), design, [(0.0, 1.0)] * 2)
    for found, farthest in (
        (a.minus(b).scaled(100.0), 100.0),
        (b.scaled(-100.0, 1.0).minus(a.scaled(-100.0, 1.0)), 100.0),
        (average([a, b], 4, design).minus(average([b, b], 4, design)), 1.0),
    ):
        low, high = found.plain(design, 0.01)
        assert max(-low, high) > farthest
        for interval in (found.interval(design), found.corrected(design, 5, 1.0)):
            assert -farthest <= interval.low <= found.mean <= interval.high <= farthest
        end = found.corrected(design, 5, 1.0).low  # of a sum the scale's; of means what both may lack
        assert -farthest <= end <= -0.999 * farthest
        assert found.unseen is None or end == -farthest


def test_a_difference_of_normal_means_is_that_of_their_difference():
    """Closed form: from the intervals of both means and their correlation, Student's of the differences."""
    random = np.random.default_rng(11)
    a, b = random.multivariate_normal((0.5, 0.4), ((0.01, 0.006), (0.006, 0.02)), 40).T
    t = stats.t.ppf(0.975, 39)
    ranges = [Range(x.mean() - t * stats.sem(x), x.mean() + t * stats.sem(x)) for x in (a, b)]
    found = paired_range(a.mean(), ranges[0], b.mean(), ranges[1], float(np.corrcoef(a, b)[0, 1]))
    assert found == pytest.approx(tuple(stats.ttest_rel(a, b).confidence_interval()))


def test_rows_that_are_nearly_perfect_differ_by_what_both_may_lack():
    """Naive reference: 59 and 57 of 60 prompts pass, all misses on prompts of their own. Newcombe's paired
    interval from each row's own and the correlation of the rows.
    """
    design = make_design({f"p{i:02d}": 0 for i in range(60)}, 4000, 0)
    passes = np.ones((2, 60))
    passes[0, 0] = passes[1, 1] = passes[1, 2] = passes[1, 3] = 0.0
    a, b = mean_estimates(passes, np.ones((2, 60)), design, [(0.0, 1.0)] * 2)
    first, second = a.interval(design), b.interval(design)
    phi = float(np.corrcoef(passes)[0, 1])
    down, up = first.mean - first.low, second.high - second.mean
    low = 2 / 60 - (down**2 - 2 * phi * down * up + up**2) ** 0.5
    up, down = first.high - first.mean, second.mean - second.low
    high = 2 / 60 + (up**2 - 2 * phi * up * down + down**2) ** 0.5
    found = a.minus(b)
    assert found.range(design) == pytest.approx((low, high))
    assert found.range(design, 0.001).low < low
    other = b.minus(a).interval(design)
    assert (other.low, other.high) == pytest.approx((-high, -low))


@pytest.mark.parametrize("passed", [12, 6])
def test_rows_that_are_equal_on_every_prompt_may_differ_elsewhere(passed: int):
    """By hand: as many of the scale's prompts as Wilson leaves unseen, all of them for one row."""
    design = make_design({f"p{i:02d}": 0 for i in range(12)}, 400, 0)
    scores = np.array([1.0] * passed + [0.0] * (12 - passed))
    a, b = mean_estimates(np.stack([scores, scores]), np.ones((2, 12)), design, [(0.0, 1.0)] * 2)
    unseen = 1 - stats.binomtest(12, 12).proportion_ci(method="wilson").low
    for found, scale in (
        (a.minus(b), 1.0),
        (a.minus(b).scaled(100.0), 100.0),
        (b.minus(a).scaled(-100), 100.0),
    ):
        interval = found.interval(design)
        assert (interval.low, interval.mean, interval.high) == pytest.approx(
            (-scale * unseen, 0, scale * unseen)
        )
        assert found.corrected(design, 16, 1.0).high > interval.high


def test_small_samples_without_spread_prove_little():
    """Guards 0 / 0: equal prompts have no error, and the p-value is no smaller than a sign test's."""
    none = linear_error(np.zeros(4), np.zeros(4, np.intp), 4)
    assert student_range(0.3, none) == (0.3, 0.3)
    assert student_p_value(0.0, none, 4) == 1.0
    assert student_p_value(0.3, none, 4) == 2 / 16
    lonely = linear_error(np.array([0.5, 0.2]), np.array([0, 1]), 2)
    assert lonely.se == 0.0


def test_near_an_end_the_interval_is_the_wider_of_wilsons_and_jeffreys():
    """Naive reference: scipy's of 58 passes in 60 independent trials; t and normal meet at large df."""
    share = 58 / 60
    error = Error((share * (1 - share) / 60) ** 0.5, 1e9)
    assert effective_trials(share, error) == pytest.approx(60)
    wilson = stats.binomtest(58, 60).proportion_ci(method="wilson")
    jeffreys = stats.beta.ppf((0.025, 0.975), 58.5, 2.5)
    assert wilson.low < jeffreys[0] < share < wilson.high < jeffreys[1]
    assert bounded_range(share, error, 60) == pytest.approx((wilson.low, jeffreys[1]))
    low, high = bounded_range(1 - share, error, 60)
    assert (1 - high, 1 - low) == pytest.approx(bounded_range(share, error, 60))


def test_prompts_that_are_all_alike_leave_room_for_others():
    """By hand: of 24 prompts without a failure, 86 to 100 %; a third of them all, so much of the rest may be
    0 or 1.
    """
    none = Error(0.0, 23)
    low, high = bounded_range(1.0, none, 24)
    assert (low, high) == pytest.approx((stats.binomtest(24, 24).proportion_ci(method="wilson").low, 1.0))
    assert f"{100 * low:.0f} to {100 * high:.0f}" == "86 to 100"
    third = bounded_range(1 / 3, none, 24)
    assert third == pytest.approx((low / 3, low / 3 + (1 - low)))
    assert bounded_range(0.0, none, 1) == pytest.approx((0.0, 0.793), abs=1e-3)


@pytest.mark.parametrize("df", [1.0, 3.0, 60.0])
@pytest.mark.parametrize("share", [0.0, 1e-6, 0.2, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("se", [0.0, 1e-12, 1e-4, 0.1, 0.5])
def test_a_bounded_interval_stays_on_its_scale_and_holds_its_mean(share, se, df):
    """Invariant, whatever the error: never without width."""
    low, high = bounded_range(share, Error(se, df), 4)
    assert 0.0 <= low <= share <= high <= 1.0
    assert high > low


def test_holm_against_its_definition():
    """Holm (1979): reject in order while p(k) <= alpha / (m - k + 1), for every alpha between the adjusted
    values.
    """
    p_values = [0.04, 0.01, 0.03, 0.005]
    adjusted = holm(p_values)
    assert adjusted == pytest.approx([0.06, 0.03, 0.06, 0.02])
    for alpha in np.linspace(0.001, 0.1, 100):
        rejected: set[int] = set()
        for rank, index in enumerate(np.argsort(p_values)):
            if p_values[index] > alpha / (4 - rank):
                break
            rejected.add(int(index))
        assert rejected == {i for i, p in enumerate(adjusted) if p <= alpha}
    assert holm([]) == []


def test_the_level_of_a_test_is_what_its_p_value_must_be_below():
    """By definition: whatever a p-value is put in place of another, Holm rejects it below its level alone."""
    p_values = [0.6, 0.001, 0.011, 0.03, 0.02]
    assert holm_levels(p_values) == pytest.approx([0.05 / 3, 0.05 / 5, 0.05 / 4, 0.05 / 3, 0.05 / 3])
    for index, level in enumerate(holm_levels(p_values)):
        for p_value in (0.0, 0.999 * level, 1.001 * level, 0.0124, 0.0126, 1.0):
            changed = [*p_values[:index], p_value, *p_values[index + 1 :]]
            assert (holm(changed)[index] < 0.05) == (p_value < level)


def test_rank_ranges():
    """By hand: a above c and d, b above d alone. Rows that are not parted always share a rank; nothing parted
    leaves every rank open, a whole order exactly one.
    """
    parted = {("a", "c"), ("a", "d"), ("b", "d")}
    found = rank_ranges("abcd", parted)
    assert found == {"a": (1, 2), "b": (1, 3), "c": (2, 4), "d": (3, 4)}
    for x, y in itertools.combinations("abcd", 2):
        shared = max(found[x][0], found[y][0]) <= min(found[x][1], found[y][1])
        assert shared or (x, y) in parted
    assert rank_ranges("abc", set()) == dict.fromkeys("abc", (1, 3))
    assert rank_ranges("bac", {("a", "b"), ("a", "c"), ("b", "c")}) == {"a": (1, 1), "b": (2, 2), "c": (3, 3)}
    assert rank_ranges((), set()) == {}
