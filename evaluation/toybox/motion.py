"""How much a toybox clip moves, for the static filter: classical optical flow, where VBench has a network."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.static_filter import Judgement

FLOW_STRIDE = 4
"""Pixel frames between two frames that flow is measured from."""
GRID = 32
"""Motion is in pixels of an image so many pixels wide, whatever the file's size."""
TOP_SHARE = 0.05
STATIC_BELOW = 0.5
"""Clips below are static. Moving clips measure 1.8 to 2.4, static ones 0.0
(evaluation/toybox/README.md#static-filter)."""


def motion(frames: Iterable[NDArray[np.uint8]]) -> float:
    """Mean over frame pairs of the mean of the fastest 5 % of flow vectors. frames: uint8 [H, W, 3] each.

    Raises ValueError with fewer than FLOW_STRIDE + 1 frames.
    """
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    fastest: list[float] = []
    width = 0
    for before, after in pairwise(_looked_at(frames)):
        width = after.shape[1]
        speed = np.linalg.norm(flow.calc(before, after, None), axis=-1).ravel()  # type: ignore[call-overload]
        count = max(1, round(TOP_SHARE * speed.size))
        fastest.append(float(np.partition(speed, -count)[-count:].mean()))
    if not fastest:
        raise ValueError(f"motion needs at least {FLOW_STRIDE + 1} frames; the clip has fewer.")
    return round(sum(fastest) / len(fastest) * GRID / width, 6)


def _looked_at(frames: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """The frames that flow is measured between, in grey."""
    for number, frame in enumerate(frames):
        if number % FLOW_STRIDE == 0:
            yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)


def judge_motion(values: Sequence[float]) -> list[Judgement]:
    """Which clips of these motions are static."""
    return [Judgement(motion=value, static=value < STATIC_BELOW) for value in values]
