"""Spatial relationship: share of frames in which both colours are there, in the named order.

Exact in this world; VBench asks a detector for boxes instead. The named axis must also be the longer one.
"""

import numpy as np

from evaluation.toybox.facts import Facts
from evaluation.toybox.perception import FrameScores, at_frames, blobs, color_index, see
from evaluation.toybox.render import Frames


def score(frames: Frames, facts: Facts) -> FrameScores:
    """frames uint8 [81, 32, 32, 3]; facts of two objects and their relation. In 0..1."""
    found = blobs(see(frames).alpha)
    a, b = (color_index(thing["color"]) for thing in facts["objects"])
    both = found.present()[:, a] & found.present()[:, b]
    across, down = found.x[both, a] - found.x[both, b], found.y[both, a] - found.y[both, b]
    along, other = (across, down) if facts["relation"] in ("left", "right") else (down, across)
    sign = -1 if facts["relation"] in ("left", "above") else 1
    holds = (sign * along >= 4.0) & (np.abs(along) > np.abs(other))
    hits = np.zeros(len(both), np.bool_)
    hits[both] = holds
    return FrameScores(float(holds.sum() / len(both)), at_frames(hits))
