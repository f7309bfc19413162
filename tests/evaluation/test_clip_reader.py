"""Every strange clip is seen as VBench's readers see it, or refused with the reason; nothing is decoded that
is too large.
"""

import os
import tracemalloc
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from evaluation import clip_reader
from evaluation.clip_reader import ClipError, look_at_clip, read_clip, rgb_of, shown_frames
from evaluation.clips import ClipShape, write_clip
from tests.evaluation.strange_clips import FRAGMENTS, NTSC, STRANGE, StrangeClip, encoded, pictures, plain

NAMES = [strange.name for strange in STRANGE]


@pytest.mark.parametrize("strange", STRANGE, ids=NAMES)
def test_a_strange_clip_is_taken_or_refused_with_its_reason(strange: StrangeClip, tmp_path: Path) -> None:
    """As a row's clip; the sentence has the file's name, no line break and no traceback."""
    path = tmp_path / "x.mp4"
    path.write_bytes(strange.make())
    if strange.scored is None:
        assert read_clip(path).frames.any()
        return
    with pytest.raises(ClipError) as refused:
        read_clip(path)
    said = str(refused.value)
    assert strange.scored in said and said.startswith(f"clip {path} ") and "\n" not in said
    assert refused.value.reason in said


@pytest.mark.parametrize("strange", STRANGE, ids=NAMES)
def test_training_refuses_what_is_shown_otherwise_and_reads_more_kinds(strange: StrangeClip) -> None:
    """From bytes, as parquet files hold them; what only the scorer's readers cannot read is taken."""
    data = strange.make()

    def count() -> int:
        look, converter = look_at_clip(data, "x"), VideoReformatter()
        form = (look.height, look.width, 3)
        return sum(rgb_of(frame, converter).shape == form for frame in shown_frames(data, look))

    if strange.trained is None:
        assert count() > 0
        return
    with pytest.raises(ClipError) as refused:
        count()
    assert strange.trained in str(refused.value)


def read_by_opencv(path: Path) -> tuple[np.ndarray, float]:
    video, frames = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        frames.append(read[1][..., ::-1])
    return np.stack(frames), video.get(cv2.CAP_PROP_FPS)


def read_by_decord(path: Path) -> tuple[np.ndarray, float]:
    import decord

    reader = decord.VideoReader(str(path), num_threads=1)
    return reader.get_batch(range(len(reader))).asnumpy(), float(reader.get_avg_fps())


READERS = [read_by_opencv, *([read_by_decord] if find_spec("decord") else [])]


@pytest.mark.parametrize("read", READERS)
def test_the_scorers_readers_see_what_we_see(read: object, tmp_path: Path) -> None:
    """OpenCV, and decord where it is installed (VBench's environment): same frames, same declared rate."""
    path = tmp_path / "x.mp4"
    for strange in STRANGE:
        if strange.scored is None:
            path.write_bytes(strange.make())
            frames, rate = read(path)  # type: ignore[operator]
            assert np.array_equal(frames, read_clip(path).frames), strange.name
            assert rate == pytest.approx(float(look_at_clip(path).declared_rate)), strange.name


@pytest.mark.parametrize("tick", [Fraction(1, 1000), Fraction(1, 16384), Fraction(1, 90000)])
@pytest.mark.parametrize(
    "rate", [Fraction(16), Fraction(25), Fraction(60), Fraction(24000, 1001), Fraction(30000, 1001)]
)
def test_the_rate_is_that_of_the_steps(rate: Fraction, tick: Fraction) -> None:
    """Closed form: frame i is shown at i / rate, rounded to ticks. A declared average that a long last frame
    has changed does not count, and one step in a hundred that is longer by a half is a variable rate.
    """
    times = [round(i / (rate * tick)) for i in range(100)]
    average = 100 / (Fraction(101) / rate)

    def found(steps: list[int], *declared: Fraction | None) -> Fraction:
        return clip_reader._constant_rate(steps, tick, declared, "x")

    assert found(times, rate) == found(times, average, rate) == rate
    if rate.denominator == 1:
        assert found(times, average, None) == rate
    if tick < Fraction(1, 1000):
        near = 100 / (100 / rate + Fraction(1, 1000))
        assert found(times, near, rate) == rate
    longer = [time + round(1 / (2 * rate * tick)) * (i > 50) for i, time in enumerate(times)]
    with pytest.raises(ClipError, match="variable rate"):
        found(longer, rate)
    with pytest.raises(ClipError, match="two frames at one time"):
        found(sorted([*times, times[7]]), rate)
    with pytest.raises(ClipError, match="variable rate"):  # a tick that is as long as a step hides nothing
        clip_reader._constant_rate([0, 1, 2, 4, 5, 6], 1 / rate, [rate], "x")


