"""A long clip seen once, frame by frame: series by second and measures of the pixels, never the whole clip.

One frame and small copies of all are held at a time, so that memory does not grow with a minute's pixels.
"""

from collections.abc import Iterable
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.long_measures import (
    border_jump,
    end_drift,
    latent_flicker,
    loop_length,
    motion_persistence,
    second_means,
)
from evaluation.records import (
    ClipId,
    Identifier,
    Inputs,
    Natural,
    NonNegative,
    PlainText,
    Positive,
    Record,
)

BRIGHTNESS = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""
LEAST_CHANGE = 0.1
"""Levels of 255: with less below its line a ratio is one of the encoder's noise, and there is none."""
SMALL_COPY = 16
"""Cells along each side of the copy in which loops are looked for."""

PixelMeasure = Literal[
    "motion_persistence",
    "border_jump",
    "latent_flicker",
    "brightness_drift",
    "saturation_drift",
    "detail_drift",
]
MEASURES: tuple[PixelMeasure, ...] = get_args(PixelMeasure)
PIXEL_SERIES = ("motion", "brightness", "saturation", "detail")
"""What is drawn by second."""


class LongClip(Record):
    """What one clip's pixels say."""

    clip_id: ClipId
    prompt_id: Identifier
    sample: Natural
    seconds: dict[str, tuple[NonNegative, ...]]
    """PIXEL_SERIES -> means by second. motion: mean absolute change from frame to frame; brightness; detail:
    mean absolute Laplacian of brightness; all in levels of 255. saturation (HSV) as a fraction.
    """
    measures: dict[PixelMeasure, float | None]
    """None where a ratio has nothing below its line. Drifts: last five seconds minus first."""
    loop: Positive | None
    """Pixel frames after which the clip repeats itself, if it does."""


class LongRow(Record):
    """What the pixels of a row's clips say."""

    schema_version: Literal[1] = 1
    suite: PlainText
    row: Identifier
    inputs: Inputs
    fps: Positive
    pixel_frames: Positive
    clips: tuple[LongClip, ...]


class PixelSeries:
    """Series by frame of a clip whose frames come one at a time."""

    def __init__(self) -> None:
        self.motion: list[float] = []
        self.brightness: list[float] = []
        self.saturation: list[float] = []
        self.detail: list[float] = []
        self.copies: list[NDArray[np.float32]] = []
        self._before: NDArray[np.uint8] | None = None

    def add(self, frame: NDArray[np.uint8]) -> None:
        """The next frame, uint8 [H, W, 3]."""
        if self._before is not None:
            self.motion.append(cv2.norm(frame, self._before, cv2.NORM_L1) / frame.size)
        self._before = frame
        red, green, blue = cv2.split(frame)
        high, low = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
        self.brightness.append(float(BRIGHTNESS @ cv2.mean(frame)[:3]))
        self.saturation.append(float(SATURATION[high, low].mean()))
        luma = cv2.transform(frame.astype(np.float32), BRIGHTNESS[None].astype(np.float32))
        edges = np.ascontiguousarray(cv2.Laplacian(luma, cv2.CV_32F, ksize=1)[1:-1, 1:-1])
        self.detail.append(cv2.norm(edges, cv2.NORM_L1) / edges.size)
        self.copies.append(_small_copy(frame))


def _saturations() -> NDArray[np.float64]:
    """Saturation (HSV) by a pixel's largest and smallest value, [256, 256]; 0 of black."""
    high, low = np.meshgrid(np.arange(256.0), np.arange(256.0), indexing="ij")
    return np.asarray(np.divide(high - low, high, where=high > 0, out=np.zeros_like(high)), np.float64)


SATURATION = _saturations()


def _small_copy(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Means over SMALL_COPY x SMALL_COPY cells, flat."""
    height, width = (min(SMALL_COPY, n) for n in frame.shape[:2])
    small = cv2.resize(frame.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32).ravel()


def pixel_series(frames: Iterable[NDArray[np.uint8]]) -> PixelSeries:
    """All series of a clip. frames: uint8 [H, W, 3] each, at least 3 x 3 pixels."""
    series = PixelSeries()
    for frame in frames:
        series.add(frame)
    return series


def clip_measures(series: PixelSeries, fps: int) -> tuple[dict[PixelMeasure, float | None], int | None]:
    """Every measure, and the length of the clip's loop. Raises ValueError if the clip is too short."""
    found: dict[PixelMeasure, float | None] = {
        "motion_persistence": motion_persistence(series.motion, fps, LEAST_CHANGE),
        "border_jump": border_jump(series.motion, LEAST_CHANGE),
        "latent_flicker": latent_flicker(series.motion, LEAST_CHANGE),
        "brightness_drift": end_drift(series.brightness),
        "saturation_drift": end_drift(series.saturation),
        "detail_drift": end_drift(series.detail),
    }
    rounded = {name: None if value is None else round(value, 9) for name, value in found.items()}
    return rounded, loop_length(np.asarray(series.copies, np.float64))


def by_second(series: PixelSeries, fps: int) -> dict[str, tuple[float, ...]]:
    """PIXEL_SERIES -> means by second."""
    return {
        name: tuple(value for value in second_means(getattr(series, name), fps) if value is not None)
        for name in PIXEL_SERIES
    }
