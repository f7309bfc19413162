"""Render one shard of a control row: the same path as sampling, with the renderer in the network's place."""

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial

import numpy as np

from evaluation.clips import ClipShape
from evaluation.command import run
from evaluation.records import Prompt, read_jsonl
from evaluation.shards import Batch
from evaluation.toybox.controls import control_frames
from evaluation.toybox.render import PIXEL_FRAMES
from workflow.sampling.shard import (
    BatchPieces,
    Cost,
    Piece,
    ShardJob,
    make_shard,
    settings_from,
    shard_command,
    wanted_clips,
    write_shard,
)


def render_batch(
    control: str, prompts: Sequence[Prompt], batch: Batch, length: int = PIXEL_FRAMES
) -> BatchPieces:
    """One rendered clip of `length` frames per sample of the batch."""
    started = time.perf_counter()
    clips = [
        control_frames(control, prompts, sample.prompt, sample.index, length) for sample in batch.samples
    ]
    cost = Cost((time.perf_counter() - started) / len(clips), 0.0, None, 0)
    yield partial(Piece, np.stack(clips), None)
    yield lambda: cost


def main(arguments: Sequence[str] | None = None) -> int:
    return run(shard_command(__doc__), arguments, render_shard)


def render_shard(flags: argparse.Namespace) -> None:
    settings = settings_from(flags.settings)
    prompts = read_jsonl(Prompt, flags.prompts)
    job = ShardJob(
        row=flags.row,
        shard=flags.shard,
        prompts=prompts,
        folder=flags.clips,
        shape=ClipShape(**settings["clip"]),
        batch_size=settings["batch"],
        noise="rendered",
        weights_sha256=None,
        settings=settings,
        depends_on={"code": flags.code},
        whole_list=True,
        device="cpu",
    )

    start = partial(render_batch, settings["control"], prompts, length=settings["clip"]["pixel_frames"])
    entries = make_shard(job, start, wanted_clips(flags.prompts, flags.chosen))
    write_shard(entries, flags.manifest, flags.timings)


if __name__ == "__main__":
    sys.exit(main())