def test_nothing_too_large_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts and sizes come from the headers: of another shape than the suite's, or over a limit, the clip is
    refused before a frame exists.
    """
    path = tmp_path / "x.mp4"
    path.write_bytes(plain())
    monkeypatch.setattr(clip_reader, "shown_frames", lambda *_, **__: pytest.fail("decoded"))
    shape = ClipShape(pixel_frames=9, height=48, width=96, fps=24)
    with pytest.raises(
        ClipError, match=r"12 frames instead of 9 and is 64x48 pixels instead of 96x48 and .* 16 .* of 24"
    ):
        read_clip(path, shape)
    (tmp_path / "y.mp4").write_bytes(encoded(fps=NTSC))
    with pytest.raises(ClipError, match=r"plays at 29.97 \(30000/1001\) frames per second instead of 30"):
        read_clip(tmp_path / "y.mp4", ClipShape(pixel_frames=12, height=48, width=64, fps=30))
    monkeypatch.setattr(clip_reader, "MAX_CLIP_GB", 1e-5)
    with pytest.raises(ClipError, match=r"is 0.0 GiB of pixels \(12 frames of 64x48\), more than 1e-05"):
        read_clip(path)
    monkeypatch.setattr(clip_reader, "MAX_FRAMES", 5)
    with pytest.raises(ClipError, match="declares 12 frames, more than 5"):
        read_clip(path)
    with pytest.raises(ClipError, match="has more than 5 frames"):  # whose headers declare none
        look_at_clip(encoded(muxer=FRAGMENTS), "x")
    monkeypatch.setattr(clip_reader, "MAX_FRAME_PIXELS", 3000)
    with pytest.raises(ClipError, match="has frames of 64x48, more than 3000 pixels"):
        read_clip(path)


def test_a_clip_is_in_memory_once(tmp_path: Path) -> None:
    """Guards against a list of frames beside their stack: twice the clip."""
    frames = np.stack(pictures(40, 128, 192))
    write_clip(tmp_path / "x.mp4", frames, fps=16)
    tracemalloc.start()
    read_clip(tmp_path / "x.mp4")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert frames.nbytes <= peak < 1.3 * frames.nbytes


def test_a_frame_that_a_decoder_guessed_is_damage() -> None:
    """Decoders conceal some damage and mark the frame; what they put there differs between them."""
    guessed = SimpleNamespace(width=64, height=48, is_corrupt=True)
    said = clip_reader._frame_error(guessed, 7, (64, 48))  # type: ignore[arg-type]
    assert said is not None and "is damaged at frame 7" in said


def test_a_frame_without_a_time_is_said() -> None:
    packet = SimpleNamespace(size=9, is_corrupt=False, is_discard=False, pts=None)
    with pytest.raises(ClipError, match="does not say when each frame is shown"):
        clip_reader._shown_times(SimpleNamespace(demux=lambda _: [packet]), None, "x")


def test_frames_without_pixels_are_said() -> None:
    said = clip_reader._header_error(SimpleNamespace(width=0, height=48))
    assert said is not None and "declares frames of 0x48, expected some pixels" in said


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    """A folder, a link to nothing and a pipe, which would wait for ever."""
    folder, link, pipe = tmp_path / "a.mp4", tmp_path / "b.mp4", tmp_path / "c.mp4"
    folder.mkdir()
    link.symlink_to(tmp_path / "gone")
    os.mkfifo(pipe)
    for path, said in (
        (folder, "is a folder"),
        (link, f"is a link to {tmp_path}/gone"),
        (pipe, "is no regular"),
    ):
        with pytest.raises(ClipError, match=said):
            read_clip(path)


def test_one_converter_gives_every_frame_the_pixels_of_its_own(tmp_path: Path) -> None:
    """Guards against a state that one frame leaves behind for the next."""
    write_clip(tmp_path / "x.mp4", np.stack(pictures(9, 48, 80)), fps=16)
    look = look_at_clip(tmp_path / "x.mp4")
    alone = [rgb_of(frame, VideoReformatter()) for frame in shown_frames(tmp_path / "x.mp4", look)]
    assert np.array_equal(read_clip(tmp_path / "x.mp4").frames, np.stack(alone))
