"""Spread between prompts and between seeds, against the truth they were drawn from."""

import numpy as np
import pytest

from evaluation.metrics import metrics
from evaluation.records import ClipScore, DimensionResult, clip_id
from evaluation.variance import Components, components, seed_part, seed_share
from tests.evaluation.made_up import INPUTS, variance_table


def test_components_are_those_of_the_distribution():
    """Guards against counting the seeds' part of prompt means as prompts. 20,000 prompts, so 4 errors are
    about 2 %.
    """
    random = np.random.default_rng(0)
    values = random.normal(0, 3.0, (20_000, 1)) + random.normal(0, 2.0, (20_000, 4))
    found = components(values.ravel(), [f"p{i}" for i in range(20_000) for _ in range(4)])
    assert (found.prompt_sd, found.seed_sd, found.samples) == pytest.approx((3.0, 2.0, 4.0), rel=0.03)
    assert seed_share(found) == pytest.approx(1.0 / (9.0 + 1.0), rel=0.05)


def test_unequal_numbers_of_samples():
    """A filter leaves 1 to 5 samples; the estimate must not lean on how many."""
    random = np.random.default_rng(1)
    counts = random.integers(1, 6, 20_000)
    names = np.repeat(np.arange(20_000), counts)
    values = random.normal(0, 3.0, 20_000)[names] + random.normal(0, 2.0, len(names))
    found = components(values, [str(name) for name in names])
    assert (found.prompt_sd, found.seed_sd) == pytest.approx((3.0, 2.0), rel=0.03)


def test_what_cannot_be_told_is_none():
    """One sample per prompt tells nothing about seeds; equal values have no share of anything."""
    one = components(np.array([1.0, 2.0, 3.0]), ["a", "b", "c"])
    assert (one.seed_sd, seed_share(one)) == (None, None)
    assert one.prompt_sd == pytest.approx(1.0)
    assert seed_share(Components(0.0, 0.0, 5.0)) is None
    seeds_only = components(np.array([0.0, 2.0, 0.0, 2.0]), ["a", "a", "b", "b"])
    assert (seeds_only.prompt_sd, seed_share(seeds_only)) == (0.0, 1.0)
    with pytest.raises(ValueError, match="two prompts"):
        components(np.array([1.0, 2.0]), ["a", "a"])


def test_the_part_of_seeds_in_an_error_is_that_of_the_components():
    """Naive reference: of a mean over 12 prompts of 4 samples, that of the analysis of variance."""
    random = np.random.default_rng(2)
    values = random.normal(0, 1.0, (12, 1)) + random.normal(0, 2.0, (12, 4))
    squared_error = values.mean(axis=1).var(ddof=1) / 12
    found = components(values.ravel(), [f"p{i}" for i in range(12) for _ in range(4)])
    influence = (values - values.mean()) / values.size
    assert seed_part(influence, squared_error) == pytest.approx((4.0, seed_share(found)))
    wider = np.pad(influence, ((0, 3), (0, 2)), constant_values=np.nan)  # prompts and samples without clips
    assert seed_part(wider, squared_error) == pytest.approx((4.0, seed_share(found)))
    assert seed_part(influence[:, :1], squared_error) == (1.0, None)


def test_table_is_in_normalised_points():
    """Raw scene of 0.4111 is 50 of its official bounds; a dimension on one prompt has no cell."""
    clips = tuple(
        ClipScore(clip_id=clip_id(p, s), prompt_id=p, sample=s, value=v)
        for p, s, v in (("a", 0, 0.0), ("a", 1, 0.0), ("b", 0, 0.4111), ("b", 1, 0.4111))
    )
    scene = DimensionResult(
        inputs=INPUTS, suite="x", row="r", dimension="scene", kind="exact", mean=0.20555, clips=clips
    )
    lonely = scene.model_copy(update={"dimension": "color", "clips": clips[:2]})
    (cell,) = variance_table("x", [scene, lonely], metrics("vbench")).cells
    assert (cell.prompt_sd, cell.seed_sd, cell.seed_share) == pytest.approx((50 / 2**0.5, 0.0, 0.0))
