"""Run the toybox scorers on decoded frames in memory, on several processes. Only training does this.

The suite's own scores come from the mp4 files, through evaluation/toybox/score.py.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from evaluation.records import Prompt
from evaluation.toybox.render import Frames
from evaluation.toybox.scorers import (
    aesthetic_quality,
    appearance_style,
    background_consistency,
    color,
    dynamic_degree,
    human_action,
    imaging_quality,
    motion_smoothness,
    multiple_objects,
    object_class,
    overall_consistency,
    scene,
    spatial_relationship,
    subject_consistency,
    temporal_flickering,
    temporal_style,
)

Checker = Callable[[Frames, dict[str, Any]], float]

_SCORERS = (
    aesthetic_quality,
    appearance_style,
    background_consistency,
    color,
    dynamic_degree,
    human_action,
    imaging_quality,
    motion_smoothness,
    multiple_objects,
    object_class,
    overall_consistency,
    scene,
    spatial_relationship,
    subject_consistency,
    temporal_flickering,
    temporal_style,
)


def _clip_value(scorer: ModuleType, frames: Frames, facts: dict[str, Any]) -> float:
    """The score of a whole clip, 0..1."""
    return float(scorer.score(frames, facts).value)


CHECKERS: dict[str, Checker] = {
    scorer.__name__.rpartition(".")[2]: partial(_clip_value, scorer) for scorer in _SCORERS
}
"""By dimension, which a scorer's file is named after."""


def check_clip(task: tuple[Frames, Prompt]) -> dict[str, float]:
    """Scores of one clip, uint8 [81, 32, 32, 3], on the dimensions of its prompt."""
    frames, prompt = task
    return {name: CHECKERS[name](frames, prompt.facts) for name in prompt.dimensions}


def start_workers(processes: int) -> ProcessPoolExecutor:
    """A pool of fresh processes with one thread each; forking a process that holds a GPU is not safe."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, context, initializer=cv2.setNumThreads, initargs=(1,))


def check_clips(
    frames: Frames, prompts: Sequence[Prompt], workers: ProcessPoolExecutor | None
) -> list[dict[str, float]]:
    """Scores of clips [N, 81, 32, 32, 3], one prompt each; workers None checks in this process."""
    tasks = list(zip(frames, prompts, strict=True))
    if workers is None:
        return [check_clip(task) for task in tasks]
    return list(workers.map(check_clip, tasks, chunksize=4))


def means(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of every dimension over the clips that have it, and "mean" over dimensions."""
    names = sorted({name for clip in scores for name in clip})
    by_name = {name: float(np.mean([clip[name] for clip in scores if name in clip])) for name in names}
    return {**by_name, "mean": float(np.mean(list(by_name.values())))}
