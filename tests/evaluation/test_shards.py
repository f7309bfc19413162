"""The work list is cut into full batches and whole-batch shards, whatever the shard count."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from evaluation.records import Prompt
from evaluation.shards import full_batches, parse_shard, samples_to_render, shard_batches


def prompts(counts: list[int]) -> list[Prompt]:
    return [
        Prompt(id=f"p{i}", prompt="a", extended="b", dimensions=("color",), samples=n, facts={})
        for i, n in enumerate(counts)
    ]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 6), st.integers(1, 12))
def test_shards_unite_to_the_same_batches(counts: list[int], batch_size: int, num_shards: int) -> None:
    """Guards against clips lost, doubled or batched differently when the number of shards changes."""
    samples = samples_to_render(prompts(counts))
    batches = full_batches(samples, batch_size)
    united = [batch for shard in range(num_shards) for batch in shard_batches(batches, shard, num_shards)]
    assert united == batches
    assert [s for batch in batches for s in batch.wanted] == samples
    assert {len(batch.samples) for batch in batches} == {batch_size}


def test_work_list_is_numeric() -> None:
    """Guards against sorting sample 10 before sample 2."""
    ids = [sample.clip_id for sample in samples_to_render(prompts([12]))]
    assert ids == [f"p0-{i}" for i in range(12)]


@pytest.mark.parametrize("text", ["3-of-", "a-of-b", "-1-of-3", "1/3"])
def test_bad_shard_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="<i>-of-<n>"):
        parse_shard(text)


def test_a_shard_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="numbered 0 to 2"):
        shard_batches([], 3, 3)
