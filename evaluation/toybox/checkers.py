"""Run the embedded world's checkers on decoded frames in memory, on several processes: for training and its
reports only.

The suite's own scores come from the mp4 files through evaluation/toybox/scorers.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.records import Prompt
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

Frames = NDArray[np.uint8]
Checker = Callable[[Frames, dict[str, Any]], float]

_MODULES = (
    aesthetic_quality, appearance_style, background_consistency, color, dynamic_degree, human_action, imaging_quality,
    motion_smoothness, multiple_objects, object_class, overall_consistency, scene, spatial_relationship,
    subject_consistency, temporal_flickering, temporal_style,
)  # fmt: skip
CHECKERS: dict[str, Checker] = {module.DIMENSION: module.score for module in _MODULES}
# As rewards: the graded form where a checker is mostly 0 or 1, which would give a group no direction; others
# as they are.
_GRADED = (
    appearance_style, color, dynamic_degree, human_action, multiple_objects, object_class, scene, temporal_style,
)  # fmt: skip
_SMOOTH = (aesthetic_quality, background_consistency, imaging_quality, motion_smoothness, subject_consistency)
REWARDS: dict[str, Checker] = {
    **{module.DIMENSION: module.soft for module in _GRADED},
    **{module.DIMENSION: module.score for module in _SMOOTH},
}


def check_clip(task: tuple[Frames, Prompt]) -> dict[str, float]:
    """Scores of one clip, uint8 [81, 32, 32, 3], on the dimensions of its prompt."""
    frames, prompt = task
    return {name: float(CHECKERS[name](frames, prompt.facts)) for name in prompt.dimensions}


def start_workers(processes: int) -> ProcessPoolExecutor:
    """A pool of fresh processes with one thread each (forking a process that holds a GPU is not safe)."""
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_single_thread)


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


def _single_thread() -> None:
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
