"""What a clip cost: timings of a row -> its speed for the main table and its line in the table of costs.

Seconds on a wall clock say something of a row where a GPU took them, or where nothing else ran on the
machine. Anywhere else the row's network calls and processor seconds stand for its speed.
"""

import statistics
from collections.abc import Callable, Sequence
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
    devices: tuple[str, ...]
    alone: bool
    """Whether all clips were made while nothing else ran on the machine."""
    cpu_s: float | None
    """Processor seconds of a clip. None where another program made it."""
    network_calls: float
    whole: bool
    """Another program made the clips: one time for all that it did, its network calls are unknown."""

    @property
    def timed(self) -> bool:
        """Whether its seconds are those of the row and not of what ran beside it."""
        return self.on_gpu or self.alone


@dataclass(frozen=True, slots=True)
class RowCost:
    """Sampling cost of one row, in means over clips. peak_mb: MiB of the process; others as in Speed."""

    label: str
    whole: bool
    timed: bool
    alone: bool
    most_jobs: int
    """Other jobs of this program on the machine, at most."""
    clips: int
    cpu_s: float | None
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
        devices=_devices(timings),
        alone=_alone(timings),
        cpu_s=_cpu_s(timings, statistics.median),
        network_calls=statistics.fmean(timing.network_calls for timing in timings),
        whole=whole,
    )


def row_cost(label: str, timings: Sequence[ClipTiming], *, whole: bool) -> RowCost:
    """Sampling cost of a row with at least one timing."""
    n = len(timings)
    return RowCost(
        label=label,
        whole=whole,
        timed=_alone(timings) or all(t.peak_gpu_mb is not None for t in timings),
        alone=_alone(timings),
        most_jobs=max((t.load.jobs for t in timings if t.load is not None), default=0),
        clips=n,
        cpu_s=_cpu_s(timings, statistics.fmean),
        sample_s=sum(t.sample_s for t in timings) / n,
        decode_s=sum(t.decode_s for t in timings) / n,
        write_s=sum(t.write_s for t in timings) / n,
        network_calls=sum(t.network_calls for t in timings) / n,
        peak_mb=max(t.peak_mb for t in timings),
        devices=_devices(timings),
    )


def _alone(timings: Sequence[ClipTiming]) -> bool:
    return all(timing.load is not None and timing.load.alone for timing in timings)


def _cpu_s(timings: Sequence[ClipTiming], middle: Callable[[list[float]], float]) -> float | None:
    spent = [timing.load.cpu_s for timing in timings if timing.load is not None]
    return middle(spent) if spent else None


def _devices(timings: Sequence[ClipTiming]) -> tuple[str, ...]:
    return tuple(sorted({_device(timing) for timing in timings}))


def _device(timing: ClipTiming) -> str:
    """Where a clip was made; on a GPU with the attention kernel, on which its last bits depend."""
    if timing.device == "cpu" or timing.attention is None:
        return timing.device
    return f"{timing.device}, attention {timing.attention}"
