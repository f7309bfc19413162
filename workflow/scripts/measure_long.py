"""Measure the pixels of a row's long clips: motion, light and detail by second, borders, loops."""

import argparse
import logging
import sys
from collections.abc import Sequence

from evaluation.command import command, run
from evaluation.long_series import LongClip, LongRow, by_second, clip_measures, pixel_series
from evaluation.records import Clip, read_jsonl, write_json
from evaluation.selection import hashes_of
from evaluation.verified_clips import open_verified_clip

log = logging.getLogger("measure_long")


def measure_row(flags: argparse.Namespace) -> None:
    clips = read_jsonl(Clip, flags.manifest)
    if not clips or {clip.row for clip in clips} != {flags.row}:
        raise ValueError(f"{flags.manifest} is not the manifest of row {flags.row}; check its clips again.")
    if len(forms := {(clip.pixel_frames, clip.fps) for clip in clips}) > 1:
        shortest, longest = min(forms), max(forms)
        raise ValueError(
            f"Clips of {flags.row} have no seconds in common: {shortest[0]} frames at {shortest[1]:g} a "
            f"second to {longest[0]} at {longest[1]:g}, expected one length and rate; take the row out of "
            "the suite, or score it by raven-bench score."
        )
    fps = max(1, round(clips[0].fps))  # a second of 29.97 frames is 30
    measured = []
    for clip in clips:
        series = pixel_series(open_verified_clip(flags.clips, clip).frames)
        measures, loop = clip_measures(series, fps)
        measured.append(
            LongClip(
                clip_id=clip.clip_id, prompt_id=clip.prompt_id, sample=clip.sample,
                seconds=by_second(series, fps), measures=measures, loop=loop,
            )
        )  # fmt: skip
    inputs = hashes_of(flags.prompts, flags.manifest)
    found = LongRow(
        suite=flags.suite, row=flags.row, inputs=inputs, fps=fps,
        pixel_frames=clips[0].pixel_frames, clips=tuple(measured),
    )  # fmt: skip
    write_json(flags.output, found)
    log.info("measured %d clips of %s", len(measured), flags.row)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "suite", "row", "prompts", "manifest", "clips", "output")
    return run(parser, arguments, measure_row)


if __name__ == "__main__":
    sys.exit(main())
