"""Appearance style: share of frames whose palette is the named one (monochrome, sepia, neon, negative).

Exact in this world; VBench asks an image-text network instead. Monochrome and sepia are lines in colour
space, which every pixel must lie on; the others are told by which styled scene is nearest.
"""

import numpy as np

from evaluation.toybox.facts import STYLES, Facts
from evaluation.toybox.perception import STYLE_STRIDE, FrameScores, at_frames, read_style
from evaluation.toybox.render import Frames

MAX_STYLE_ERROR = 22.0  # as in scene.py
MAX_OFF_LINE = 7.0  # mean absolute distance from the line of greys or browns, 0..255


def score(frames: Frames, facts: Facts) -> FrameScores:
    """frames uint8 [81, 32, 32, 3]; a clip with a fixed camera. In 0..1."""
    reading = read_style(frames)
    near = reading.scene_error.min(1) < MAX_STYLE_ERROR
    gray, brown = reading.gray < MAX_OFF_LINE, reading.brown < MAX_OFF_LINE
    if facts["style"] == "monochrome":
        found = near & gray
    elif facts["style"] == "sepia":
        found = near & brown & ~gray
    else:
        best = reading.scene_error.argmin(1)
        found = near & ~gray & ~brown & (best == STYLES.index(facts["style"]))
    return FrameScores(float(np.mean(found)), at_frames(found, stride=STYLE_STRIDE))


def soft(frames: Frames, facts: Facts) -> float:
    """Graded form: nearness to the scene in the named style and, for greys and browns, to their line."""
    reading = read_style(frames)
    fit = np.clip(1 - reading.scene_error[:, STYLES.index(facts["style"])] / (2 * MAX_STYLE_ERROR), 0, 1)
    line = {"monochrome": reading.gray, "sepia": reading.brown}.get(facts["style"], np.zeros_like(fit))
    return float(np.mean(fit * np.clip(1 - line / (2 * MAX_OFF_LINE), 0, 1)))
