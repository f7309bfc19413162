"""What can be read off a toybox clip without its caption: scene, coloured blobs, their shapes and paths.

T probed pixel frames, K colours (in the order of facts.COLORS), S shapes (facts.SHAPES). Clips are uint8 [81,
32, 32, 3], as decoded from the mp4 and averaged down; everything here tolerates the codec's and a small
model's blur.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.toybox.facts import ACTIONS, CAMERAS, COLORS, SCENES, SHAPES, STYLES
from evaluation.toybox.render import (
    CENTER,
    LUMA,
    PIXEL_FRAMES,
    SIZE,
    Floats,
    Frames,
    background,
    camera_path,
    moved_background,
    object_color,
    person_alpha,
    shape_alpha,
)

PROBE_STRIDE = 4  # pixel frames between two that are looked at: 21 of 81
STYLE_STRIDE = 8
MIN_AREA, MAX_AREA = 45.0, 230.0  # pixels; shapes cover 98 to 144, a stick figure about 90
MIN_SHAPE_OVERLAP = 0.6  # soft intersection over union with the best template
MAX_RESIDUAL = 75.0  # distance in RGB from the line between background and object colour
MOTIONLESS = -1  # number of the sequences that show no move and no action
_COLOR_NAMES = list(COLORS)


class Seen(NamedTuple):
    """What is seen of the probed frames of a clip."""

    frames: Floats
    """float32 [T, 32, 32, 3]."""
    scene: str
    """The nearest by median colour."""
    alpha: Floats
    """Cover by each colour, float32 [T, K, 32, 32]."""


class Blobs(NamedTuple):
    """Per frame and colour, each float32 [T, K]."""

    area: Floats
    """Pixels."""
    x: Floats
    """Centre of mass; NaN, as y, without a blob."""
    y: Floats

    def present(self, zoom: float = 1.0) -> NDArray[np.bool_]:
        """Where a blob has a plausible size, [T, K]; zoom: how much larger than drawn a shape may be."""
        return np.asarray((self.area >= MIN_AREA) & (self.area <= MAX_AREA * zoom**2))


class FrameScores(NamedTuple):
    """The score of a clip and of each of its pixel frames, which curves over time are made from."""

    value: float
    """Of the clip, 0..1: the mean of the frames unless the scorer says otherwise."""
    frames: tuple[float | None, ...] = ()
    """[T], None where no frame was looked at; a score of two frames stands at the later one. Empty if the
    scorer does not work frame by frame."""


def check_frames(frames: Frames) -> None:
    """Raise ValueError unless frames are uint8 [81, 32, 32, 3]."""
    if frames.shape != (PIXEL_FRAMES, SIZE, SIZE, 3) or frames.dtype != np.uint8:
        raise ValueError(
            f"A toybox scorer was given {frames.dtype} frames of shape {frames.shape}, "
            f"expected uint8 {(PIXEL_FRAMES, SIZE, SIZE, 3)}; decode the clip and average it down first."
        )


def at_frames(
    values: Sequence[float] | NDArray[Any], first: int = 0, stride: int = PROBE_STRIDE
) -> tuple[float | None, ...]:
    """Scores of probed frames in their places among all PIXEL_FRAMES: from `first` on, `stride` apart."""
    placed: list[float | None] = [None] * PIXEL_FRAMES
    for number, value in enumerate(values):
        placed[first + number * stride] = float(value)
    return tuple(placed)


def color_index(color: str) -> int:
    """Column of a colour in Seen and Blobs."""
    return _COLOR_NAMES.index(color)


@cache
def _scene_means() -> Floats:
    return np.stack([background(scene).reshape(-1, 3).mean(0) for scene in SCENES])


@cache
def _palette() -> Floats:
    return np.stack([object_color(color) for color in COLORS])


def see(frames: Frames, stride: int = PROBE_STRIDE) -> Seen:
    """Cover of every pixel by each object colour, in the natural style and under any camera.

    A pixel is background + alpha (colour - background); it belongs to the colour whose line passes nearest,
    if that is near enough, and if most of its 3 x 3 neighbourhood does too (which removes noise and stars).
    """
    check_frames(frames)
    probed = frames[::stride].astype(np.float32)
    median = np.median(probed[:: max(1, len(probed) // 5)].reshape(-1, 3), axis=0)
    nearest = int(np.argmin(np.abs(_scene_means() - median).sum(1)))
    base = _scene_means()[nearest]
    lines = _palette() - base  # [K, 3]
    offset = (probed - base).reshape(-1, 3)
    dot = offset @ lines.T  # [T * pixels, K]
    length = (lines**2).sum(1)
    along = np.clip(dot / length, 0, 1)
    residual = (offset**2).sum(1, keepdims=True) - 2 * along * dot + along * along * length
    owner = residual.argmin(1)
    rows = np.arange(len(owner))
    cover = np.where(residual[rows, owner] < MAX_RESIDUAL**2, along[rows, owner], 0.0)
    cover[cover < 0.25] = 0.0
    alpha = np.zeros((len(owner), len(lines)), np.float32)
    alpha[rows, owner] = cover
    alpha = np.ascontiguousarray(alpha.reshape(len(probed), SIZE, SIZE, -1).transpose(0, 3, 1, 2))
    for frame in range(len(probed)):
        for color in np.flatnonzero(alpha[frame].any((1, 2))):
            plane = alpha[frame, color]
            crowd = cv2.blur((plane > 0.4).astype(np.float32), (3, 3), borderType=cv2.BORDER_REPLICATE)
            plane[crowd < 0.3] = 0.0
    return Seen(probed, SCENES[nearest], alpha)


def blobs(alpha: Floats) -> Blobs:
    """Area and centre of mass of each colour, from alpha [T, K, 32, 32]."""
    axis = np.arange(SIZE, dtype=np.float32)
    area = alpha.sum((2, 3))
    safe = np.where(area > 0, area, np.nan)
    x = (alpha.sum(2) @ axis) / safe
    y = (alpha.sum(3) @ axis) / safe
    return Blobs(area, x, y)


def shape_overlaps(plane: Floats, x: Floats, y: Floats) -> Floats:
    """Soft intersection over union of planes [T, 32, 32] with each shape drawn at their centres, [T, S].

    A frame whose centre is NaN overlaps nothing.
    """
    found = np.isfinite(x)
    overlaps = np.zeros((len(plane), len(SHAPES)), np.float32)
    for column, shape in enumerate(SHAPES):
        template = shape_alpha(shape, x[found], y[found])
        both = np.minimum(plane[found], template).sum((1, 2))
        overlaps[found, column] = both / np.maximum(plane[found], template).sum((1, 2))
    return overlaps


def is_shape(overlaps: Floats, shape: str) -> NDArray[np.bool_]:
    """In which frames [T] the named shape fits best, and well; overlaps as from shape_overlaps."""
    column = SHAPES.index(shape)
    return np.asarray((overlaps.argmax(1) == column) & (overlaps[:, column] >= MIN_SHAPE_OVERLAP))


def drift(x: Floats, y: Floats) -> tuple[float, float]:
    """Displacement in pixels from the first to the last three probes with a centre.

    (NaN, NaN) if under half of them have one.
    """
    found = np.flatnonzero(np.isfinite(x))
    if len(found) < len(x) / 2:
        return float("nan"), float("nan")
    first, last = found[:3], found[-3:]
    return float(x[last].mean() - x[first].mean()), float(y[last].mean() - y[first].mean())


def motion_of(x: Floats, y: Floats) -> str | None:
    """Which of facts.MOTIONS a path is: at least 6 pixels along one axis, under half along the other."""
    across, down = drift(x, y)
    if not np.isfinite(across):
        return None
    if max(abs(across), abs(down)) < 2.5:
        return "still"
    if abs(across) >= 6 and abs(down) < abs(across) / 2:
        return "right" if across > 0 else "left"
    if abs(down) >= 6 and abs(across) < abs(down) / 2:
        return "down" if down > 0 else "up"
    return None


@cache
def _static_backgrounds(style: str) -> Floats:
    return np.stack([background(scene, style) for scene in SCENES])


def scene_errors(frames: Frames, style: str, stride: int = PROBE_STRIDE) -> Floats:
    """Mean absolute difference from each static scene in a style, float32 [T, scenes]; at most 40 a pixel.

    The bound keeps an object from counting for more than the pixels it hides.
    """
    check_frames(frames)
    probed = frames[::stride].astype(np.float32)
    errors = np.empty((len(probed), len(SCENES)), np.float32)
    for column, image in enumerate(_static_backgrounds(style)):
        errors[:, column] = np.minimum(np.abs(probed - image).mean(-1), 40.0).mean((1, 2))
    return errors


class StyleReading(NamedTuple):
    """How near each probed frame is to each style."""

    scene_error: Floats
    """Distance from the nearest scene in each style, float32 [T, styles]."""
    gray: Floats
    """Mean distance of all pixels from the monochrome line of colours, [T], in RGB units."""
    brown: Floats
    """The same of the sepia line."""


def read_style(frames: Frames, stride: int = STYLE_STRIDE) -> StyleReading:
    """How near each probed frame is to each style, whatever it shows (fixed camera)."""
    probed = frames[::stride].astype(np.float32)
    error = np.stack([scene_errors(frames, style, stride).min(1) for style in STYLES], axis=1)
    luma = probed @ LUMA
    gray = np.abs(probed - luma[..., None]).mean(-1).mean((1, 2))
    # Sepia is luma * (1, 0.78, 0.5) + (14, 6, 0) (render.apply_style); its own luma is luma * 0.814 + 7.7.
    origin = (luma - 7.7) / 0.814
    brown = origin[..., None] * np.array([1.0, 0.78, 0.5], np.float32) + np.array([14, 6, 0], np.float32)
    return StyleReading(error, gray, np.abs(probed - brown).mean(-1).mean((1, 2)))


class CameraReading(NamedTuple):
    """How well camera moves explain a clip, in luma units, at most 40 a pixel."""

    errors: Floats
    """Best error of each of facts.CAMERAS, float32 [cameras]."""
    motionless: float
    """Best error of a view that is moved or zoomed but does not change."""


@cache
def _camera_bank(scene: str) -> tuple[Floats, NDArray[np.int64]]:
    """Luma of the empty scene by camera, [sequences, T, 32, 32], and each sequence's camera number."""
    sequences, numbers = [], []
    probes = len(range(0, PIXEL_FRAMES, PROBE_STRIDE))
    one = np.ones(1, np.float32)
    # Moved but motionless views explain a frozen clip better than any move does.
    motionless = [(0.0, 0.0, zoom) for zoom in (1.2, 1.4, 1.55, 1.7)]
    motionless += [(x, y, 1.0) for x in (-2.4, -1.5, 0.0, 1.5, 2.4) for y in (-1.4, 0.0, 1.4) if x or y]
    for x, y, zoom in motionless:
        view = moved_background(background(scene), one * x, one * y, one * zoom)
        sequences.append(np.repeat(view @ LUMA, probes, axis=0))
        numbers.append(MOTIONLESS)
    for number, camera in enumerate(CAMERAS):
        for phase in np.arange(16) / 16 if camera == "shake" else (0.0,):
            path = [part[::PROBE_STRIDE] for part in camera_path(camera, float(phase))]
            seen = moved_background(background(scene), *path)
            sequences.append(seen @ LUMA)
            numbers.append(number)
    return np.stack(sequences), np.array(numbers)


