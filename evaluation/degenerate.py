"""Clips that hold no picture: near-black, flat, or noise. Measured on the decoded frames, by stated limits.

Levels are of 255, grey is the mean of the three channels. What the limits leave room for was measured on the
embedded suite: its clips (rendered, trained, or with shuffled frames) have a brightest frame of 23 and more,
a spread of 8 and more, a likeness in space of 0.60 and more (0.53 of a random mosaic) and in time of 0.13
and more; uniform noise has at most 0.03 and 0.02.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DARK = 8.0
"""Near-black: no frame is brighter on average than so many levels, ..."""
DARK_SPREAD = 4.0
"""... and in none do pixels spread more (standard deviation): stars at night are a picture."""
FLAT_SPREAD = 2.0
"""Flat: in no frame do pixels spread more than so many levels."""
NOISE_IN_SPACE = 0.1
"""Noise: pixels one thirtieth of the height apart are correlated less, in the median frame."""
NOISE_IN_TIME = 0.05
"""Noise: frames that follow each other are correlated less, in the median pair."""
APART = 30
"""The height divided by this is how far apart pixels are compared: beyond a block of the codec or the VAE."""


class Picture(NamedTuple):
    """What the limits are about."""

    brightest: float
    """Mean of the brightest frame, in levels."""
    spread: float
    """Largest standard deviation of a frame's pixels, in levels."""
    in_space: float
    """Correlation of pixels that are apart, vertically or horizontally, whichever is larger; median frame."""
    in_time: float
    """Correlation of successive frames, median pair; 1 of a single frame."""


def measure_picture(frames: Iterable[NDArray[np.uint8]]) -> Picture:
    """Measure frames, uint8 [H, W, 3] each, one at a time."""
    means, variances, space, time = [], [], [], []
    before: tuple[np.ndarray, float] | None = None
    for frame in frames:
        apart = max(1, frame.shape[0] // APART)
        grey = grey_of(frame)
        means.append(float(grey.mean()))
        grey -= means[-1]
        variance = max(float(np.square(grey).mean()), 1e-9)
        shifted = ((grey[apart:], grey[:-apart]), (grey[:, apart:], grey[:, :-apart]))
        space.append(max(float((a * b).mean()) for a, b in shifted) / variance)
        if before is not None:
            time.append(float((grey * before[0]).mean()) / (variance * before[1]) ** 0.5)
        variances.append(variance)
        before = (grey, variance)
    return Picture(
        max(means), max(variances) ** 0.5, float(np.median(space)), float(np.median(time)) if time else 1.0
    )


def grey_of(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The mean of the channels of a frame [H, W, 3], as float32 [H, W]: `frame.mean(axis=2)`, which takes
    eight times as long. Sums are whole numbers below 2**24, so both are exact up to the division.
    """
    total = np.add(frame[..., 0], frame[..., 1], dtype=np.uint16)
    total += frame[..., 2]
    return np.asarray(total.astype(np.float32) / np.float32(3), np.float32)


def degenerate(frames: Iterable[NDArray[np.uint8]]) -> str | None:
    """What is wrong with a clip that holds no picture, as a phrase with values and limits; None of others.

    frames: uint8 [H, W, 3] each.
    """
    found = measure_picture(frames)
    if found.brightest < DARK and found.spread < DARK_SPREAD:
        return (
            f"is near-black (its brightest frame has a mean of {found.brightest:.1f} of 255, its pixels a "
            f"spread of {found.spread:.1f}; below {DARK:g} and {DARK_SPREAD:g})"
        )
    if found.spread < FLAT_SPREAD:
        return (
            f"is flat (in no frame do its pixels spread more than {found.spread:.2f} levels; "
            f"below {FLAT_SPREAD:g})"
        )
    if found.in_space < NOISE_IN_SPACE:
        return (
            f"is noise in space (pixels a {APART}th of its height apart are correlated by "
            f"{found.in_space:.3f}; below {NOISE_IN_SPACE:g})"
        )
    if found.in_time < NOISE_IN_TIME:
        return (
            f"is noise in time (successive frames are correlated by {found.in_time:.3f}; "
            f"below {NOISE_IN_TIME:g})"
        )
    return None
