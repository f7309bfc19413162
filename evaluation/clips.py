"""Clips as files: write mp4, and say what is wrong with a decoded clip (clip_reader.py reads them).

T pixel frames, H and W pixels. Files are H.264 in yuv420p; one encoder thread and no AVX-512, so that the
same frames give the same bytes.
"""

import hashlib
import platform
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import av
import numpy as np
from numpy.typing import NDArray

from evaluation.files import written_whole

ClipFrames = NDArray[np.uint8]
"""uint8 RGB, [T, H, W, 3]."""

CRF = 18
"""As RAVEN's baselines encode (baselines/methods.md#writing-clips)."""

# x264 165 with AVX-512 writes other bytes for about 1 clip in 100 of the same frames: its macroblock tree
# reads what memory happens to hold. The SSE4.2 code writes the bytes of x264's plain C, as fast as AVX-512 at
# 480x832.
X264 = {"x264-params": "asm=SSE4.2"} if platform.machine().lower() in ("x86_64", "amd64") else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipShape:
    """What every clip of a suite must look like: counts in pixels, fps in frames per second."""

    pixel_frames: int
    height: int
    width: int
    fps: float


class DecodedClip(NamedTuple):
    """Frames [T, H, W, 3] uint8 and frames per second, as read from the file."""

    frames: ClipFrames
    fps: float


def upscale(frames: ClipFrames, *, height: int, width: int) -> ClipFrames:
    """Nearest-neighbour enlargement of [T, h, w, 3] to [T, height, width, 3] by whole factors.

    Raises ValueError if height or width is no whole multiple of the frames' own.
    """
    rows, columns = frames.shape[1:3]
    if height % rows or width % columns:
        raise ValueError(
            f"frames of {columns}x{rows} pixels cannot be enlarged to {width}x{height} by whole factors; "
            "set the suite's clip size to a multiple of the model's."
        )
    # columns first: what is left to do on the larger array is to copy whole rows
    return frames.repeat(width // columns, axis=2).repeat(height // rows, axis=1)


class ClipWriter:
    """Writes an mp4 whole or not at all, as a context, from frames that come a few at a time."""

    def __init__(self, path: Path, *, height: int, width: int, fps: float) -> None:
        self.path, self.height, self.width, self.fps = path, height, width, fps
        self.frames = 0
        """How many were written."""

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            unfinished = opened.enter_context(written_whole(self.path))
            self._container = opened.enter_context(av.open(str(unfinished), "w", format="mp4"))
            rate = Fraction(self.fps).limit_denominator(1001)
            options = {"crf": str(CRF), **X264}
            self._stream = self._container.add_stream("libx264", rate=rate, options=options)
            self._stream.width, self._stream.height, self._stream.pix_fmt = self.width, self.height, "yuv420p"
            self._stream.thread_count = 1
            self._opened = opened.pop_all()
        return self

    def append(self, frames: ClipFrames) -> None:
        """Add frames [t, H, W, 3] at the end."""
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            self._container.mux(self._stream.encode(picture))
            self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._opened.__exit__(kind, error, trace)
            return
        with self._opened:
            self._container.mux(self._stream.encode(None))


def write_clip(path: Path, frames: ClipFrames, *, fps: float) -> None:
    """Write frames [T, H, W, 3] as an mp4, whole or not at all."""
    height, width = frames.shape[1:3]
    with ClipWriter(path, height=height, width=width, fps=fps) as writer:
        writer.append(frames)


def shape_errors(frames: int, height: int, width: int, fps: Fraction | float, shape: ClipShape) -> list[str]:
    """Where a clip differs from the shape that it should have, one phrase each."""
    errors = []
    if frames != shape.pixel_frames:
        errors.append(f"has {frames} frames instead of {shape.pixel_frames}")
    if (height, width) != (shape.height, shape.width):
        errors.append(f"is {width}x{height} pixels instead of {shape.width}x{shape.height}")
    if abs(float(fps) - shape.fps) > 1e-3:
        exact = f" ({fps})" if isinstance(fps, Fraction) and fps.denominator > 1 else ""
        errors.append(f"plays at {float(fps):.5g}{exact} frames per second instead of {shape.fps}")
    return errors


class WatchedFrames:
    """Frames on their way to somebody else, with what can be said of them when all have passed."""

    def __init__(self, frames: Iterable[NDArray[np.uint8]], shape: tuple[int, int, int, int]) -> None:
        """frames: [H, W, 3] each; shape: [T, H, W, 3] of all together."""
        self._frames, self._digest = frames, hashlib.sha256(repr(shape).encode())
        self.low, self.high = 255, 0
        """Least and largest value of a pixel."""

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for frame in self._frames:
            self._digest.update(np.ascontiguousarray(frame).data)
            self.low, self.high = min(self.low, int(frame.min())), max(self.high, int(frame.max()))
            yield frame

    @property
    def sha256(self) -> str:
        """As `frames_sha256` of all frames."""
        return self._digest.hexdigest()

    @property
    def constant(self) -> str | None:
        """What is wrong if every pixel of every frame is the same, as a phrase; else None."""
        if self.low != self.high:
            return None
        return f"is constant (every pixel of every frame is {self.low})"


def clip_errors(clip: DecodedClip, shape: ClipShape) -> list[str]:
    """What is wrong with a decoded clip, one phrase each; empty if nothing is."""
    frames, height, width = clip.frames.shape[:3]
    errors = shape_errors(frames, height, width, clip.fps, shape)
    watched = WatchedFrames(clip.frames, clip.frames.shape)
    for _ in watched:
        pass
    return [*errors, watched.constant] if watched.constant else errors


def frames_sha256(frames: ClipFrames) -> str:
    """Sha256 of the decoded pixels and their shape: two clips with the same frames have the same one."""
    digest = hashlib.sha256(repr(frames.shape).encode())
    digest.update(np.ascontiguousarray(frames).data)
    return digest.hexdigest()
