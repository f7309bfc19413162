"""Aesthetic quality: a STAND-IN, the share of pixels that have a colour of this world.

No ground truth of beauty exists here. A clean drawing has about 0.96: only anti-aliased edges miss the
palette. It does not ask for the caption, so shuffled captions do not lower it.
"""

import numpy as np

from evaluation.toybox.facts import COLORS, Facts
from evaluation.toybox.perception import PROBE_STRIDE, FrameScores, at_frames, see
from evaluation.toybox.render import Frames, background, object_color

NEAR_SCENE = 20.0  # distance in RGB from the line of the scene's colours
NEAR_COLOR = 45.0  # distance in RGB from an object colour


def score(frames: Frames, facts: Facts) -> FrameScores:  # noqa: ARG001 one signature for all
    """frames uint8 [81, 32, 32, 3]; a clip in the natural style. In 0..1."""
    seen = see(frames)
    pixels = seen.frames[::2].reshape(-1, 3)
    texture = background(seen.scene).reshape(-1, 3)
    center = texture.mean(0)
    axis = np.linalg.svd(texture - center, full_matrices=False)[2][0]
    reach = (texture - center) @ axis
    along = np.clip((pixels - center) @ axis, reach.min(), reach.max())
    clean = np.linalg.norm(pixels - center - along[:, None] * axis, axis=1) < NEAR_SCENE
    for color in COLORS:
        clean |= np.linalg.norm(pixels - object_color(color), axis=1) < NEAR_COLOR
    by_frame = clean.reshape(len(seen.frames[::2]), -1).mean(1)
    return FrameScores(float(clean.mean()), at_frames(by_frame, stride=2 * PROBE_STRIDE))
