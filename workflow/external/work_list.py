"""The JSON work list that an external program is handed: which clips to make, and where to write them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from evaluation.files import canonical_sha256
from evaluation.records import ClipId, Identifier
from evaluation.shards import Sample, full_batches, parse_shard, shard_batches


class RequestedClip(BaseModel):
    """One clip to make."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    clip_id: ClipId
    file: str
    """Absolute path to write the clip to."""
    prompt: str
    """The short text that names and scores the clip."""
    extended_prompt: str
    """The text for the model."""
    sample: Annotated[int, Field(ge=0)]
    """Index among the samples of the prompt."""
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    """The same for this sample in every run of the suite."""
    pixel_frames: int
    height: int
    width: int
    fps: int


class WorkList(BaseModel):
    """Everything that one call of an external program has to make."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    suite: Identifier
    row: Identifier
    shard: str
    samples: tuple[RequestedClip, ...]


def seed_of(suite: str, sample: Sample) -> int:
    """The first 31 bits of sha256 of [suite, prompt id, sample index, "seed"], the same for every row."""
    return int(canonical_sha256([suite, sample.prompt.id, sample.index, "seed"])[:8], 16) >> 1


def shard_samples(samples: Sequence[Sample], shard: str) -> list[Sample]:
    """The samples of shard "<i>-of-<n>" of a row whose clips are made one by one."""
    batches = shard_batches(full_batches(samples, 1), *parse_shard(shard))
    return [sample for batch in batches for sample in batch.wanted]


def make_work_list(
    samples: Sequence[Sample], *, suite: str, row: str, shard: str, clip: dict[str, int], output: Path
) -> WorkList:
    """The work list of `samples`. clip: the suite's clip shape. output: the folder to write the clips to."""
    clips = (
        RequestedClip(
            clip_id=sample.clip_id,
            file=str(output.resolve() / f"{sample.clip_id}.mp4"),
            prompt=sample.prompt.prompt,
            extended_prompt=sample.prompt.extended,
            sample=sample.index,
            seed=seed_of(suite, sample),
            **clip,
        )
        for sample in samples
    )
    return WorkList(suite=suite, row=row, shard=shard, samples=tuple(clips))
