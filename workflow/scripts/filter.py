"""Run the static filter over one row and write which samples of each prompt are scored."""

import argparse
import sys
from collections.abc import Sequence

from evaluation.clip_reader import read_clip
from evaluation.command import command, run
from evaluation.records import Clip, Prompt, read_jsonl, write_json
from evaluation.static_filter import filtered_set
from evaluation.toybox.motion import STATIC_BELOW, judge_motion, motion


def filter_row(flags: argparse.Namespace) -> None:
    prompts = read_jsonl(Prompt, flags.prompts)
    clips = {(clip.prompt_id, clip.sample): clip for clip in read_jsonl(Clip, flags.manifest)}
    judged = {
        prompt.id: judge_motion(
            [
                motion(read_clip(flags.clips / clips[prompt.id, sample].file).frames)
                for sample in range(prompt.samples)
            ]
        )
        for prompt in prompts
        if prompt.keep is not None
    }
    write_json(flags.output, filtered_set(flags.row, prompts, judged, STATIC_BELOW))


def main(arguments: Sequence[str] | None = None) -> int:
    return run(command(__doc__, "row", "prompts", "manifest", "clips", "output"), arguments, filter_row)


if __name__ == "__main__":
    sys.exit(main())
