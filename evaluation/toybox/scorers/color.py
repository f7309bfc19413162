"""Color: share of frames in which the largest coloured blob has the named colour and a plausible size.

Exact in this world; VBench asks an image-captioning network instead.
"""

import numpy as np

from evaluation.toybox.facts import Facts
from evaluation.toybox.perception import FrameScores, at_frames, blobs, color_index, see
from evaluation.toybox.render import ZOOM, Frames


def score(frames: Frames, facts: Facts) -> FrameScores:
    """frames uint8 [81, 32, 32, 3]; facts of one object. In 0..1."""
    found = blobs(see(frames).alpha)
    present = found.present(ZOOM if facts["camera"] in ("zoom_in", "zoom_out") else 1.0)
    named = color_index(facts["objects"][0]["color"])
    hits = present[:, named] & (found.area.argmax(1) == named)
    return FrameScores(float(np.mean(hits)), at_frames(hits))


def soft(frames: Frames, facts: Facts) -> float:
    """Graded form: the named colour's share of coloured pixels, times its area up to that of a shape."""
    area = blobs(see(frames).alpha).area
    named = area[:, color_index(facts["objects"][0]["color"])]
    return float(np.mean(named / np.maximum(area.sum(1), 1.0) * np.minimum(named / 90.0, 1.0)))
