"""Dynamic degree: 1 if something moves, by dense optical flow, else 0.

Exact in this world: objects and cameras are built to move 1.7 pixels in 8 pixel frames or not at all. VBench takes the
flow from a network instead. Only flow that leads back to where it came from counts, so noise is not motion. It does not ask
for the caption; its floor is a frozen clip.
"""

from __future__ import annotations

import cv2
import numpy as np

from evaluation.toybox.facts import Facts
from evaluation.toybox.perception import check_frames
from evaluation.toybox.render import SIZE, Frames

DIMENSION = "dynamic_degree"
KIND = "exact"
FLOOR = 0.3  # the controls named below score under this
CEILING = 0.95  # rendered truth scores at least this
FLOOR_CONTROLS = ("noise", "frozen_first_frame")
STRIDE = 8
ENLARGE = 2
THRESHOLD = 0.8  # pixels in STRIDE pixel frames; true motion is 1.7, still clips have 0
MAX_RETURN = 0.5  # pixels between a point and where flow there and back takes it


def speed(frames: Frames) -> float:
    """Median over frame pairs of the mean of the fastest 5 % of consistent flow vectors; pixels per STRIDE pixel frames.

    A pair in which under half of the flow is consistent counts as 0.
    """
    check_frames(frames)
    wide = SIZE * ENLARGE
    grey = [
        cv2.resize(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), (wide, wide), interpolation=cv2.INTER_LINEAR)
        for f in frames[::STRIDE]
    ]
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    y, x = np.mgrid[0:wide, 0:wide].astype(np.float32)
    speeds = []
    for before, after in zip(grey, grey[1:], strict=False):
        there, back = flow.calc(before, after, None), flow.calc(after, before, None)
        returned = cv2.remap(
            back, x + there[..., 0], y + there[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        consistent = np.linalg.norm(there + returned, axis=-1) < MAX_RETURN * ENLARGE
        lengths = np.sort(np.linalg.norm(there, axis=-1)[consistent])[-max(1, wide * wide // 20) :]
        speeds.append(float(lengths.mean()) / ENLARGE if consistent.mean() >= 0.5 else 0.0)
    return float(np.median(speeds))


def score(frames: Frames, facts: Facts) -> float:
    """frames uint8 [81, 32, 32, 3]. 0 or 1."""
    return float(speed(frames) >= THRESHOLD)


def soft(frames: Frames, facts: Facts) -> float:
    """Graded form for rewards: speed up to the threshold, as a share of it."""
    return min(1.0, speed(frames) / THRESHOLD)


if __name__ == "__main__":
    from evaluation.scoring import run_scorer

    run_scorer(DIMENSION, KIND, score)
