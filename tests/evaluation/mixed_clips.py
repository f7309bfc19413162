"""Twenty short videos as people keep them: mixed codecs, containers, sizes, lengths and rates."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np


class Form(NamedTuple):
    """How a video is kept."""

    codec: str
    container: str
    pixels: str
    height: int
    width: int
    frames: int
    rate: Fraction


FORMS = (
    Form("libx264", "mp4", "yuv420p", 64, 96, 25, Fraction(16)),
    Form("libx264", "mkv", "yuv420p", 72, 128, 30, Fraction(30000, 1001)),
    Form("libx264", "mov", "yuv444p", 128, 72, 20, Fraction(24)),
    Form("libx264", "avi", "yuv420p", 64, 64, 18, Fraction(25)),
    Form("libx265", "mp4", "yuv420p", 96, 96, 12, Fraction(8)),
    Form("libvpx-vp9", "webm", "yuv420p", 90, 160, 33, Fraction(30)),
    Form("libvpx-vp9", "mp4", "yuv420p", 80, 80, 17, Fraction(16)),
    Form("libvpx", "webm", "yuv420p", 66, 98, 21, Fraction(24000, 1001)),
    Form("mpeg4", "mp4", "yuv420p", 64, 112, 40, Fraction(12)),
    Form("mpeg4", "avi", "yuv420p", 112, 64, 16, Fraction(15)),
    Form("mjpeg", "avi", "yuvj420p", 64, 64, 22, Fraction(10)),
    Form("mjpeg", "mov", "yuvj422p", 100, 60, 26, Fraction(60)),
)


def make_mixed(
    folder: Path, count: int = 20, names: str = "clip {}", forms: Sequence[Form] = FORMS
) -> list[Path]:
    """Write `count` videos into a folder; a form comes again with other pictures. Returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(count):
        codec, container, pixels, height, width, frames, rate = forms[number % len(forms)]
        path = folder / f"{names.format(number)}.{container}"
        write_video(path, codec, pixels, pictures(number, frames, height, width), rate)
        made.append(path)
    return made


def pictures(seed: int, count: int, height: int, width: int) -> list[np.ndarray]:
    """Coloured squares that move to the right, some frames faster than others."""
    cells = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    still = cells.repeat(8, 0).repeat(8, 1)[:height, :width]
    return [np.ascontiguousarray(np.roll(still, (1 + seed % 3) * i, 1)) for i in range(count)]


def write_video(path: Path, codec: str, pixels: str, frames: list[np.ndarray], rate: Fraction) -> None:
    """Encode frames [H, W, 3] at a constant rate."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pixels
        if codec == "libx265":
            stream.options = {"x265-params": "log-level=error"}
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode(None))
