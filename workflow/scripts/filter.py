"""Run the static filter over one row and write which samples of each prompt are scored."""

import argparse
import sys
from collections.abc import Sequence

from evaluation.command import command, run
from evaluation.records import Clip, Prompt, read_jsonl, write_json
from evaluation.selection import filtered_clips, first_samples, hashes_of
from evaluation.static_filter import filtered_set
from evaluation.toybox.motion import STATIC_BELOW, judge_motion, motion
from evaluation.verified_clips import open_verified_clip


def filter_row(flags: argparse.Namespace) -> None:
    prompts = first_samples(read_jsonl(Prompt, flags.prompts), flags.samples)
    wanted = filtered_clips(flags.row, prompts, read_jsonl(Clip, flags.manifest))
    judged = {
        prompt.id: judge_motion([motion(open_verified_clip(flags.clips, clip).frames) for clip in clips])
        for prompt, clips in wanted
    }
    inputs = hashes_of(flags.prompts, flags.manifest)
    write_json(flags.output, filtered_set(flags.row, inputs, prompts, judged, STATIC_BELOW, flags.samples))


def main(arguments: Sequence[str] | None = None) -> int:
    return run(
        command(__doc__, "row", "prompts", "manifest", "clips", "output", "samples"), arguments, filter_row
    )


if __name__ == "__main__":
    sys.exit(main())
