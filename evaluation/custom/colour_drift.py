"""Colour drift: how far a clip's colours wander from its first chunk to its last. The worked example.

Metrics of neighbouring frames (flicker, smoothness) do not see a slow change; over a long rollout it is what
a causal model suffers from (Vchitect/VBench#206). Compared are the mean and the standard deviation of each
colour channel over pixel frames 0 to 8 and over the last 12, so that an object that moves through the image
does not count. Of a clip of any length these 21 frames are held.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

TITLE = "colour drift"
UNIT = "levels of 255"
WORST = 64.0
BEST = 0.0
BENCHMARKS = ("toybox", "vbench")

FIRST, LAST = 9, 12  # pixel frames of the first chunk and of every later one


def score_parts(parts: Iterator[NDArray[np.uint8]], prompt: dict[str, Any]) -> float:  # noqa: ARG001 one form
    """Mean absolute change of channel means and standard deviations; 64 levels and more count as 64.

    parts: the clip's frames in order, uint8 [t, H, W, 3] each.
    """
    opening: list[NDArray[np.uint8]] = []
    ending: deque[NDArray[np.uint8]] = deque(maxlen=LAST)
    for part in parts:
        opening.extend(part[: FIRST - len(opening)])
        ending.extend(part)
    first, last = (np.stack(held).reshape(-1, 3).astype(np.float64) for held in (opening, ending))
    change = [np.abs(last.mean(0) - first.mean(0)).mean(), np.abs(last.std(0) - first.std(0)).mean()]
    return min(WORST, float(np.mean(change)))
