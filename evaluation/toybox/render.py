"""Facts -> clip: uint8 [81, 32, 32, 3] (or longer), 16 a second. NumPy only, vectorised over pixel frames.

T pixel frames, positions in pixels (x right, y down; pixel i covers i - 0.5 .. i + 0.5). Everything is drawn
from signed distances, so edges are anti-aliased and motion is sub-pixel. The backgrounds are fixed, smooth
and tile in both axes.
"""

import hashlib
from functools import cache

import numpy as np
from numpy.typing import NDArray

from evaluation.toybox.facts import COLORS, FIXED, PLAIN, Facts, check_facts, facts_key

PIXEL_FRAMES = 81
SIZE = 32
CENTER = (SIZE - 1) / 2
TRAVEL = 17.0  # pixels a moving object covers in a clip: about 0.21 a frame, always in view
PAN = 16.0  # pixels the camera pans in a clip
ZOOM = 1.7  # ratio between the widest and the closest view
SHAKE = 2.5  # pixels of camera shake to each side
SHAKE_PERIOD = 18.0  # pixel frames; slow enough for a codec that joins four pixel frames

Floats = NDArray[np.float32]
Frames = NDArray[np.uint8]

_AXIS = np.arange(SIZE, dtype=np.float32)
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def _smooth_noise(seed: int, waves: int) -> Floats:
    """A [32, 32] tileable field of low whole-number frequencies, zero mean, peak about 1."""
    rng = np.random.Generator(np.random.Philox(seed))
    y, x = np.mgrid[0:SIZE, 0:SIZE] * (2 * np.pi / SIZE)
    field = np.zeros((SIZE, SIZE))
    for fx, fy, phase in zip(
        rng.integers(1, 4, waves), rng.integers(-3, 4, waves), rng.uniform(0, 2 * np.pi, waves), strict=True
    ):
        field += np.cos(fx * x + fy * y + phase)
    return np.asarray(field / np.abs(field).max(), np.float32)


def _texture(scene: str) -> Floats:
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    if scene == "meadow":
        light, base, range_ = _smooth_noise(3, 7), (66, 96, 58), (20, 26, 16)
    elif scene == "desert":
        wave = np.sin(2 * np.pi * (2 * y / SIZE) + 1.6 * np.sin(2 * np.pi * x / SIZE))
        light, base, range_ = np.asarray(wave, np.float32), (204, 180, 132), (20, 20, 22)
    elif scene == "night":
        light = np.zeros((SIZE, SIZE), np.float32)
        for sx, sy, glow in (
            (4, 5, 1.0),
            (14, 11, 0.8),
            (25, 4, 0.9),
            (21, 20, 1.0),
            (7, 24, 0.9),
            (29, 27, 0.8),
            (14, 29, 0.7),
        ):
            dx = (x - sx + SIZE / 2) % SIZE - SIZE / 2
            dy = (y - sy + SIZE / 2) % SIZE - SIZE / 2
            light += glow * np.exp(-(dx**2 + dy**2) / 2.6)
        base, range_ = (20, 24, 54), (92, 92, 84)
    elif scene == "stone":
        row = np.floor(y / 8)
        across = (x + 8 * (row % 2)) % 16
        joint = np.minimum(np.minimum(across, 16 - across), np.minimum(y % 8, 8 - y % 8))
        light = np.asarray(np.clip(joint / 1.6, 0, 1) * 2 - 1, np.float32)
        base, range_ = (88, 96, 118), (20, 20, 20)
    else:
        raise ValueError(f"Toybox has no scene {scene!r}.")
    return np.asarray(base, np.float32) + light[..., None] * np.asarray(range_, np.float32)


def apply_style(rgb: Floats, style: str) -> Floats:
    """Colours [..., 3] in 0..255 under a style; linear but for the clipping, so it commutes with blending."""
    luma = (rgb @ LUMA)[..., None]
    if style == PLAIN:
        styled = rgb
    elif style == "monochrome":
        styled = np.repeat(luma, 3, axis=-1)
    elif style == "sepia":
        styled = luma * np.array([1.0, 0.78, 0.5], np.float32) + np.array([14, 6, 0], np.float32)
    elif style == "neon":
        styled = np.asarray(0.4 * luma + 2.6 * (rgb - luma), np.float32)
    elif style == "negative":
        styled = 255 - rgb
    else:
        raise ValueError(f"Toybox has no style {style!r}.")
    return np.asarray(np.clip(styled, 0, 255), np.float32)


