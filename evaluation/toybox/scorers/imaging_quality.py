"""Imaging quality: the clip is read into scene and shapes, these are drawn again, and the two are compared.

Exact but specific to this world (analysis by synthesis): PSNR of 10 dB scores 0, 30 dB and more score 1. It
is not MUSIQ, which VBench uses. It does not ask for the caption, so shuffled captions do not lower it.
"""

import numpy as np

from evaluation.toybox.facts import COLORS, SHAPES, Facts
from evaluation.toybox.perception import FrameScores, at_frames, blobs, see, shape_overlaps
from evaluation.toybox.render import Frames, background, object_color, shape_alpha

LOWEST, HIGHEST = 10.0, 30.0  # dB


def score(frames: Frames, facts: Facts) -> FrameScores:  # noqa: ARG001 one signature for all
    """frames uint8 [81, 32, 32, 3]; a clip with a fixed camera in the natural style. In 0..1."""
    seen = see(frames)
    found = blobs(seen.alpha)
    present = found.present()
    drawn = np.repeat(background(seen.scene)[None], len(seen.frames), axis=0)
    for column, color in enumerate(COLORS):
        at = np.flatnonzero(present[:, column])
        if len(at) == 0:
            continue
        x, y = found.x[at, column], found.y[at, column]
        best = shape_overlaps(seen.alpha[at, column], x, y).argmax(1)
        for number, shape in enumerate(SHAPES):
            chosen = best == number
            alpha = shape_alpha(shape, x[chosen], y[chosen])[..., None]
            drawn[at[chosen]] += alpha * (object_color(color) - drawn[at[chosen]])
    squared = np.square(drawn - seen.frames).mean((1, 2, 3))
    psnr = 10 * np.log10(255**2 / np.maximum(squared, 1e-3))
    values = np.clip((psnr - LOWEST) / (HIGHEST - LOWEST), 0, 1)
    return FrameScores(float(values.mean()), at_frames(values))
