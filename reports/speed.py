"""What a clip cost: timings -> one line of speed per row. Medians over clips, so that a first, slow clip does
not count.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.records import Clip, ClipTiming


@dataclass(frozen=True, slots=True)
class Speed:
    """fps: pixel frames per second of sampling alone; fps_decoded: with the VAE's decoding, without writing
    the file.

    first_chunk_s: from the start until the first chunk's pixels are there, None where clips are not streamed;
    peak_mb: MiB on
    the GPU, of the process where there is none. whole: another program's clips: one time for all it did, its
    calls unknown.
    """

    clip_s: float | None
    fps: float | None
    fps_decoded: float | None
    first_chunk_s: float | None
    peak_mb: float
    on_gpu: bool
    network_calls: float
    whole: bool


def _rate(frames: Sequence[int], seconds: Sequence[float]) -> float | None:
    """Median of frames per second, None where nothing took time."""
    rates = [count / spent for count, spent in zip(frames, seconds, strict=True) if spent > 0]
    return statistics.median(rates) if rates else None


def speed_of(clips: Sequence[Clip], timings: Sequence[ClipTiming], *, whole: bool) -> Speed | None:
    """Speed of one row; None without timings. Raises ValueError if a timing is of a clip that the manifest
    lacks.
    """
    if not timings:
        return None
    pixel_frames = {clip.clip_id: clip.pixel_frames for clip in clips}
    if strange := [timing.clip_id for timing in timings if timing.clip_id not in pixel_frames]:
        raise ValueError(
            f"The timings of row {timings[0].row} name clip {strange[0]}, which its manifest lacks; sample "
            "the row again."
        )
    frames = [pixel_frames[timing.clip_id] for timing in timings]
    first = [timing.first_frames_s for timing in timings if timing.first_frames_s is not None]
    on_gpu = all(timing.peak_gpu_mb is not None for timing in timings)
    spent = statistics.median(timing.sample_s + timing.decode_s for timing in timings)
    return Speed(
        clip_s=spent if spent > 0 else None,
        fps=None if whole else _rate(frames, [timing.sample_s for timing in timings]),
        fps_decoded=_rate(frames, [timing.sample_s + timing.decode_s for timing in timings]),
        first_chunk_s=statistics.median(first) if first else None,
        peak_mb=max((t.peak_gpu_mb if on_gpu and t.peak_gpu_mb is not None else t.peak_mb) for t in timings),
        on_gpu=on_gpu,
        network_calls=statistics.fmean(timing.network_calls for timing in timings),
        whole=whole,
    )
