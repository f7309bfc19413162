"""Render one shard of a control row: the same path as sampling, with the renderer in the network's place."""

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial

from evaluation.clips import ClipShape
from evaluation.command import run
from evaluation.records import Prompt, read_jsonl
from evaluation.shards import Batch
from evaluation.toybox.controls import control_frames
from workflow.sampling.shard import (
    MadeClip,
    ShardJob,
    make_shard,
    settings_from,
    shard_command,
    wanted_clips,
    write_shard,
)


def render_batch(control: str, prompts: Sequence[Prompt], batch: Batch) -> list[MadeClip]:
    """One rendered clip per sample of the batch."""
    made = []
    for sample in batch.samples:
        started = time.perf_counter()
        frames = control_frames(control, prompts, sample.prompt, sample.index)
        made.append(MadeClip(frames, None, time.perf_counter() - started, 0.0, None, 0))
    return made


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

    def start(batch: Batch) -> partial[list[MadeClip]]:
        return partial(render_batch, settings["control"], prompts, batch)

    entries = make_shard(job, start, wanted_clips(flags.prompts, flags.chosen))
    write_shard(entries, flags.manifest, flags.timings)


if __name__ == "__main__":
    sys.exit(main())
