"""Motion smoothness: the named object's path has no jerks, and every frame is near the middle of its neighbours.

Exact in this world: (1 - mean length of the path's second difference / 3 pixels) times (1 - mean absolute difference from
the mean of the neighbours / 255). VBench interpolates with a network instead; the second factor is its formula.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from evaluation.toybox.facts import Facts
from evaluation.toybox.perception import blobs, color_index, see
from evaluation.toybox.render import Frames

DIMENSION = "motion_smoothness"
KIND: Final = "exact"
FLOOR = 0.2  # the controls named below score under this
CEILING = 0.95  # rendered truth scores at least this
FLOOR_CONTROLS = ("noise", "truth_shuffled_captions", "shuffled_frames")
MAX_JERK = (
    3.0  # pixels; mean second difference over steps of STRIDE pixel frames; shuffled frames have about 8
)


def score(frames: Frames, facts: Facts) -> float:
    """frames uint8 [81, 32, 32, 3]; facts of one moving object. 0 if it is missing in over a tenth of the frames."""
    found = blobs(see(frames).alpha)
    named = color_index(facts["objects"][0]["color"])
    present = found.present()[:, named]
    if present.mean() < 0.9:
        return 0.0
    path = np.stack([found.x[present, named], found.y[present, named]], axis=1)
    jerk = float(np.linalg.norm(np.diff(path, n=2, axis=0), axis=1).mean())
    light = frames.astype(np.float32)
    middle = float(np.abs(light[1:-1] - (light[:-2] + light[2:]) / 2).mean())
    return max(0.0, 1 - jerk / MAX_JERK) * (1 - middle / 255)


if __name__ == "__main__":
    from evaluation.scoring import run_scorer

    run_scorer(DIMENSION, KIND, score)
