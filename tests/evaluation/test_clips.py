"""Clips are written reproducibly and whole, and every error of one is named."""

from pathlib import Path

import numpy as np
import pytest

from evaluation.clip_reader import read_clip
from evaluation.clips import ClipShape, clip_errors, frames_sha256, upscale, write_clip
from evaluation.files import file_sha256

SHAPE = ClipShape(pixel_frames=9, height=64, width=64, fps=16)


def moving_square(offset: int = 0) -> np.ndarray:
    frames = np.full((9, 16, 16, 3), 30, np.uint8)
    for t in range(9):
        frames[t, 4:8, (t + offset) % 12 : (t + offset) % 12 + 4] = (220, 40, 40)
    return frames


def test_the_same_frames_give_the_same_bytes_and_survive_the_codec(tmp_path: Path) -> None:
    """Guards against an encoder with threads, dates or stray memory in the file, and against lost colours at
    4:2:0.

    200 times, because x264's AVX-512 code gives other bytes for about 1 clip in 100.
    """
    big = upscale(moving_square(), height=64, width=64)
    hashes = set()
    for _ in range(200):
        write_clip(tmp_path / "a.mp4", big, fps=16)
        hashes.add(file_sha256(tmp_path / "a.mp4"))
    assert len(hashes) == 1
    clip = read_clip(tmp_path / "a.mp4")
    assert clip_errors(clip, SHAPE) == []
    assert (
        np.abs(clip.frames.astype(int) - big).mean() < 4
    )  # crf 18 on flat areas; 4 of 255 is far below any checker's margin
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    ("frames", "fps", "phrase"),
    [
        (upscale(moving_square()[:7], height=64, width=64), 16, "7 frames instead of 9"),
        (upscale(moving_square(), height=32, width=64), 16, "64x32 pixels instead of 64x64"),
        (upscale(moving_square(), height=64, width=64), 8, "8 frames per second instead of 16"),
        (np.full((9, 64, 64, 3), 128, np.uint8), 16, "is constant"),
    ],
)
def test_every_error_is_named(tmp_path: Path, frames: np.ndarray, fps: int, phrase: str) -> None:
    """Guards against a short, small, slow or blank clip that is scored as if it were whole."""
    write_clip(tmp_path / "x.mp4", frames, fps=fps)
    assert [error for error in clip_errors(read_clip(tmp_path / "x.mp4"), SHAPE) if phrase in error]


def test_truncated_and_absent_files_are_errors(tmp_path: Path) -> None:
    """Guards against a half-written clip that decodes to fewer frames without a word."""
    path = tmp_path / "x.mp4"
    write_clip(path, upscale(moving_square(), height=64, width=64), fps=16)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ValueError, match="cannot be read as an mp4"):
        read_clip(path)
    with pytest.raises(FileNotFoundError, match="rerun the sample stage"):
        read_clip(tmp_path / "absent.mp4")


def test_content_hash_sees_pictures_not_files() -> None:
    one, other = moving_square(), moving_square(3)
    assert frames_sha256(one) == frames_sha256(one.copy())
    assert frames_sha256(one) != frames_sha256(other)


def test_fractional_enlargement_is_refused() -> None:
    with pytest.raises(ValueError, match="whole factors"):
        upscale(moving_square(), height=60, width=64)
