"""Scene: share of frames whose background is nearest to the named scene, and near it.

Exact in this world; VBench asks an image-tagging network instead.
"""

import numpy as np

from evaluation.toybox.facts import SCENES, Facts
from evaluation.toybox.perception import FrameScores, at_frames, scene_errors
from evaluation.toybox.render import Frames

MAX_SCENE_ERROR = 22.0  # mean absolute difference of 0..255, at most 40 a pixel; noise has more than 30


def score(frames: Frames, facts: Facts) -> FrameScores:
    """frames uint8 [81, 32, 32, 3]; a clip with a fixed camera, in the style of its facts. In 0..1."""
    errors = scene_errors(frames, facts["style"])
    named = SCENES.index(facts["scene"])
    hits = (errors.argmin(1) == named) & (errors[:, named] < MAX_SCENE_ERROR)
    return FrameScores(float(np.mean(hits)), at_frames(hits))


def soft(frames: Frames, facts: Facts) -> float:
    """Graded form: 1 at no error, 0 at MAX_SCENE_ERROR."""
    errors = scene_errors(frames, facts["style"])[:, SCENES.index(facts["scene"])]
    return float(np.clip(1 - errors / MAX_SCENE_ERROR, 0, 1).mean())