@cache
def background(scene: str, style: str = PLAIN) -> Floats:
    """The static background, float32 [32, 32, 3] in 0..255; read-only."""
    image = apply_style(_texture(scene), style)
    image.setflags(write=False)
    return image


def object_color(color: str, style: str = PLAIN) -> Floats:
    """An object's colour, float32 [3] in 0..255."""
    return apply_style(np.asarray(COLORS[color], np.float32), style)


def moved_background(image: Floats, shift_x: Floats, shift_y: Floats, zoom: Floats) -> Floats:
    """The tiled background [32, 32, 3] seen by a moved camera, float32 [T, 32, 32, 3]; shifts and zoom are
    [T].

    Screen pixel p shows world pixel (p - c) / zoom + c + shift, c the image's centre; bilinear in each
    axis.
    """

    def weights(shift: Floats) -> Floats:
        at = (_AXIS - CENTER)[None] / zoom[:, None] + CENTER + shift[:, None]  # [T, 32]
        low = np.floor(at)
        part = (at - low).astype(np.float32)[..., None]
        column = low.astype(np.int64)[..., None] % SIZE
        axis = np.arange(SIZE)
        near, far = axis == column, axis == (column + 1) % SIZE
        return np.asarray(near * (1 - part) + far * part, np.float32)  # [T, 32 screen, 32 world]

    rows = weights(shift_y) @ image.reshape(SIZE, SIZE * 3)  # [T, 32, 96]
    rows = rows.reshape(-1, SIZE, SIZE, 3)
    seen = weights(shift_x)[:, None] @ rows  # [T, 1, 32, 32] @ [T, 32, 32, 3]
    return np.asarray(seen, np.float32)


def shape_alpha(shape: str, x: Floats, y: Floats, scale: Floats | float = 1.0) -> Floats:
    """How much of each pixel a shape covers, float32 [T, 32, 32] in 0..1; x, y [T] is its centre of mass.

    Sizes in pixels: circle 13 across, square 12, triangle 15 wide and 13 high, cross 14 with arms of 5.
    """
    zoom = np.broadcast_to(np.asarray(scale, np.float32), x.shape)[:, None, None]
    dx = (_AXIS[None, None, :] - x[:, None, None]) / zoom
    dy = (_AXIS[None, :, None] - y[:, None, None]) / zoom
    if shape == "circle":
        distance = np.sqrt(dx * dx + dy * dy) - 6.5
    elif shape == "square":
        distance = np.maximum(np.abs(dx), np.abs(dy)) - 6.0
    elif shape == "triangle":
        slope = np.float32(np.hypot(7.5, 13.0))
        distance = np.maximum(dy - 13 / 3, (13.0 * np.abs(dx) - 7.5 * (dy + 26 / 3)) / slope)
    elif shape == "cross":
        ax, ay = np.abs(dx), np.abs(dy)
        distance = np.minimum(np.maximum(ax - 7.0, ay - 2.6), np.maximum(ay - 7.0, ax - 2.6))
    else:
        raise ValueError(f"Toybox has no shape {shape!r}.")
    return np.asarray(np.clip(0.5 - distance * zoom, 0, 1), np.float32)


def lasts_any_time(facts: Facts) -> bool:
    """Whether a clip of these facts can be of any length: nothing moves, or it moves to and fro."""
    return facts["motion"] == "still" and facts["camera"] in (FIXED, "shake") and facts["action"] != "walk"


