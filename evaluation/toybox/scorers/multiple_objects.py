"""Multiple objects: share of frames in which both named objects, each colour with its shape, are there.

Exact in this world; VBench asks a detector instead.
"""

import numpy as np

from evaluation.toybox.facts import SHAPES, Facts
from evaluation.toybox.perception import (
    FrameScores,
    at_frames,
    blobs,
    color_index,
    is_shape,
    see,
    shape_overlaps,
)
from evaluation.toybox.render import Floats, Frames


def _overlaps(frames: Frames, facts: Facts) -> list[Floats]:
    alpha = see(frames).alpha
    found = blobs(alpha)
    columns = [color_index(thing["color"]) for thing in facts["objects"]]
    return [shape_overlaps(alpha[:, k], found.x[:, k], found.y[:, k]) for k in columns]


def score(frames: Frames, facts: Facts) -> FrameScores:
    """frames uint8 [81, 32, 32, 3]; facts of two objects. In 0..1."""
    shapes = [thing["shape"] for thing in facts["objects"]]
    there = [is_shape(one, shape) for one, shape in zip(_overlaps(frames, facts), shapes, strict=True)]
    both = there[0] & there[1]
    return FrameScores(float(np.mean(both)), at_frames(both))


def soft(frames: Frames, facts: Facts) -> float:
    """Graded form: overlap of the worse object with its named shape."""
    columns = [SHAPES.index(thing["shape"]) for thing in facts["objects"]]
    named = [one[:, k] for one, k in zip(_overlaps(frames, facts), columns, strict=True)]
    return float(np.minimum(named[0], named[1]).mean())
