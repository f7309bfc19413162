"""Replaying clips: which ones, and how a clip that was rendered again compares with the one in the results.
Pure but for reading clips.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.clips import Frames, content_sha256, read_clip
from evaluation.files import file_sha256
from evaluation.records import Clip
from evaluation.shards import Sample
from reports.replay import ReplayedClip

CLIPS = 5


def chosen_samples(samples: Sequence[Sample], count: int = CLIPS) -> list[Sample]:
    """`count` samples spread evenly over a work list, its first and last among them; all of a shorter list."""
    if len(samples) <= count:
        return list(samples)
    return [samples[place * (len(samples) - 1) // (count - 1)] for place in range(count)]


def difference(one: Frames, other: Frames) -> tuple[int, float]:
    """Largest absolute difference (0..255) of two clips [T, H, W, 3] that differ, and their PSNR in dB.
    Raises ValueError for other shapes.
    """
    if one.shape != other.shape:
        raise ValueError(
            f"Clips of shapes {one.shape} and {other.shape} cannot be compared; they are of other settings."
        )
    gap = np.abs(one.astype(np.int16) - other.astype(np.int16))
    mean_square = float(np.mean(np.square(gap, dtype=np.float64)))
    return int(gap.max()), 10.0 * float(np.log10(255.0**2 / mean_square))


def compare(
    then: Clip, stored: Path, device_then: str, now: Clip, made: Path, device_now: str
) -> ReplayedClip:
    """What became of a clip. then: its line of the manifest, whose file should be `stored`; now: of the clip
    rendered again, `made`.

    Raises ValueError if the two were not made from the same settings and weights, so that nothing can be
    concluded.
    """
    for what in ("settings_sha256", "weights_sha256", "noise", "batch_size"):
        if getattr(then, what) != getattr(now, what):
            raise ValueError(
                f"Clip {then.clip_id} of row {then.row} was made with another "
                f"{what.removesuffix('_sha256')} than the suite has now ({getattr(then, what)} then, "
                f"{getattr(now, what)} now); run the suite again, then replay it."
            )

    def found(outcome: str, gap: int | None = None, psnr: float | None = None) -> ReplayedClip:
        return ReplayedClip.model_validate(
            {"clip_id": then.clip_id, "outcome": outcome, "device_then": device_then, "device_now": device_now, "max_difference": gap, "psnr_db": psnr}
        )  # fmt: skip

    if not stored.is_file() or file_sha256(stored) != then.sha256:
        return found("changed file")
    if (then.latents_sha256, then.sha256) == (now.latents_sha256, now.sha256):
        return found("bit-equal")
    before, after = read_clip(stored).frames, read_clip(made).frames
    if content_sha256(before) == content_sha256(after):
        return found("same pictures")
    return found("differs", *difference(before, after))
