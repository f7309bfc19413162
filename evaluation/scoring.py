"""One dimension of one row, from decoded clips to the official form and to ours: the command line of every
toybox scorer.

Only prompts that list the dimension and only samples that the static filter kept are scored, in the order of
the manifest. A missing clip or a score that is no number in 0..1 stops the job; nothing is skipped and
nothing becomes 0.
"""

import argparse
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.files import write_text
from evaluation.frame_scores import FrameScores
from evaluation.records import (
    Clip,
    ClipScore,
    DimensionResult,
    write_json,
)
from evaluation.selection import ScoredPrompt, read_row, select_clips

logger = logging.getLogger(__name__)

Frames = NDArray[np.uint8]
Score = Callable[[Frames, dict[str, Any]], float | FrameScores]

PIXEL_FRAMES = 81
SIZE = 32
# VBench gives these as true or false in its per-clip results.
BOOLEAN_DIMENSIONS = frozenset({"dynamic_degree"})


def shrink(frames: Frames, name: str) -> Frames:
    """Decoded frames averaged down to uint8 [81, 32, 32, 3]. Raises ValueError naming the clip if they do not
    fit.
    """
    count, height, width = frames.shape[:3]
    if count != PIXEL_FRAMES or height != width or height % SIZE:
        raise ValueError(
            f"Clip {name} has {count} frames of {width}x{height} pixels, expected {PIXEL_FRAMES} square "
            f"frames whose side is a multiple of {SIZE}; delete it and rerun the sample stage."
        )
    step = height // SIZE
    rows = sum((frames[:, part::step] for part in range(1, step)), frames[:, ::step].astype(np.uint16))
    total = sum((rows[:, :, part::step] for part in range(1, step)), rows[:, :, ::step].astype(np.uint32))
    return np.asarray((total + step * step // 2) // (step * step), np.uint8)


def checked(value: float, dimension: str, name: str) -> float:
    """The score itself. Raises ValueError naming the clip unless it is a finite number in 0..1."""
    if not (math.isfinite(value) and 0.0 <= value <= 1.0):
        raise ValueError(
            f"The {dimension} score of clip {name} is {value}, expected a number in 0..1; "
            "look at the clip and at the scorer before anything is averaged."
        )
    return round(float(value), 6)


def official_form(dimension: str, scores: Sequence[ClipScore], files: Mapping[str, str], mean: float) -> str:
    """VBench's own JSON: {dimension: [mean, [{"video_path", "video_results"}, ...]]}."""
    results = [
        {
            "video_path": files[score.clip_id],
            "video_results": bool(score.value) if dimension in BOOLEAN_DIMENSIONS else score.value,
        }
        for score in scores
    ]
    return json.dumps({dimension: [mean, results]}, indent=1) + "\n"


def score_clips(
    dimension: str, score: Score, selected: Sequence[ScoredPrompt], clips: Path
) -> list[ClipScore]:
    """Score every clip from its decoded file. Raises FileNotFoundError or ValueError naming the first bad
    clip.
    """
    from evaluation.clips import (
        read_clip,
    )  # PyAV: only where files are read, so that rewards can import the scorers

    files = [clip.file for _, chosen in selected for clip in chosen]
    absent = [file for file in files if not (clips / file).is_file()]
    if absent:
        raise FileNotFoundError(
            f"{len(absent)} of {len(files)} clips that {dimension} needs are not in {clips}: "
            f"{', '.join(absent[:5])}; rerun the sample stage, which makes the clips that are missing."
        )
    scores = []
    for prompt, chosen in selected:
        for clip in chosen:
            frames = shrink(read_clip(clips / clip.file).frames, clip.clip_id)
            scores.append(clip_score(clip, score(frames, prompt.facts), dimension))
    return scores


def clip_score(clip: Clip, found: float | FrameScores, dimension: str) -> ClipScore:
    """The record of one clip, with the values of its frames where the scorer gives them. Raises ValueError as
    `checked`.
    """
    judged = found if isinstance(found, FrameScores) else FrameScores(found, ())
    values = tuple(None if v is None else checked(v, dimension, clip.clip_id) for v in judged.frames)
    return ClipScore(
        clip_id=clip.clip_id, prompt_id=clip.prompt_id, sample=clip.sample,
        value=checked(judged.value, dimension, clip.clip_id), frame_values=values or None,
    )  # fmt: skip


def run_scorer(
    dimension: str,
    kind: Literal["exact", "official", "stand-in"],
    score: Score,
    arguments: Sequence[str] | None = None,
) -> None:
    """Command line of one scorer: reads prompts, manifest, filtered set and clips, writes both result files."""
    parser = argparse.ArgumentParser(description=f"Score one row on {dimension} ({kind}).")
    parser.add_argument("--prompts", type=Path, required=True, help="prompts.jsonl")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.jsonl of the row")
    parser.add_argument("--filtered", type=Path, required=True, help="filtered set of the row")
    parser.add_argument(
        "--clips", type=Path, required=True, help="folder that the manifest's file names are relative to"
    )
    parser.add_argument("--suite", required=True)
    parser.add_argument("--row", required=True)
    parser.add_argument("--output", type=Path, required=True, help="VBench's JSON form")
    parser.add_argument("--result", type=Path, required=True, help="DimensionResult")
    flags = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")

    inputs = read_row(flags.row, flags.prompts, flags.manifest, flags.filtered)
    selected = select_clips(dimension, *inputs)
    scores = score_clips(dimension, score, selected, flags.clips)
    if not scores:
        raise ValueError(
            f"The static filter kept no clip of row {flags.row} for {dimension}; nothing can be scored."
        )
    mean = round(math.fsum(item.value for item in scores) / len(scores), 6)
    files = {clip.clip_id: clip.file for clip in inputs.manifest}
    write_text(flags.output, official_form(dimension, scores, files, mean))
    write_json(
        flags.result,
        DimensionResult(
            suite=flags.suite, row=flags.row, dimension=dimension, kind=kind, mean=mean, clips=tuple(scores)
        ),
    )
    logger.info("%s of %s: mean %.4f over %d clips", dimension, flags.row, mean, len(scores))
