"""Temporal flickering: VBench's formula, 1 - mean absolute difference of neighbouring frames / 255.

Exact, and the official computation, on static prompts. It does not ask for the caption, so shuffled captions
do not lower it much.
"""

import numpy as np

from evaluation.toybox.facts import Facts
from evaluation.toybox.perception import FrameScores, at_frames, check_frames
from evaluation.toybox.render import Frames


def score(frames: Frames, facts: Facts) -> FrameScores:  # noqa: ARG001 one signature for all
    """frames uint8 [81, 32, 32, 3]; a clip of a static prompt. In 0..1."""
    check_frames(frames)
    steps = np.abs(np.diff(frames.astype(np.int16), axis=0))
    by_frame = 1 - steps.mean((1, 2, 3)) / 255
    return FrameScores(float(1 - steps.mean() / 255), at_frames(by_frame, first=1, stride=1))
