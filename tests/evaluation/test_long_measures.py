"""Measures of long clips on series whose answers are known."""

from collections.abc import Callable

import numpy as np
import pytest

from evaluation.long_measures import (
    border_jump,
    border_pairs,
    end_drift,
    latent_flicker,
    loop_length,
    motion_persistence,
    relative_drift,
    second_means,
    slope,
)

FRAMES, FPS = 957, 16
TIME = np.arange(FRAMES)


def test_a_fade_has_the_drift_and_the_slope_of_its_line() -> None:
    fade = 1 - 0.4 * TIME / (FRAMES - 1)
    per_frame = -0.4 / (FRAMES - 1)
    assert end_drift(fade) == pytest.approx(per_frame * (FRAMES - 80), abs=1e-12)
    assert end_drift(fade, edge=48) == pytest.approx(per_frame * (FRAMES - 128), abs=1e-12)
    assert relative_drift(fade) == pytest.approx(per_frame * (FRAMES - int(0.15 * FRAMES)), abs=1e-12)
    seconds = [value for value in second_means(list(fade[:944]), FPS) if value is not None]
    assert slope(seconds) == pytest.approx(per_frame * FPS * 10, abs=1e-7)


def test_seconds_hold_their_frames_and_the_last_what_is_left() -> None:
    values: list[float | None] = [*map(float, range(33))]
    values[0] = None
    assert second_means(values, 16) == [8.0, 23.5, 32.0]
    assert second_means([None] * 16 + [1.0], 16) == [None, 1.0]


def test_a_frozen_clip_has_no_drift_and_no_motion() -> None:
    moving_then_frozen = np.where(np.arange(FRAMES - 1) < 84, 0.3, 0.0)
    assert end_drift(np.full(FRAMES, 0.7)) == 0
    assert motion_persistence(np.where(np.arange(FRAMES - 1) < 200, 0.3, 0.0), FPS) == 0
    assert motion_persistence(np.full(FRAMES - 1, 0.3), FPS) == pytest.approx(1)
    assert motion_persistence(np.zeros(FRAMES - 1), FPS) is None
    assert motion_persistence(moving_then_frozen, FPS) == 0


@pytest.mark.parametrize("frames", [81, 249, 957])
def test_borders_are_where_chunks_and_latents_begin(frames: int) -> None:
    latents = -(-np.arange(frames) // 4)  # frame 0 alone, then four to a latent frame
    chunks = latents // 3
    pairs = np.arange(frames - 1)
    new_chunk, new_latent = np.diff(chunks) > 0, np.diff(latents) > 0
    chunk, latent, inside = border_pairs(frames)
    assert chunk.tolist() == pairs[new_chunk].tolist()
    assert latent.tolist() == pairs[new_latent & ~new_chunk].tolist()
    assert inside.tolist() == pairs[~new_latent].tolist()


def test_flicker_of_every_other_chunk_shows_at_chunk_borders_alone() -> None:
    change = np.ones(FRAMES - 1)
    change[border_pairs(FRAMES)[0]] += 8
    assert border_jump(change) == pytest.approx(9)
    assert border_jump(np.ones(FRAMES - 1)) == 1
    assert border_jump(np.zeros(FRAMES - 1)) is None
    steps = np.zeros(FRAMES - 1)
    steps[np.concatenate(border_pairs(FRAMES)[:2])] = 3
    steps[border_pairs(FRAMES)[2]] = 1.5
    assert (border_jump(steps), latent_flicker(steps)) == (pytest.approx(1), pytest.approx(2))


def test_a_loop_is_found_at_its_length_and_nothing_else_is() -> None:
    rng = np.random.default_rng(5)
    scene = rng.standard_normal(64)
    loop = scene + 0.3 * rng.standard_normal((84, 64))
    features = np.concatenate([loop] * 12)[:FRAMES]
    assert loop_length(features) == 84
    assert loop_length(np.tile(scene, (FRAMES, 1))) is None  # frozen
    assert loop_length(rng.standard_normal((FRAMES, 64))) is None  # noise
    assert loop_length(scene + np.outer(TIME / FRAMES, rng.standard_normal(64))) is None  # a fade


@pytest.mark.parametrize(
    "short",
    [
        lambda: end_drift(np.ones(159)),
        lambda: slope([1.0, 2.0]),
        lambda: motion_persistence(np.ones(159), FPS),
        lambda: border_jump(np.ones(11)),
        lambda: end_drift(np.full(200, np.nan)),
        lambda: loop_length(np.ones((63, 4))),
    ],
)
def test_too_short_or_no_number_is_one_sentence(short: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"needs|looked for|finite"):
        short()
