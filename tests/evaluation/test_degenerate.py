"""Near-black, flat and noise clips: closed-form clips on both sides of each limit."""

import numpy as np
import pytest

from evaluation.degenerate import (
    DARK,
    DARK_SPREAD,
    FLAT_SPREAD,
    NOISE_IN_SPACE,
    NOISE_IN_TIME,
    degenerate,
    grey_of,
    measure_picture,
)
from evaluation.toybox.controls import TOYBOX_CONTROLS, control_frames
from evaluation.toybox.suite import toybox_prompts


def halves(low: int, high: int, frames: int = 5) -> np.ndarray:
    """Left half `low`, right half `high`: mean (low + high) / 2, spread (high - low) / 2."""
    clip = np.full((frames, 60, 80, 3), low, np.uint8)
    clip[:, :, 40:] = high
    return clip


def mosaic(share: float, frames: int = 40) -> np.ndarray:
    """Noise of single pixels on two halves; pixels apart are correlated by about `share`."""
    draw = np.random.default_rng(0)
    noise = draw.standard_normal((1, 60, 80, 1))
    side = np.where(np.arange(80) < 40, -1.0, 1.0)[None, None, :, None]
    grey = 128 + 30 * (share**0.5 * side + (1 - share) ** 0.5 * noise)
    return grey.clip(0, 255).astype(np.uint8).repeat(3, axis=3).repeat(frames, axis=0)


def flicker(share: float, frames: int = 80) -> np.ndarray:
    """Smooth pictures, each new but for a common one: successive frames are correlated by about `share`."""
    draw = np.random.default_rng(0)
    small = draw.standard_normal((frames, 12, 16, 1))
    grey = 128 + 30 * (share**0.5 * draw.standard_normal((1, 12, 16, 1)) + (1 - share) ** 0.5 * small)
    return grey.clip(0, 255).astype(np.uint8).repeat(5, axis=1).repeat(5, axis=2).repeat(3, axis=3)


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        (halves(4, 11), "near-black"),  # mean 7.5, spread 3.5
        (halves(5, 12), None),  # mean 8.5, spread 3.5
        (halves(3, 12), None),  # mean 7.5, spread 4.5
        (halves(100, 103), "flat"),  # spread 1.5
        (halves(100, 105), None),  # spread 2.5
        (mosaic(0.05), "noise in space"),
        (mosaic(0.2), None),
        (flicker(0.0), "noise in time"),
        (flicker(0.2), None),
    ],
)
def test_each_limit_parts_a_clip_below_it_from_one_above(frames: np.ndarray, says: str | None) -> None:
    """Guards against a method whose failure is scored like any other, and against stopping a dim one."""
    assert (DARK, DARK_SPREAD, FLAT_SPREAD, NOISE_IN_SPACE, NOISE_IN_TIME) == (8.0, 4.0, 2.0, 0.1, 0.05)
    found = degenerate(frames)
    assert found is None if says is None else found is not None and says in found


def test_what_is_measured_has_closed_forms() -> None:
    found = measure_picture(halves(10, 30))
    assert found == pytest.approx((20.0, 10.0, 1.0, 1.0))
    one = halves(10, 30)[:1]
    assert measure_picture(one).in_time == 1.0
    turned = np.concatenate([halves(10, 30, 1), halves(30, 10, 1)] * 3)
    assert measure_picture(turned).in_time == pytest.approx(-1.0)


def test_grey_is_the_mean_of_the_channels_bit_for_bit() -> None:
    """Every sum of three bytes, white included, which no byte holds."""
    low, middle, high = np.meshgrid(np.arange(0, 256, 5), np.arange(0, 256, 3), [0, 1, 127, 254, 255])
    frame = np.stack([low, middle, high], axis=-1).reshape(-1, 5, 3).astype(np.uint8)
    assert np.array_equal(grey_of(frame), frame.mean(axis=2, dtype=np.float32))


def test_stars_at_night_are_a_picture() -> None:
    """A bright spot on black: dark on average, with a spread of 38 levels."""
    clip = np.zeros((3, 60, 80, 3), np.uint8)
    clip[:, 10:20, 10:28] = 200
    assert measure_picture(clip).brightest == pytest.approx(7.5)
    assert degenerate(clip) is None


@pytest.mark.parametrize("control", TOYBOX_CONTROLS)
@pytest.mark.slow
def test_of_the_embedded_controls_noise_alone_is_found(control: str) -> None:
    """Guards against limits that stop the embedded suite, whose scenes are as dark as night."""
    prompts = toybox_prompts(20260701)
    for prompt in prompts[::15]:
        frames = control_frames(control, prompts, prompt, 0)
        found = degenerate(frames.repeat(4, axis=1).repeat(4, axis=2))
        assert (found is not None) == (control == "noise"), (prompt.id, found)
