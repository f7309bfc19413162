"""What votes between two clips say: win rates, strengths, agreement. Pure numpy; no randomness.

Votes of one voter, and votes on one prompt, are not independent, so every error is one over both: the
variance clustered by voter plus that by prompt minus that of the cells where they meet (Cameron, Gelbach and
Miller (2011), JBES 29), never below either of the two, each times G / (G - 1) for its G clusters, with
Student's t on the smaller G - 1. With a single voter it is one over prompts alone.

Axes: N votes, R rows.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit
from scipy.stats import rankdata

from evaluation.intervals import Array, Error, bounded_range, student_range
from evaluation.records import Interval

Codes = NDArray[np.intp]
STEPS = 100
"""Of Newton's method at most; it takes about six."""


class Clusters(NamedTuple):
    """Who voted on what, [N] each."""

    voters: Codes
    prompts: Codes

    def take(self, chosen: NDArray[np.bool_]) -> "Clusters":
        """Those of some votes."""
        return Clusters(self.voters[chosen], self.prompts[chosen])


def codes(values: Iterable[Hashable]) -> Codes:
    """Numbers from 0 in place of values, in the order in which they are first seen."""
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values], dtype=np.intp)


def _cluster_variance(influence: Array, groups: Codes) -> tuple[float, int]:
    """Variance of a sum whose groups are independent, and their number."""
    _, numbers = np.unique(groups, return_inverse=True)
    sums = np.bincount(numbers, influence)
    count = len(sums)
    return float(sums @ sums) * count / max(count - 1, 1), count


def two_way_error(influence: Array, clusters: Clusters) -> Error | None:
    """Error of an estimate whose change with the votes is the sum of `influence` [N]. None of a single
    prompt, from which nothing follows for others.
    """
    by_prompt, prompts = _cluster_variance(influence, clusters.prompts)
    by_voter, voters = _cluster_variance(influence, clusters.voters)
    if prompts < 2:
        return None
    if voters < 2:
        return Error(by_prompt**0.5, prompts - 1.0)
    cells = clusters.voters * (int(clusters.prompts.max()) + 1) + clusters.prompts
    both = by_voter + by_prompt - _cluster_variance(influence, cells)[0]
    return Error(max(both, by_voter, by_prompt) ** 0.5, min(voters, prompts) - 1.0)


def share_interval(outcomes: Array, clusters: Clusters) -> Interval | None:
    """A mean of outcomes of 0 to 1 [N] with its interval, in percent. None without two prompts."""
    if not len(outcomes):
        return None
    share = float(outcomes.mean())
    error = two_way_error((outcomes - share) / len(outcomes), clusters)
    if error is None:
        return None
    prompts, voters = len(np.unique(clusters.prompts)), len(np.unique(clusters.voters))
    low, high = bounded_range(share, error, prompts if voters == 1 else min(voters, prompts))
    return Interval(mean=100 * share, low=100 * low, high=100 * high)


def all_can_be_compared(first: Codes, second: Codes, outcomes: Array, rows: int) -> bool:
    """Whether Bradley-Terry strengths of all rows exist: no group of rows won, or lost, every vote against
    the others. Source: Ford (1957), American Mathematical Monthly 64.
    """
    won, lost = outcomes > 0, outcomes < 1
    start = np.concatenate([first[won], second[lost]])
    end = np.concatenate([second[won], first[lost]])
    edges = coo_array((np.ones(len(start)), (start, end)), shape=(rows, rows))
    return bool(connected_components(edges, connection="strong")[0] == 1)