def person_alpha(action: str, x: float, phase: float, frames: NDArray[np.int64] | None = None) -> Floats:
    """Coverage of the stick figure, float32 [T, 32, 32]. x: its place; phase: part of the action's period."""
    t = (np.arange(PIXEL_FRAMES) if frames is None else frames).astype(np.float32)
    zero = np.zeros_like(t)

    def swing(period: float) -> Floats:
        return np.asarray(np.sin(2 * np.pi * (t / period + phase)), np.float32)

    def rise(period: float) -> Floats:
        return np.asarray((1 - np.cos(2 * np.pi * (t / period + phase))) / 2, np.float32)

    place, lift, lean, crouch, stride = zero + x, zero, zero, zero, zero + 0.32
    left_arm, right_arm = zero - 0.5, zero + 0.5  # angles from straight down, outwards to each side
    if action == "wave":
        right_arm = 1.95 + 0.55 * swing(27.0)
    elif action == "jump":
        lift = 6.0 * rise(27.0)
        left_arm, right_arm = -0.5 - 0.2 * lift, 0.5 + 0.2 * lift
    elif action == "walk":
        place = x - 6.0 + 12.0 * t / (PIXEL_FRAMES - 1)
        stride = 0.62 * swing(27.0)
        left_arm, right_arm = -stride, stride
    elif action == "bow":
        lean = 1.25 * rise(40.0)
        left_arm, right_arm = -0.1 + zero, 0.1 + zero
    elif action == "sit":
        ramp = np.clip((t + 40 * phase - 12) / 28, 0, 1)
        crouch = np.asarray(ramp * ramp * (3 - 2 * ramp), np.float32)
    else:
        raise ValueError(f"Toybox has no action {action!r}.")

    hip_x, hip_y = place - 2.0 * crouch, 21.0 - lift + 4.5 * crouch
    neck_x, neck_y = hip_x + 7.5 * np.sin(lean), hip_y - 7.5 * np.cos(lean)
    head_x, head_y = neck_x + 3.6 * np.sin(lean), neck_y - 3.6 * np.cos(lean)
    limbs = [(hip_x, hip_y, neck_x, neck_y)]
    for arm in (left_arm, right_arm):
        limbs.append((neck_x, neck_y + 0.8, neck_x + 6.0 * np.sin(arm), neck_y + 0.8 + 6.0 * np.cos(arm)))
    for side in (-1.0, 1.0):
        step = side * stride
        # Standing legs are straight; sitting thighs point forward and shins down.
        thigh, shin = step * (1 - crouch) + (1.45 + 0.1 * side) * crouch, step * (1 - crouch)
        knee_x, knee_y = hip_x + 4.2 * np.sin(thigh), hip_y + 4.2 * np.cos(thigh)
        limbs.append((hip_x, hip_y, knee_x, knee_y))
        limbs.append((knee_x, knee_y, knee_x + 4.2 * np.sin(shin), knee_y + 4.2 * np.cos(shin)))

    px, py = _AXIS[None, None, :], _AXIS[None, :, None]
    nearest = np.square(px - head_x[:, None, None]) + np.square(py - head_y[:, None, None])
    nearest = np.sqrt(nearest) - np.float32(3.1)
    squared = np.full(nearest.shape, np.inf, np.float32)
    for x0, y0, x1, y1 in limbs:
        ex, ey = x1 - x0, y1 - y0
        unit = 1 / np.maximum(ex * ex + ey * ey, 1e-6)
        qx, qy = px - x0[:, None, None], py - y0[:, None, None]
        along = np.clip(qx * (ex * unit)[:, None, None] + qy * (ey * unit)[:, None, None], 0, 1)
        squared = np.minimum(
            squared, (qx - along * ex[:, None, None]) ** 2 + (qy - along * ey[:, None, None]) ** 2
        )
    nearest = np.minimum(nearest, np.sqrt(squared) - np.float32(1.25))
    return np.asarray(np.clip(0.5 - nearest, 0, 1), np.float32)


def _jitter(facts: Facts, variation: int) -> NDArray[np.float64]:
    """Five numbers in -1..1 that depend on the facts and the variation only."""
    digest = hashlib.sha256(f"{facts_key(facts)}|{variation}".encode()).digest()
    return np.frombuffer(digest[:20], "<u4") / 2.0**31 - 1.0


def camera_path(camera: str, phase: float = 0.0, frames: int = PIXEL_FRAMES) -> tuple[Floats, Floats, Floats]:
    """Shift x, shift y (pixels of the world) and zoom of the camera by pixel frame, each float32 [frames]."""
    t = np.linspace(0, 1, frames, dtype=np.float32)
    zero, one = np.zeros_like(t), np.ones_like(t)
    if camera == "pan_left":
        return -PAN * t, zero, one
    if camera == "pan_right":
        return PAN * t, zero, one
    if camera == "zoom_in":
        return zero, zero, (ZOOM**t).astype(np.float32)
    if camera == "zoom_out":
        return zero, zero, (ZOOM ** (1 - t)).astype(np.float32)
    if camera == "shake":
        turn = 2 * np.pi * (np.arange(frames) / SHAKE_PERIOD + phase)
        return (
            (SHAKE * np.sin(turn)).astype(np.float32),
            (SHAKE * np.sin(2 * turn) * 0.6).astype(np.float32),
            one,
        )
    if camera == FIXED:
        return zero, zero, one
    raise ValueError(f"Toybox has no camera move {camera!r}.")


