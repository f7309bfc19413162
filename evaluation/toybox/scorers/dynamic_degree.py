"""Dynamic degree: 1 if something moves, by dense optical flow, else 0.

Exact in this world: objects and cameras are built to move 3.4 pixels in 16 pixel frames or not at all. VBench
takes the flow from a network instead. Only flow that leads to the same value counts, so noise is not motion.
It does not ask for the caption; its floor is a frozen clip.
"""

from itertools import pairwise

import cv2
import numpy as np

from evaluation.toybox.facts import Facts
from evaluation.toybox.perception import FrameScores, check_frames
from evaluation.toybox.render import SIZE, Frames

SPEED_STRIDE = 16
ENLARGE = 2
MIN_SPEED = 1.4  # pixels in SPEED_STRIDE pixel frames; true motion is 3.4, still clips have 0
MAX_CHANGE = 24  # levels of 0..255 between a pixel and where the flow says it went
MIN_EXPLAINED = 0.6  # share of the image; noise explains about a third


def speed(frames: Frames) -> float:
    """Median over frame pairs of the mean of the fastest 5 % of flow vectors that explain the image; pixels
    per SPEED_STRIDE pixel frames.

    A pair counts as 0 if under MIN_EXPLAINED of its pixels are found where the flow says.
    """
    check_frames(frames)
    wide = SIZE * ENLARGE
    # Colourfulness, not brightness: a red shape on the meadow is as bright as the grass.
    probed = frames[::SPEED_STRIDE]
    colorful = probed.max(-1) - probed.min(-1)
    images = [cv2.resize(one, (wide, wide), interpolation=cv2.INTER_LINEAR) for one in colorful]
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    flow.setFinestScale(1)
    axis = np.arange(wide, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    speeds = []
    for before, after in pairwise(images):
        there = flow.calc(before, after, np.zeros((wide, wide, 2), np.float32))
        found = cv2.remap(
            after, x + there[..., 0], y + there[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        explained = cv2.absdiff(found, before) < MAX_CHANGE
        lengths = np.sort(np.hypot(there[..., 0], there[..., 1])[explained])[-wide * wide // 20 :]
        speeds.append(float(lengths.mean()) / ENLARGE if explained.mean() >= MIN_EXPLAINED else 0.0)
    return float(np.median(speeds))


def score(frames: Frames, facts: Facts) -> FrameScores:  # noqa: ARG001 one signature for all
    """frames uint8 [81, 32, 32, 3]. 0 or 1."""
    return FrameScores(float(speed(frames) >= MIN_SPEED))


def soft(frames: Frames, facts: Facts) -> float:  # noqa: ARG001 one signature for all
    """Graded form: speed up to the threshold, as a share of it."""
    return min(1.0, speed(frames) / MIN_SPEED)
