"""Temporal style: 1 if the camera move that explains the background best is the named one.

Exact in this world; VBench asks a video-text network instead.
"""

import numpy as np

from evaluation.toybox.facts import CAMERAS, Facts
from evaluation.toybox.perception import FrameScores, read_camera, see
from evaluation.toybox.render import Frames

# Mean absolute luma difference of the background from the best camera path: truth under 2, a 31 dB codec
# under 5, noise 30.
MAX_CAMERA_ERROR = 9.0


def score(frames: Frames, facts: Facts) -> FrameScores:
    """frames uint8 [81, 32, 32, 3]. 0 or 1."""
    reading = read_camera(see(frames))
    best = int(reading.errors.argmin())
    explained = reading.errors[best] < reading.motionless and reading.errors[best] < MAX_CAMERA_ERROR
    return FrameScores(float(explained and CAMERAS[best] == facts["camera"]))


def soft(frames: Frames, facts: Facts) -> float:
    """Graded form: half for little error under the named move, half for less error than any other reading."""
    reading = read_camera(see(frames))
    named = CAMERAS.index(facts["camera"])
    error = float(reading.errors[named])
    other = min(float(np.delete(reading.errors, named).min()), reading.motionless)
    fit = np.clip(1 - error / (2 * MAX_CAMERA_ERROR), 0, 1)
    return float(fit * (0.5 + 0.5 * np.clip((other - error) / max(other, 1e-3), -1, 1)))
