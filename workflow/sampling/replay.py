"""How a clip that was sampled again compares with the one in the results. Pure but for reading clips."""

from pathlib import Path

import numpy as np

from evaluation.clip_reader import read_clip
from evaluation.clips import ClipFrames, frames_sha256
from evaluation.files import file_sha256
from evaluation.records import Clip
from reports.replay import ReplayedClip


def difference(one: ClipFrames, other: ClipFrames) -> tuple[int, float]:
    """Largest absolute difference (0..255) of two clips [T, H, W, 3] that differ, and their PSNR in dB.

    Raises ValueError if they have different shapes.
    """
    if one.shape != other.shape:
        raise ValueError(
            f"Clips of shapes {one.shape} and {other.shape} cannot be compared; they are of other settings."
        )
    gap = np.abs(one.astype(np.int16) - other.astype(np.int16))
    mean_square = float(np.mean(np.square(gap, dtype=np.float64)))
    return int(gap.max()), 10.0 * float(np.log10(255.0**2 / mean_square))


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
    before, after = read_clip(stored).frames, read_clip(made).frames
    if frames_sha256(before) == frames_sha256(after):
        return found("same pictures")
    return found("differs", *difference(before, after))
