"""Score one row on one dimension of the toybox: from decoded clips to VBench's JSON form and to our record.

    python -m evaluation.toybox.score --dimension color --suite toybox --row raven ...

Only prompts that list the dimension and only samples that the static filter kept are scored. A missing clip
or a score that is no number in 0..1 stops the job; nothing is skipped and nothing becomes 0.
"""

import argparse
import hashlib
import importlib
import json
import logging
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.command import Parser, command, run
from evaluation.files import write_text
from evaluation.records import UNKNOWN_NOISE, Clip, ClipScore, DimensionResult, write_json
from evaluation.second_scores import add_second, seen_samples
from evaluation.selection import ScoredPrompt, read_row, select_clips
from evaluation.toybox.perception import FrameScores
from evaluation.toybox.render import PIXEL_FRAMES, SIZE, Frames
from evaluation.toybox.windows import joined_scores, windows_of
from evaluation.verified_clips import open_verified_clip

log = logging.getLogger("score")

STAND_INS = ("aesthetic_quality",)
"""Dimensions without a ground truth in this world; all others are computed from known facts."""

ClipScorer = Callable[[Frames, dict[str, Any]], FrameScores]


class WindowScorers(NamedTuple):
    """What scores the windows of a clip."""

    first: ClipScorer
    """Of the first 81 frames, which are all of a short clip."""
    later: ClipScorer
    """Of the windows behind them."""


def scorers_of(dimension: str) -> WindowScorers:
    """The scorers in the module of a dimension, which has one of its own for later windows or one for all."""
    module = importlib.import_module(f"evaluation.toybox.scorers.{dimension}")
    return WindowScorers(module.score, getattr(module, "score_later", module.score))


