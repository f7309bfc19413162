"""The JSON work list that an external program is handed: which clips to make, and where to write them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from evaluation.records import ClipId, Identifier
from evaluation.shards import Sample, canonical_sha256, full_batches, parse_shard, shard_batches


class WorkItem(BaseModel):
    """One clip to make. file: absolute path to write; prompt: the short text; extended_prompt: the text for
    the model.

    sample: index among the prompt's samples; seed: 0 to 2^31 - 1, the same for this sample in every run of
    the suite;
    pixel_frames, height, width: in pixels; fps: frames per second.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    clip_id: ClipId
    file: str
    prompt: str
    extended_prompt: str
    sample: Annotated[int, Field(ge=0)]
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    pixel_frames: int
    height: int
    width: int
    fps: int


class WorkList(BaseModel):
    """Everything one call of an external program has to make."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    suite: Identifier
    row: Identifier
    shard: str
    samples: tuple[WorkItem, ...]


def seed_of(suite: str, sample: Sample) -> int:
    """The first 31 bits of sha256 of [suite, prompt id, sample index, "seed"]: the same for every row of a
    suite.
    """
    return int(canonical_sha256([suite, sample.prompt.id, sample.index, "seed"])[:8], 16) >> 1


def shard_samples(samples: Sequence[Sample], shard: str) -> list[Sample]:
    """The samples of shard "<i>-of-<n>" of a row whose clips are made one by one."""
    batches = shard_batches(full_batches(samples, 1), *parse_shard(shard))
    return [sample for batch in batches for sample in batch.wanted]


def make_work_list(
    samples: Sequence[Sample], *, suite: str, row: str, shard: str, clip: dict[str, int], output: Path
) -> WorkList:
    """The work list of `samples`; clip: the suite's clip shape; output: folder that the files are to be
    written to.
    """
    items = (
        WorkItem(
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
    return WorkList(suite=suite, row=row, shard=shard, samples=tuple(items))