def bradley_terry(first: Codes, second: Codes, outcomes: Array, rows: int) -> tuple[Array, Array]:
    """Strengths in log-odds [R], whose mean is 0, and their influence values [N, R].

    P(first preferred) = expit(strength of first - strength of second); a tie is half a win of each.
    outcomes: 1 where the first was preferred, 0 where the second, [N]. Check all_can_be_compared before.
    Raises ValueError if Newton's method does not end. Source: Bradley and Terry (1952), Biometrika 39.
    """
    votes = np.arange(len(outcomes))
    sides = np.zeros((len(outcomes), rows))
    sides[votes, first], sides[votes, second] = 1.0, -1.0
    strengths = np.zeros(rows)

    def likelihood(found: Array) -> float:
        reach = sides @ found
        return float((outcomes * reach - np.logaddexp(0.0, reach)).sum())

    for _ in range(STEPS):
        expected = expit(sides @ strengths)
        curvature = (sides * (expected * (1 - expected))[:, None]).T @ sides
        inverse = np.linalg.inv(curvature + 1.0)  # + 1: a constant is in no vote, so it would be free
        step = inverse @ (sides.T @ (outcomes - expected))
        if np.abs(step).max() < 1e-9:
            return strengths, (sides * (outcomes - expected)[:, None]) @ inverse
        now = likelihood(strengths)
        while likelihood(strengths + step) < now - 1e-9 * (1 + abs(now)):
            step = step / 2
        strengths = strengths + step
    raise ValueError(f"Bradley-Terry strengths of {len(outcomes)} votes were not found in {STEPS} steps.")


def strength_intervals(strengths: Array, influence: Array, clusters: Clusters) -> list[Interval | None]:
    """Intervals of strengths [R] over voters and prompts. influence: [N, R]."""
    found = []
    for strength, values in zip(strengths, influence.T, strict=True):
        error = two_way_error(values, clusters)
        ends = None if error is None or error.se < 1e-9 else student_range(float(strength), error)
        found.append(ends and Interval(mean=float(strength), low=ends.low, high=ends.high))
    return found


def krippendorff_alpha(units: Iterable[Sequence[float]]) -> float | None:
    """Krippendorff's alpha for values on an interval scale: 1 agreement, 0 as by chance, below: worse.

    units: the values that several voters gave to each; those of one value do not count. None if nothing was
    valued twice, or all values are the same.
    Source: Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section E.
    """
    pairable = [np.asarray(unit, dtype=float) for unit in units if len(unit) > 1]
    if not pairable:
        return None

    def squared(values: Array) -> float:
        """Squared differences of every two values, in both orders."""
        return float(2 * len(values) * (values @ values) - 2 * values.sum() ** 2)

    together = np.concatenate(pairable)
    expected = squared(together) / (len(together) - 1)
    observed = sum(squared(unit) / (len(unit) - 1) for unit in pairable)
    return 1.0 - observed / expected if expected > 1e-12 else None


def rank_correlation(differences: Array, answers: Array) -> tuple[float, Array] | None:
    """Spearman's correlation of differences with answers (-1, 0, 1), each vote counted both ways round, and
    its influence values [N]. None if either never varies from 0.

    A vote between two clips has no direction: (d, y) and (-d, -y) are the same vote. Counted both ways, ranks
    are signed ranks of |d|, and the correlation has no constant to take off.
    """
    size = np.abs(differences)
    if not size.any() or not answers.any():
        return None
    n = len(size)
    signed = np.sign(differences) * (rankdata(size) - 0.5) / n

    def above(values: Array) -> Array:
        """Mean over votes of values, of those of larger |d| and half of those of the same, [N]."""
        _, places = np.unique(size, return_inverse=True)
        sums = np.bincount(places, values)
        return ((sums[::-1].cumsum()[::-1] - sums / 2)[places]) / n

    cov, a, b = (float((x * y).mean()) for x, y in ((signed, answers), (signed, signed), (answers, answers)))
    in_cov = signed * answers + above(np.sign(differences) * answers) - 2 * cov
    in_a = signed**2 + 2 * above(np.abs(signed)) - 3 * a
    in_b = answers**2 - b
    value = cov / (a * b) ** 0.5
    return value, (in_cov / (a * b) ** 0.5 - value / 2 * (in_a / a + in_b / b)) / n


def correlation_interval(differences: Array, answers: Array, clusters: Clusters) -> Interval | None:
    """rank_correlation with an interval by Fisher's z. None if either cannot be had."""
    found = rank_correlation(differences, answers)
    if found is None or abs(found[0]) > 1 - 1e-9:
        return None
    value, influence = found
    error = two_way_error(influence / (1 - value**2), clusters)
    if error is None or error.se < 1e-9:  # as few votes as coefficients: no width would be the wrong one
        return None
    low, high = np.tanh(student_range(float(np.arctanh(value)), error))
    return Interval(mean=value, low=float(low), high=float(high))