def shrink(frame: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """A decoded frame averaged down to uint8 [32, 32, 3], halves up.

    Raises ValueError naming the clip if it is not square, or no multiple of 32 pixels.
    """
    height, width = frame.shape[:2]
    if height != width or height % SIZE:
        raise ValueError(
            f"Clip {name} has frames of {width}x{height} pixels, expected square ones whose side is a "
            f"multiple of {SIZE}; delete it and rerun the sample stage."
        )
    pixels = (height // SIZE) ** 2
    mean = cv2.resize(frame.astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    # the quarter keeps what float32 rounds away from deciding about a half
    half = np.float32((pixels // 2 + 0.25) / pixels)
    return np.asarray(np.floor(mean + half), np.uint8)


def seen_as_toybox(frames: Iterable[Frames], count: int) -> Frames:
    """Frames [H, W, 3] of any clip, `count` together, as the checkers' uint8 [81, 32, 32, 3]: 81 of them,
    evenly spread and repeated where there are fewer, stretched to a square by area.
    """
    places = np.linspace(0, count - 1, PIXEL_FRAMES).round().astype(int).tolist()
    wanted = set(places)
    small = {
        place: cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        for place, frame in enumerate(frames)
        if place in wanted
    }
    return np.stack([small[place] for place in places])


def is_foreign(clip: Clip) -> bool:
    """Whether a clip was made elsewhere and is not of a shape that `shrink` takes."""
    fits = clip.pixel_frames == PIXEL_FRAMES and clip.height == clip.width and clip.height % SIZE == 0
    return clip.noise == UNKNOWN_NOISE and not fits


def checked(value: float, dimension: str, name: str) -> float:
    """The score, rounded. Raises ValueError naming the clip unless it is a finite number in 0..1."""
    if not (math.isfinite(value) and 0.0 <= value <= 1.0):
        raise ValueError(
            f"The {dimension} score of clip {name} is {value}, expected a number in 0..1; "
            "look at the clip and at the scorer before anything is averaged."
        )
    return round(float(value), 6)


def official_form(dimension: str, scores: Sequence[ClipScore], files: Mapping[str, str], mean: float) -> str:
    """VBench's own JSON: {dimension: [mean, [{"video_path", "video_results"}, ...]]}.

    As there, a clip's dynamic degree is true or false.
    """
    results = [
        {
            "video_path": files[score.clip_id],
            "video_results": bool(score.value) if dimension == "dynamic_degree" else score.value,
        }
        for score in scores
    ]
    return json.dumps({dimension: [mean, results]}, indent=1) + "\n"


def score_clips(
    dimension: str, scorers: WindowScorers, selected: Sequence[ScoredPrompt], clips: Path
) -> list[ClipScore]:
    """Score every clip from its decoded file.

    Raises FileNotFoundError or ValueError naming the first bad clip.
    """
    files = [clip.file for _, chosen in selected for clip in chosen]
    absent = [file for file in files if not (clips / file).is_file()]
    if absent:
        raise FileNotFoundError(
            f"{len(absent)} of {len(files)} clips that {dimension} needs are not in {clips}: "
            f"{', '.join(absent[:5])}; rerun the sample stage, which makes the clips that are missing."
        )
    # the frames that a checker sees of a foreign clip are not those of the file, nor are those of other
    # rates the same moments
    every = [clip for _, chosen in selected for clip in chosen]
    by_frame = not any(map(is_foreign, every)) and len({clip.fps for clip in every}) <= 1
    scores = []
    for prompt, chosen in selected:
        for clip in chosen:
            name = clip.clip_id
            if is_foreign(clip):
                frames = open_verified_clip(clips, clip).frames
                found = scorers.first(seen_as_toybox(frames, clip.pixel_frames), prompt.facts)
            else:
                found = _in_windows(scorers, clip, clips, prompt.facts)
            values = tuple(None if v is None else checked(v, dimension, name) for v in found.frames)
            scores.append(
                ClipScore(
                    clip_id=name,
                    prompt_id=clip.prompt_id,
                    sample=clip.sample,
                    value=checked(found.value, dimension, name),
                    frame_values=values if values and by_frame else None,
                )
            )
    return scores


def _in_windows(scorers: WindowScorers, clip: Clip, clips: Path, facts: dict[str, Any]) -> FrameScores:
    """The score of a clip, window after window. Raises ValueError if it is shorter than one."""
    if clip.pixel_frames < PIXEL_FRAMES:
        raise ValueError(
            f"Clip {clip.clip_id} has {clip.pixel_frames} frames, expected at least {PIXEL_FRAMES}; set the "
            "suite's clip.pixel_frames to that or more."
        )
    small = (shrink(frame, clip.clip_id) for frame in open_verified_clip(clips, clip).frames)
    scores = [
        (start, (scorers.later if start else scorers.first)(frames, facts))
        for start, frames in windows_of(small)
    ]
    return joined_scores(scores, clip.pixel_frames)


def score_row(flags: argparse.Namespace, scorers: WindowScorers) -> None:
    """Score the row of the flags and write both result files. Raises ValueError or FileNotFoundError."""
    inputs = read_row(flags.row, flags.prompts, flags.manifest, flags.filtered)
    kept = seen_samples(flags.second, inputs.prompts, inputs.kept)
    selected = select_clips(flags.dimension, inputs.prompts, inputs.manifest, kept)
    scores = score_clips(flags.dimension, scorers, selected, flags.clips)
    if not scores:
        raise ValueError(
            f"The static filter kept no clip of row {flags.row} for {flags.dimension}, so nothing can be "
            "scored; leave the dimension out, or bring samples that stand still."
        )
    mean = round(math.fsum(item.value for item in scores) / len(scores), 6)
    files = {clip.clip_id: clip.file for clip in inputs.manifest}
    official = official_form(flags.dimension, scores, files, mean)
    write_text(flags.output, official)
    result = DimensionResult(
        suite=flags.suite,
        row=flags.row,
        dimension=flags.dimension,
        inputs=inputs.sha256,
        kind="stand-in" if flags.dimension in STAND_INS else "exact",
        mean=mean,
        clips=tuple(scores),
        second=flags.second,
        official_sha256=hashlib.sha256(official.encode()).hexdigest(),
    )
    write_json(flags.result, result)
    log.info("%s of %s: mean %.4f over %d clips", flags.dimension, flags.row, mean, len(scores))


def flags_parser() -> Parser:
    """The parser of this command; --output is VBench's JSON form."""
    parser = command(
        __doc__, "suite", "row", "dimension", "prompts", "manifest", "filtered", "clips", "output"
    )
    parser.add_argument("--result", required=True, type=Path, help="our record of the scores")
    add_second(parser)
    return parser


def _score(flags: argparse.Namespace) -> None:
    score_row(flags, scorers_of(flags.dimension))


def main(arguments: Sequence[str] | None = None) -> int:
    return run(flags_parser(), arguments, _score)


if __name__ == "__main__":
    sys.exit(main())
