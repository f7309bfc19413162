"""Object class: share of frames whose largest coloured blob, of whatever colour, has the named shape.

Exact in this world; VBench asks a detector instead.
"""

import numpy as np

from evaluation.toybox.facts import SHAPES, Facts
from evaluation.toybox.perception import FrameScores, at_frames, blobs, is_shape, see, shape_overlaps
from evaluation.toybox.render import Floats, Frames


def _overlaps(frames: Frames) -> Floats:
    alpha = see(frames).alpha
    found = blobs(alpha)
    rows, largest = np.arange(len(alpha)), found.area.argmax(1)
    return shape_overlaps(alpha[rows, largest], found.x[rows, largest], found.y[rows, largest])


def score(frames: Frames, facts: Facts) -> FrameScores:
    """frames uint8 [81, 32, 32, 3]; facts of one shape. In 0..1."""
    hits = is_shape(_overlaps(frames), facts["objects"][0]["shape"])
    return FrameScores(float(hits.mean()), at_frames(hits))


def soft(frames: Frames, facts: Facts) -> float:
    """Graded form: mean overlap with the named shape, less what the best other shape has more of it."""
    overlaps = _overlaps(frames)
    named = overlaps[:, SHAPES.index(facts["objects"][0]["shape"])]
    return float(np.clip(named - 2 * (overlaps.max(1) - named), 0, 1).mean())
