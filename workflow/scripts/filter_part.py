"""Judge the samples of one part of the filtered prompts by the official static filter, which runs in VBench's
own environment.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any

from evaluation.command import run
from evaluation.records import Clip, Prompt, read_jsonl, write_json
from evaluation.selection import filtered_clips, hashes_of
from evaluation.shards import parse_shard
from evaluation.vbench.filter_join import FilterPart, static_prompts
from evaluation.vbench.weights import CHECKPOINTS
from evaluation.verified_clips import verified_path
from workflow.scoring.vbench_process import part_command, run_worker, work_folder

log = logging.getLogger("filter")


def filter_part(flags: argparse.Namespace) -> None:
    """Write the FilterPart of one part."""
    prompts = static_prompts(read_jsonl(Prompt, flags.prompts), *parse_shard(flags.part))
    wanted = filtered_clips(flags.row, prompts, read_jsonl(Clip, flags.manifest))
    clips = [clip for _, chosen in wanted for clip in chosen]
    answer: dict[str, Any] = {"found": {}, "versions": {}}
    if clips:
        job = {
            "dimension": "static filter",
            "files": CHECKPOINTS["raft"],
            "clips": {clip.clip_id: str(verified_path(flags.clips, clip)) for clip in clips},
        }
        with work_folder(flags.output) as work:
            answer = run_worker(flags, "evaluation.vbench.worker.static_filter", job, work)
    inputs = hashes_of(flags.prompts, flags.manifest)
    part = FilterPart.model_validate(answer | {"row": flags.row, "part": flags.part, "inputs": inputs})
    write_json(flags.output, part)
    log.info("%d of %d clips are static", sum(one.static for one in part.found.values()), len(part.found))


def main(arguments: Sequence[str] | None = None) -> int:
    return run(part_command(__doc__), arguments, filter_part)


if __name__ == "__main__":
    sys.exit(main())
