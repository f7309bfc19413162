"""What a clip cost: timings of a row -> its speed for the main table and its line in the table of costs."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.records import Clip, ClipTiming


@dataclass(frozen=True, slots=True)
class Speed:
    """Speed of one row, in medians over clips, so that a first, slow clip does not count."""

    clip_s: float | None
    fps: float | None
    """Pixel frames per second of sampling alone."""
    fps_decoded: float | None
    """The same with the VAE's decoding, without writing the file."""
    first_chunk_s: float | None
    """From the start until the first chunk's pixels are there. None where clips are not streamed."""
    peak_mb: float
    """MiB on the GPU, or of the process where there is no GPU."""
    on_gpu: bool
    network_calls: float
    whole: bool
    """Another program made the clips: one time for all that it did, its network calls are unknown."""


@dataclass(frozen=True, slots=True)
class RowCost:
    """Sampling cost of one row, in means over clips. whole: as in Speed; peak_mb: MiB of the process."""

    label: str
    whole: bool
    clips: int
    sample_s: float
    decode_s: float
    write_s: float
    network_calls: float
    peak_mb: float
    devices: tuple[str, ...]


def _rate(frames: Sequence[int], seconds: Sequence[float]) -> float | None:
    """Median of frames per second, None where nothing took time."""
    rates = [count / spent for count, spent in zip(frames, seconds, strict=True) if spent > 0]
    return statistics.median(rates) if rates else None


def speed_of(clips: Sequence[Clip], timings: Sequence[ClipTiming], *, whole: bool) -> Speed | None:
    """Speed of one row, None without timings. Raises ValueError for a timing of a clip not in `clips`."""
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
    decoded = [timing.sample_s + timing.decode_s for timing in timings]
    return Speed(
        clip_s=statistics.median(decoded) or None,
        fps=None if whole else _rate(frames, [timing.sample_s for timing in timings]),
        fps_decoded=_rate(frames, decoded),
        first_chunk_s=statistics.median(first) if first else None,
        peak_mb=max((t.peak_gpu_mb if on_gpu and t.peak_gpu_mb is not None else t.peak_mb) for t in timings),
        on_gpu=on_gpu,
        network_calls=statistics.fmean(timing.network_calls for timing in timings),
        whole=whole,
    )


def row_cost(label: str, timings: Sequence[ClipTiming], *, whole: bool) -> RowCost:
    """Sampling cost of a row with at least one timing."""
    n = len(timings)
    return RowCost(
        label=label,
        whole=whole,
        clips=n,
        sample_s=sum(t.sample_s for t in timings) / n,
        decode_s=sum(t.decode_s for t in timings) / n,
        write_s=sum(t.write_s for t in timings) / n,
        network_calls=sum(t.network_calls for t in timings) / n,
        peak_mb=max(t.peak_mb for t in timings),
        devices=tuple(sorted({_device(t) for t in timings})),
    )


def _device(timing: ClipTiming) -> str:
    """Where a clip was made; on a GPU with the attention kernel, on which its last bits depend."""
    if timing.device == "cpu" or timing.attention is None:
        return timing.device
    return f"{timing.device}, attention {timing.attention}"
