"""Subject consistency: how much the named object keeps its outline and colour of earlier frames.

Exact in this world: soft intersection over union after centring, times likeness of colour; 0 where the object
is missing. VBench compares network features of whole frames instead. Mean over frames of (to first + to
previous) / 2, as there.
"""

import cv2
import numpy as np

from evaluation.toybox.facts import Facts
from evaluation.toybox.perception import PROBE_STRIDE, FrameScores, at_frames, blobs, color_index, see
from evaluation.toybox.render import CENTER, SIZE, Frames


def score(frames: Frames, facts: Facts) -> FrameScores:
    """frames uint8 [81, 32, 32, 3]; facts of one object. In 0..1."""
    seen = see(frames)
    found = blobs(seen.alpha)
    named = color_index(facts["objects"][0]["color"])
    present = found.present()[:, named]
    outlines, colors = [], []
    for frame, plane in enumerate(seen.alpha[:, named]):
        x, y = (
            (CENTER - found.x[frame, named], CENTER - found.y[frame, named]) if present[frame] else (0.0, 0.0)
        )
        shift = np.array([[1, 0, x], [0, 1, y]], np.float32)
        outlines.append(cv2.warpAffine(cv2.GaussianBlur(plane, (3, 3), 0.8), shift, (SIZE, SIZE)))
        core = plane > 0.8
        colors.append(seen.frames[frame][core].mean(0) if core.any() else np.zeros(3, np.float32))

    def likeness(i: int, j: int) -> float:
        if not (present[i] and present[j]):
            return 0.0
        overlap = np.minimum(outlines[i], outlines[j]).sum() / np.maximum(outlines[i], outlines[j]).sum()
        return float(overlap * max(0.0, 1 - np.abs(colors[i] - colors[j]).mean() / 128))

    values = [(likeness(i, 0) + likeness(i, i - 1)) / 2 for i in range(1, len(outlines))]
    return FrameScores(float(np.mean(values)), at_frames(values, first=PROBE_STRIDE))