def read_camera(seen: Seen) -> CameraReading:
    """How well each camera move over the seen scene explains the pixels outside objects."""
    bank, numbers = _camera_bank(seen.scene)
    luma = seen.frames @ LUMA
    outside = (seen.alpha.sum(1) < 0.2).astype(np.float32)
    # A fixed brightness offset of a model is no camera move: compare after removing each frame's mean.
    mean = (luma * outside).sum((1, 2), keepdims=True) / np.maximum(outside.sum((1, 2), keepdims=True), 1)
    bank_mean = (bank * outside).sum((2, 3), keepdims=True) / np.maximum(
        outside.sum((1, 2), keepdims=True), 1
    )
    gap = np.minimum(np.abs((luma - mean) - (bank - bank_mean)), 40.0) * outside
    each = gap.sum((1, 2, 3)) / max(float(outside.sum()), 1.0)
    errors = np.array([each[numbers == number].min() for number in range(len(CAMERAS))], np.float32)
    return CameraReading(errors, float(each[numbers == MOTIONLESS].min()))


@cache
def _action_bank() -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Stick figures [T, sequences, pixels], squared sums [T, sequences], each sequence's action number."""
    moments = np.arange(0, PIXEL_FRAMES, PROBE_STRIDE)
    sequences, numbers = [], []
    for number, action in enumerate(ACTIONS):
        for phase in (0.02, 0.07, 0.13, 0.18):
            for x in np.arange(-2.0, 2.1, 1.0):
                alpha = person_alpha(action, float(CENTER + x), phase, moments)
                sequences.append(alpha.reshape(len(moments), -1))
                numbers.append(number)
                if phase in (0.02, 0.13):
                    # A pose held throughout is no action: the frozen clip must find its own match.
                    sequences.append(np.repeat(sequences[-1][:1], len(moments), axis=0))
                    numbers.append(MOTIONLESS)
    bank = np.ascontiguousarray(np.stack(sequences, axis=1))
    return bank, (bank**2).sum(-1), np.array(numbers)


class ActionReading(NamedTuple):
    """How well stick figures explain a clip: mean Dice overlaps, 0..1."""

    overlaps: Floats
    """With the best sequence of each of facts.ACTIONS, float32 [actions]."""
    motionless: float
    """With the best pose held throughout."""


def read_action(seen: Seen) -> ActionReading:
    """How well the coloured pixels, of whatever colour, follow the stick figure through each action."""
    bank, squares, numbers = _action_bank()
    plane = seen.alpha.max(1).reshape(len(seen.alpha), -1)
    both = np.einsum("tsp,tp->ts", bank, plane, optimize=True)
    dice = (2 * both / (squares + (plane**2).sum(-1, keepdims=True))).mean(0)
    overlaps = np.array([dice[numbers == number].max() for number in range(len(ACTIONS))], np.float32)
    return ActionReading(overlaps, float(dice[numbers == MOTIONLESS].max()))