def _places(facts: Facts, jitter: NDArray[np.float64], frames: int) -> list[tuple[Floats, Floats]]:
    """World centre of every shape in each pixel frame, [frames] each."""
    t = np.linspace(-0.5, 0.5, frames, dtype=np.float32)
    if facts["relation"] is not None:
        axis, sign = {"left": (0, -1), "right": (0, 1), "above": (1, -1), "below": (1, 1)}[facts["relation"]]
        places = []
        for number in range(2):
            along = CENTER + sign * (-7.7 if number else 7.7) + 0.5 * jitter[number]
            across = CENTER + 4.0 * jitter[2 + number]
            x, y = (along, across) if axis == 0 else (across, along)
            places.append((np.full_like(t, x), np.full_like(t, y)))
        return places
    motion, camera = facts["motion"], facts["camera"]
    along = np.float32(CENTER + 0.7 * jitter[0])
    across = np.float32(CENTER + 5.0 * jitter[1])
    if motion in ("left", "right"):
        return [(along + t * TRAVEL * (1 if motion == "right" else -1), np.full_like(t, across))]
    if motion in ("up", "down"):
        return [(np.full_like(t, across), along + t * TRAVEL * (1 if motion == "down" else -1))]
    if camera in ("pan_left", "pan_right"):
        middle = along + (PAN / 2 if camera == "pan_right" else -PAN / 2)
        return [(np.full_like(t, middle), np.full_like(t, across))]
    reach = 5.0 if camera == FIXED else 2.0
    return [(np.full_like(t, CENTER + reach * jitter[0]), np.full_like(t, CENTER + reach * jitter[1]))]


def render(facts: Facts, variation: int, length: int = PIXEL_FRAMES) -> Frames:
    """The clip of these facts, uint8 [length, 32, 32, 3]; `variation` moves start places and phases only.

    A longer clip begins with the shorter one. Raises ValueError if the facts describe no clip of this world,
    or none of another length than PIXEL_FRAMES: what crosses the picture once has left it then.
    """
    check_facts(facts)
    if length != PIXEL_FRAMES and not lasts_any_time(facts):
        raise ValueError(
            f"Facts with motion {facts['motion']!r}, camera {facts['camera']!r} and action "
            f"{facts['action']!r} make clips of {PIXEL_FRAMES} frames, not of {length}; leave them out of a "
            "suite of long clips."
        )
    jitter = _jitter(facts, variation)
    image = background(facts["scene"], facts["style"])
    phase = float(0.5 + 0.5 * jitter[4])
    static = facts["motion"] == "still" and facts["camera"] == FIXED and facts["action"] is None
    frames = slice(0, 1) if static else slice(None)

    if facts["camera"] == FIXED:
        clip = np.repeat(image[None], 1 if static else length, axis=0)
        shift_x = shift_y = np.zeros(len(clip), np.float32)
        zoom = np.ones(len(clip), np.float32)
    else:
        shift_x, shift_y, zoom = camera_path(facts["camera"], phase, length)
        clip = moved_background(image, shift_x, shift_y, zoom)

    if facts["action"] is not None:
        moments = np.arange(length)
        alphas = [person_alpha(facts["action"], float(CENTER + 2.0 * jitter[0]), 0.2 * phase, moments)]
    else:
        alphas = []
        for thing, (x, y) in zip(facts["objects"], _places(facts, jitter, length), strict=True):
            screen_x = (x[frames] - CENTER - shift_x) * zoom + CENTER
            screen_y = (y[frames] - CENTER - shift_y) * zoom + CENTER
            alphas.append(shape_alpha(thing["shape"], screen_x, screen_y, zoom))
    for thing, alpha in zip(facts["objects"], alphas, strict=True):
        clip += alpha[..., None] * (object_color(thing["color"], facts["style"]) - clip)

    pixels = (clip + np.float32(0.5)).astype(np.uint8)
    return np.repeat(pixels, length, axis=0) if static else pixels
