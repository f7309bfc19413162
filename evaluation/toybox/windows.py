"""A long clip as windows of 81 pixel frames, which is what every checker of this world looks at.

A window begins at a chunk border: at frame 0, and then at 84 i - 3 = 81, 165, 249, ... (seven chunks of 12
frames on), so that it holds seven chunks and shows periodic facts in the phase in which the renderer draws
them. The last three frames of a window's 84 are in none.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluation.toybox.perception import FrameScores
from evaluation.toybox.render import PIXEL_FRAMES

STRIDE = 84
"""Frames from one window to the next, behind the first: seven chunks."""


class Window(NamedTuple):
    """Frames of a clip, [81, H, W, 3], from `start` on."""

    start: int
    frames: NDArray[np.uint8]


def window_start(number: int) -> int:
    """First pixel frame of a window, by its number from 0."""
    return max(0, STRIDE * number - 3)


def windows_of(frames: Iterable[NDArray[np.uint8]]) -> Iterator[Window]:
    """The whole windows of a clip whose frames [H, W, 3] come one at a time; one window of memory."""
    held: list[NDArray[np.uint8]] = []
    number = 0
    for place, frame in enumerate(frames):
        if place >= window_start(number):
            held.append(frame)
        if len(held) == PIXEL_FRAMES:
            yield Window(window_start(number), np.stack(held))
            held, number = [], number + 1


def joined_scores(scores: Iterable[tuple[int, FrameScores]], pixel_frames: int) -> FrameScores:
    """The score of a clip from those of its windows, by their starts: the mean of the windows.

    Frames keep their scores. Where a checker judges a window as a whole, and there are several, its value
    stands at each of the window's frames, so that curves over time show it too.
    """
    found = list(scores)
    if len(found) == 1 and pixel_frames == PIXEL_FRAMES:
        return found[0][1]
    placed: list[float | None] = [None] * pixel_frames
    for start, one in found:
        placed[start : start + PIXEL_FRAMES] = one.frames or (one.value,) * PIXEL_FRAMES
    return FrameScores(float(np.mean([one.value for _, one in found])), tuple(placed))
