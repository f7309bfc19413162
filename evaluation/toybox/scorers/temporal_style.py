"""Temporal style: 1 if the camera move that explains the background best is the named one.

Exact in this world; VBench asks a video-text network instead.
"""

from __future__ import annotations

import numpy as np

from evaluation.toybox.facts import CAMERAS, Facts
from evaluation.toybox.perception import read_camera, see
from evaluation.toybox.render import Frames

DIMENSION = "temporal_style"
KIND = "exact"
FLOOR = 0.3  # the controls named below score under this
CEILING = 0.95  # rendered truth scores at least this
FLOOR_CONTROLS = ("noise", "truth_shuffled_captions")
MAX_ERROR = (
    14.0  # mean absolute luma difference of the background from the best camera path; noise has about 35
)


def score(frames: Frames, facts: Facts) -> float:
    """frames uint8 [81, 32, 32, 3]. 0 or 1."""
    seen = see(frames)
    errors = read_camera(seen).errors
    best = int(errors.argmin())
    return float(CAMERAS[best] == facts["camera"] and errors[best] < MAX_ERROR)


def soft(frames: Frames, facts: Facts) -> float:
    """Graded form for rewards: how much less error the named move leaves than the best other one, 1 if none at all."""
    errors = read_camera(see(frames)).errors
    named = CAMERAS.index(facts["camera"])
    other = float(np.delete(errors, named).min())
    return float(np.clip(0.5 + 0.5 * (other - errors[named]) / max(other, 1e-3), 0, 1))


if __name__ == "__main__":
    from evaluation.scoring import run_scorer

    run_scorer(DIMENSION, KIND, score)
