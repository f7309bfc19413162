"""What a long clip is asked beyond its scores: drift with a sign, motion that lives on, borders, loops.

Pure functions of one clip's series, one number a frame, a pair or a second. Each names its formula and where
it is from, because published "drift" has at least four; none of them clips or takes an absolute value unless
its source does. A frozen clip has no drift at all: read `motion_persistence` beside every drift.
"""

import math
from collections.abc import Sequence

import numpy as np

from evaluation.intervals import Array

CHUNK_FRAMES = 12
"""Pixel frames of a chunk of three latent frames, but for the first, which has nine."""
LATENT_FRAMES = 4
"""Pixel frames of a latent frame, but for the first, which has one."""
WINDOW_FRAMES = 80
"""Of end drift: the first and last five seconds at 16 frames a second."""
REDUCED_MOTION = 0.85
"""Motion persistence below this is called reduced (Commit Forcing's threshold)."""
SHORTEST_PERIOD = 32
"""Pixel frames of the shortest loop that is looked for, two seconds."""


def _series(values: Sequence[float] | Array, what: str, shortest: int) -> Array:
    """[N] float64. Raises ValueError if it is shorter than `shortest` or not finite everywhere."""
    found = np.asarray(values, np.float64)
    if found.ndim != 1 or len(found) < shortest:
        raise ValueError(
            f"{what} needs a series of at least {shortest} values; found {len(found)}. The clip is too "
            f"short for it."
        )
    if not np.isfinite(found).all():
        raise ValueError(f"{what}: value {int(np.argmin(np.isfinite(found)))} is not a finite number.")
    return found


def second_means(values: Sequence[float | None], fps: int) -> list[float | None]:
    """Mean of the frames of each second that have a value; the last second holds what is left.

    values: [T]; a second without a value is None.
    """
    means: list[float | None] = []
    for start in range(0, len(values), fps):
        found = [value for value in values[start : start + fps] if value is not None]
        means.append(round(math.fsum(found) / len(found), 9) if found else None)
    return means


def end_drift(values: Sequence[float] | Array, window: int = WINDOW_FRAMES, edge: int = 0) -> float:
    """Mean of the last `window` frames minus that of the first, with its sign: negative is a loss.

    Forcing-KV prints first minus last, Rolling Forcing the absolute value. edge: frames at the end to leave
    out; the last blocks of a rolling rollout are denoised in shrinking windows and stand apart.
    """
    found = _series(values, "End drift", 2 * window + edge)
    end = len(found) - edge
    return float(found[end - window : end].mean() - found[:window].mean())


def relative_drift(values: Sequence[float] | Array, share: float = 0.15) -> float:
    """As `end_drift`, over the first and last `share` of the frames (Helios)."""
    return end_drift(values, window=max(1, int(share * len(values))))


def slope(seconds: Sequence[float] | Array) -> float:
    """Least-squares change over ten seconds of a curve over seconds, without its first second."""
    found = _series(seconds, "The slope over seconds", 3)[1:]
    at = np.arange(1, len(found) + 1) - (len(found) + 1) / 2
    return float(10 * (at @ found) / (at @ at))


def motion_persistence(motion: Sequence[float] | Array, fps: int, least: float = 0.0) -> float | None:
    """Mean motion of the last ten seconds over that of seconds 4 to 8 (Commit Forcing).

    motion: [T - 1], of each pair of neighbouring frames, any unit. 0 if nothing moves at the end, None if
    no more than `least` moves in seconds 4 to 8, since no ratio says anything then.
    """
    found = _series(motion, "Motion persistence", 10 * fps)
    early, late = float(found[4 * fps : 8 * fps].mean()), float(found[-10 * fps :].mean())
    return late / early if early > least else None


def border_pairs(pixel_frames: int) -> tuple[Array, Array, Array]:
    """Pairs (t, t + 1) of frames on a chunk's border, on another latent border, inside a latent frame.

    Three arrays of indices into [T - 1]. Borders are 12k-4 | 12k-3, latent ones 4j | 4j+1.
    """
    pairs = np.arange(pixel_frames - 1)
    chunk = (pairs % CHUNK_FRAMES) == CHUNK_FRAMES - LATENT_FRAMES
    latent = (pairs % LATENT_FRAMES) == 0
    return pairs[chunk], pairs[latent & ~chunk], pairs[~latent]


def border_jump(change: Sequence[float] | Array, least: float = 0.0) -> float | None:
    """Mean change at chunk borders over that at the other latent borders; 1 is no jump.

    change: [T - 1], of each pair of neighbouring frames. None if no more than `least` changes at the others.
    All pairs would be the wrong reference, since the decoder itself steps at every latent border.
    """
    found = _series(change, "The jump at chunk borders", CHUNK_FRAMES)
    chunk, latent, _ = border_pairs(len(found) + 1)
    other = float(found[latent].mean())
    return float(found[chunk].mean()) / other if other > least else None


def latent_flicker(change: Sequence[float] | Array, least: float = 0.0) -> float | None:
    """Mean change at latent borders, chunks' included, over that inside latent frames.

    None if no more than `least` changes inside. change: [T - 1].
    """
    found = _series(change, "Flicker at latent borders", CHUNK_FRAMES)
    chunk, latent, inside = border_pairs(len(found) + 1)
    within = float(found[inside].mean())
    return float(found[np.concatenate([chunk, latent])].mean()) / within if within > least else None


def loop_length(features: Array, shortest: int = SHORTEST_PERIOD) -> int | None:
    """After how many frames a clip repeats itself, or None if it does not, or does not move.

    features: [T, D], of any kind. The mean over time is taken away first, since any two frames of a clip are
    alike. Among lags of at least `shortest` and at most T / 2 frames it is the shortest with the largest mean
    cosine, if that is above .9 and above its neighbours'. Motion that repeats is found as a loop is: compare
    with a row of rendered truth.
    """
    if features.ndim != 2 or len(features) < 2 * shortest:
        raise ValueError(
            f"A loop is looked for in features of at least {2 * shortest} frames, [T, D]; found shape "
            f"{features.shape}. The clip is too short for it."
        )
    centred = features - features.mean(axis=0)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    if float(norms.min()) <= 1e-6 * max(1.0, float(np.abs(features).max())):
        return None  # a frame that is the mean of all has no direction: nothing moves
    unit = centred / norms
    lags = np.arange(shortest - 1, len(unit) // 2 + 2)
    alike = np.asarray([float(np.einsum("td,td->t", unit[lag:], unit[:-lag]).mean()) for lag in lags])
    # Of equally good lags the shortest: a loop is also one of twice its length.
    best = int(np.argmax(alike[1:-1] >= alike[1:-1].max() - 1e-6)) + 1
    stands_out = alike[best] - max(alike[best - 1], alike[best + 1]) > 1e-6
    return int(lags[best]) if alike[best] > 0.9 and stands_out else None
