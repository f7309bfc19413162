"""Motion smoothness: the named object's path has no jerks, and frames are near the mean of neighbours.

Exact in this world: (1 - mean length of the path's second difference / 3 pixels) times (1 - mean absolute
difference from the mean of the neighbours / 255). VBench interpolates with a network instead; the second
factor is its formula.
"""

import numpy as np
from numpy.typing import NDArray

from evaluation.toybox.facts import Facts
from evaluation.toybox.perception import PROBE_STRIDE, FrameScores, at_frames, blobs, color_index, see
from evaluation.toybox.render import Floats, Frames

MAX_JERK = 3.0
"""Pixels, mean second difference over steps of PROBE_STRIDE pixel frames; shuffled frames have about 8."""


def score(frames: Frames, facts: Facts) -> FrameScores:
    """frames uint8 [81, 32, 32, 3]; facts of one moving object. 0 if it is missing in over a tenth of the
    frames.

    A probed frame has the score of its own second difference and its own neighbours, 0 where the object is
    missing in one of the three probes; the clip's is a product of two means, which the mean of the frames
    need not be.
    """
    found = blobs(see(frames).alpha)
    named = color_index(facts["objects"][0]["color"])
    present = found.present()[:, named]
    light = frames.astype(np.float32)
    off_middle = np.abs(light[1:-1] - (light[:-2] + light[2:]) / 2)
    by_frame = at_frames(
        _by_frame(found.x[:, named], found.y[:, named], present, off_middle), first=PROBE_STRIDE
    )
    if present.mean() < 0.9:
        return FrameScores(0.0, by_frame)
    path = np.stack([found.x[present, named], found.y[present, named]], axis=1)
    jerk = float(np.linalg.norm(np.diff(path, n=2, axis=0), axis=1).mean())
    middle = float(off_middle.mean())
    return FrameScores(max(0.0, 1 - jerk / MAX_JERK) * (1 - middle / 255), by_frame)


def _by_frame(x: Floats, y: Floats, present: NDArray[np.bool_], off_middle: Floats) -> Floats:
    """Scores of probes between two others, [T - 2]. x, y, present: [T]; off_middle: pixel frames 1 to 79."""
    jerks = np.hypot(np.diff(x, n=2), np.diff(y, n=2))
    there = present[:-2] & present[1:-1] & present[2:]
    own = off_middle[PROBE_STRIDE - 1 :: PROBE_STRIDE][: len(jerks)].mean((1, 2, 3))
    return np.asarray(np.where(there, np.clip(1 - jerks / MAX_JERK, 0, 1), 0.0) * (1 - own / 255), np.float32)
