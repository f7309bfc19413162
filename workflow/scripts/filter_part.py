"""Judge the still prompts of one part by the official static filter, which runs in VBench's own environment."""

import logging
import sys
from collections.abc import Sequence
from typing import Any

from evaluation.records import Clip, Prompt, clip_id, read_jsonl, write_json
from evaluation.shards import parse_shard
from evaluation.vbench.filter_join import FilterPart, still_prompts
from evaluation.vbench.plan import proven_clip
from workflow.scoring.vbench_process import job_of, part_parser, run_worker, work_folder

log = logging.getLogger("filter")


def main(arguments: Sequence[str] | None = None) -> int:
    flags = part_parser(__doc__).parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        prompts = still_prompts(read_jsonl(Prompt, flags.prompts), *parse_shard(flags.part))
        clips = {clip.clip_id: clip for clip in read_jsonl(Clip, flags.manifest)}
        names = [clip_id(prompt.id, sample) for prompt in prompts for sample in range(prompt.samples)]
        outcome: dict[str, Any] = {"found": {}, "versions": {}}
        if names:
            paths = {name: str(proven_clip(clips[name], flags.clips)) for name in names}
            with work_folder(flags.output) as work:
                job = job_of(flags, work) | {"clips": paths}
                outcome = run_worker(flags, "evaluation.vbench.worker.static_filter", job, work)
        part = FilterPart.model_validate(outcome | {"row": flags.row, "part": flags.part})
    except (ValueError, OSError, RuntimeError) as fault:
        log.error("%s", fault)
        return 1
    write_json(flags.output, part)
    log.info("%d of %d clips stand still", sum(one.static for one in part.found.values()), len(part.found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
