"""Render one shard of a control row: the same path as sampling, with the renderer in the network's place."""

import logging
import time
from collections.abc import Sequence
from functools import partial

from evaluation.clips import ClipShape
from evaluation.records import Prompt, read_jsonl
from evaluation.shards import Batch
from evaluation.toybox.controls import control_frames
from workflow.sampling.shard import (
    Made,
    ShardJob,
    chosen_clips,
    make_shard,
    settings_from,
    shard_parser,
    write_shard,
)


def render_batch(control: str, prompts: Sequence[Prompt], batch: Batch) -> list[Made]:
    """One rendered clip per sample of the batch."""
    made = []
    for sample in batch.samples:
        started = time.perf_counter()
        frames = control_frames(control, prompts, sample.prompt, sample.index)
        made.append(Made(frames, None, time.perf_counter() - started, 0.0, None, 0))
    return made


def main() -> None:
    flags = shard_parser(__doc__).parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
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
    entries = make_shard(
        job,
        lambda batch: partial(render_batch, settings["control"], prompts, batch),
        chosen_clips(flags.prompts, flags.chosen),
    )
    write_shard(entries, flags.manifest, flags.timings)


if __name__ == "__main__":
    main()
