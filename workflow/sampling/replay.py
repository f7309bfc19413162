"""How a clip that was sampled again compares with the one in the results. Pure but for reading clips."""

import itertools
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.clip_reader import open_clip
from evaluation.files import file_sha256
from evaluation.records import Clip
from reports.replay import ReplayedClip


def difference(one: Iterable[NDArray[np.uint8]], other: Iterable[NDArray[np.uint8]]) -> tuple[int, float]:
    """Largest absolute difference (0..255) of two clips, and their PSNR in dB; 0 and infinity of equal ones.

    one, other: frames [H, W, 3], of which one pair is held at a time. Raises ValueError if they differ in
    number or shape.
    """
    largest, squares, count = 0, 0, 0
    for number, (a, b) in enumerate(itertools.zip_longest(one, other)):
        if a is None or b is None or a.shape != b.shape:
            shapes = [None if frame is None else frame.shape for frame in (a, b)]
            raise ValueError(
                f"Clips whose frames {number} have the shapes {shapes[0]} and {shapes[1]} cannot be "
                "compared; they are of other settings."
            )
        gap = np.abs(a.astype(np.int16) - b.astype(np.int16))
        largest, count = max(largest, int(gap.max())), count + gap.size
        squares += int(np.square(gap, dtype=np.int64).sum())
    return largest, 10.0 * math.log10(255.0**2 * count / squares) if squares else math.inf


def compare_clip(
    then: Clip, stored: Path, device_then: str, now: Clip, made: Path, device_now: str
) -> ReplayedClip:
    """Compare a clip of the results with the same clip sampled again.

    then: the clip's line in the manifest of the results, whose file is `stored`. now: the line of the clip
    that was sampled again, whose file is `made`. Raises ValueError if the two were not made from the same
    settings and weights, so that nothing can be concluded.
    """
    for what in ("settings_sha256", "weights_sha256", "noise", "batch_size"):
        if getattr(then, what) != getattr(now, what):
            raise ValueError(
                f"Clip {then.clip_id} of row {then.row} was made with another "
                f"{what.removesuffix('_sha256')} than the suite has now ({getattr(then, what)} then, "
                f"{getattr(now, what)} now); run the suite again, then replay it."
            )

    def found(outcome: str, gap: int | None = None, psnr: float | None = None) -> ReplayedClip:
        devices = {"device_then": device_then, "device_now": device_now}
        values = {"outcome": outcome, "max_difference": gap, "psnr_db": psnr}
        return ReplayedClip.model_validate({"clip_id": then.clip_id, **values, **devices})

    if not stored.is_file() or file_sha256(stored) != then.sha256:
        return found("changed file")
    if (then.latents_sha256, then.sha256) == (now.latents_sha256, now.sha256):
        return found("bit-equal")
    gap, psnr = difference(open_clip(stored).frames, open_clip(made).frames)
    return found("differs", gap, psnr) if gap else found("same pictures")
