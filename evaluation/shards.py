"""The samples that a row renders, their batches and their shards.

A batch is always full: where the samples run out it is padded with copies whose clips are discarded. A shard
is a run of whole batches. So a clip depends on its batch size and its place among the samples, never on how
many shards there are.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.records import Prompt, clip_id


@dataclass(frozen=True, slots=True)
class Sample:
    """One clip to make: a prompt and the index of the sample."""

    prompt: Prompt
    index: int

    @property
    def clip_id(self) -> str:
        return clip_id(self.prompt.id, self.index)


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples made together."""

    samples: tuple[Sample, ...]
    kept: int
    """The first so many are wanted; the others are discarded copies that fill the batch."""

    @property
    def wanted(self) -> tuple[Sample, ...]:
        return self.samples[: self.kept]


def samples_to_render(prompts: Sequence[Prompt]) -> list[Sample]:
    """Every sample of every prompt, in the order of the prompt file, indices ascending."""
    return [Sample(prompt, index) for prompt in prompts for index in range(prompt.samples)]


def published_items(prompts: Sequence[Prompt]) -> dict[str, int]:
    """Place of every clip, by id, among the samples of all lines of the list as published, lines that are not
    rendered counted too.

    Published samplers number their seeds so (baselines/methods.md#noise).
    """
    lines = sorted(
        (line, place) for place, prompt in enumerate(prompts) for line in prompt.facts.get("lines", (place,))
    )
    items: dict[str, int] = {}
    first = 0
    for line, place in lines:
        prompt = prompts[place]
        if line == prompt.facts.get("lines", (place,))[-1]:
            items |= {Sample(prompt, index).clip_id: first + index for index in range(prompt.samples)}
        first += prompt.samples
    return items


def full_batches(samples: Sequence[Sample], batch_size: int) -> list[Batch]:
    """Cut samples into full batches of `batch_size`; the last is padded with copies of its last sample."""
    if batch_size < 1:
        raise ValueError(f"the batch size is {batch_size}; it must be at least 1.")
    batches = []
    for start in range(0, len(samples), batch_size):
        wanted = tuple(samples[start : start + batch_size])
        batches.append(Batch(wanted + wanted[-1:] * (batch_size - len(wanted)), len(wanted)))
    return batches


def shard_batches(batches: Sequence[Batch], shard: int, num_shards: int) -> list[Batch]:
    """The batches of shard `shard` (0-based) of `num_shards`: contiguous, sizes differ by at most one."""
    if not 0 <= shard < num_shards:
        raise ValueError(
            f"shard {shard} of {num_shards} does not exist; shards are numbered 0 to {num_shards - 1}."
        )
    return list(batches[shard * len(batches) // num_shards : (shard + 1) * len(batches) // num_shards])


def parse_shard(text: str) -> tuple[int, int]:
    """(shard, num_shards) from "<i>-of-<n>". Raises ValueError for anything else."""
    match = re.fullmatch(r"(\d+)-of-(\d+)", text)
    if match is None:
        raise ValueError(f"shard {text!r} is not of the form <i>-of-<n>, for example 0-of-3.")
    return int(match[1]), int(match[2])
