"""Background consistency: how much pixels outside objects stay as in the first and the previous frame.

Exact in this world, for clips with a fixed camera: 1 - mean absolute difference / 64, at least 0. VBench
compares network features of whole frames instead. It does not ask for the caption, so shuffled captions do
not lower it.
"""

import numpy as np

from evaluation.toybox.facts import Facts
from evaluation.toybox.perception import PROBE_STRIDE, FrameScores, at_frames, see
from evaluation.toybox.render import Frames

MIN_BACKGROUND = 0.2  # share of the image that must be background in both frames


def score(frames: Frames, facts: Facts) -> FrameScores:  # noqa: ARG001 one signature for all
    """frames uint8 [81, 32, 32, 3]; a clip with a fixed camera. In 0..1."""
    seen = see(frames)
    outside = seen.alpha.sum(1) < 0.1

    def likeness(i: int, j: int) -> float:
        both = outside[i] & outside[j]
        if both.mean() < MIN_BACKGROUND:
            return 0.0
        return max(0.0, 1 - float(np.abs(seen.frames[i][both] - seen.frames[j][both]).mean()) / 64)

    values = [(likeness(i, 0) + likeness(i, i - 1)) / 2 for i in range(1, len(outside))]
    return FrameScores(float(np.mean(values)), at_frames(values, first=PROBE_STRIDE))
