"""Judge the still prompts of one part by the official static filter, which runs in VBench's own environment."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.records import Clip, Prompt, clip_id, read_jsonl, write_json
from evaluation.shards import parse_shard
from evaluation.vbench.plan import proven_clip
from evaluation.vbench.still import FilterPart, still_prompts
from workflow.vbench_process import job_of, run_worker

log = logging.getLogger("filter")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", required=True)
    parser.add_argument("--part", required=True, help="<i>-of-<n>")
    parser.add_argument("--prompts", required=True, type=Path)
    parser.add_argument("--manifest", required=True, type=Path)
    parser.add_argument("--clips", required=True, type=Path, help="folder of the row")
    parser.add_argument("--weights", required=True, type=Path, help="weights.json, with the cache beside it")
    parser.add_argument("--python", required=True, type=Path, help="of VBench's environment")
    parser.add_argument("--environment", required=True, help="hash that its stamp begins with")
    parser.add_argument("--device", required=True, choices=("cpu", "cuda", "auto"))
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--output", required=True, type=Path)
    flags = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    work = flags.output.with_name(f"{flags.output.name}.work")
    shutil.rmtree(work, ignore_errors=True)  # of a job that was killed
    try:
        prompts = still_prompts(read_jsonl(Prompt, flags.prompts), *parse_shard(flags.part))
        clips = {clip.clip_id: clip for clip in read_jsonl(Clip, flags.manifest)}
        names = [clip_id(prompt.id, sample) for prompt in prompts for sample in range(prompt.samples)]
        outcome: dict[str, Any] = {"found": {}, "versions": {}}
        if names:
            work.mkdir(parents=True)
            paths = {name: str(proven_clip(clips[name], flags.clips)) for name in names}
            job = job_of(flags, work) | {"clips": paths}
            outcome = run_worker(flags, "evaluation.vbench.static_filter", job, work)
        part = FilterPart.model_validate(outcome | {"row": flags.row, "part": flags.part})
    except (ValueError, OSError, RuntimeError) as fault:
        log.error("%s", fault)
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    write_json(flags.output, part)
    log.info("%d of %d clips stand still", sum(one.static for one in part.found.values()), len(part.found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
