"""Run the toybox scorers on decoded frames in memory, on several processes. Only training does this.

The suite's own scores come from the mp4 files, through evaluation/toybox/score.py.
"""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module

import cv2
import numpy as np

from evaluation.records import Prompt
from evaluation.toybox.facts import Facts
from evaluation.toybox.render import Frames


def check(dimension: str, frames: Frames, facts: Facts) -> float:
    """Score of a clip, uint8 [81, 32, 32, 3], on a dimension, 0..1.

    Its scorer is imported by name; whoever wants a digest of a check lists it too
    (workflow/planning/row_plan.py).
    """
    return float(import_module(f"evaluation.toybox.scorers.{dimension}").score(frames, facts).value)


def check_clip(task: tuple[Frames, Prompt]) -> dict[str, float]:
    """Scores of one clip on the dimensions of its prompt."""
    frames, prompt = task
    return {name: check(name, frames, prompt.facts) for name in prompt.dimensions}


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
