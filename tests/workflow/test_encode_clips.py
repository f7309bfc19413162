"""Videos to latents: which frames, which pixels, which order, and what is left out
(models/training/methods.md#training-prompts-and-clips).
"""

import csv
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from evaluation.clip_reader import read_clip
from evaluation.clips import write_clip
from models.checkpoints.containers import read_safetensors
from models.codec import LinearCodec
from models.interfaces import Codec
from models.training.clips import ClipFile, read_captions
from tests.evaluation.strange_clips import STRANGE
from workflow.planning.suite_file import read_suite
from workflow.scripts import encode_clips
from workflow.training.video_frames import (
    ClipForm,
    UnusableClip,
    crop_box,
    frame_numbers,
    frame_to_pixels,
    take_frames,
)
from workflow.training.video_sources import ListedFiles, ParquetFiles, RawClip, read_info

ROOT = Path(__file__).parents[2]
FORM = ClipForm(pixel_frames=81, height=480, width=832, fps=16, seed=1)
CODEC = ROOT / "models/embedded/codec.safetensors"
NAMES = ("a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4")
GOOD = (0, 2, 4)
SHAPE = (21, 16, 8, 8)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three usable videos of 48, 24 and 16 frames a second; one too short and one that is no video; a list
    with captions.
    """
    folder = tmp_path_factory.mktemp("videos")
    draw = np.random.default_rng(0)
    for name, length, fps in (("a.mp4", 260, 48), ("b.mp4", 200, 48), ("c.mp4", 130, 24), ("e.mp4", 81, 16)):
        ramp = np.linspace(0, 120, length)[:, None, None, None]
        still = draw.integers(0, 120, (1, 12, 20, 3)).repeat(4, 1).repeat(4, 2)
        write_clip(folder / name, (ramp + still).astype(np.uint8), fps=fps)
    (folder / "d.mp4").write_bytes(b"no video")
    with (folder / "captions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "length", "caption"))
        writer.writerows((name, 1, f"caption of\n {name}") for name in NAMES)
    return folder


def run(output: Path, *arguments: str, rank: int = 0, size: int = 1) -> Path:
    """The command, in parts of 2 clips, at the embedded suite's size. Raises SystemExit if it fails."""
    parser_arguments = ["--output", str(output), "--config", "workflow/config/toybox.yaml", "--shard", "2"]
    old = dict(os.environ)
    try:
        os.environ.update(RANK=str(rank), WORLD_SIZE=str(size))
        if encode_clips.main([*parser_arguments, *arguments]):
            raise SystemExit(1)
    finally:
        os.environ.clear()
        os.environ.update(old)
    return output


@pytest.fixture(scope="module")
def whole(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("whole"), "--list", str(videos / "captions.csv"))


def test_frames_of_48_a_second_are_every_third() -> None:
    """models/training/methods.md#training-prompts-and-clips, and other rates by the nearest frame; the last
    start still ends inside, and every start happens.
    """
    starts = Counter(frame_numbers(243, Fraction(48), FORM, str(i))[0] for i in range(200))
    assert set(starts) == {0, 1, 2} and min(starts.values()) > 40
    for length, rate in (
        (500, Fraction(48)),
        (300, Fraction(30000, 1001)),
        (130, Fraction(24)),
        (81, Fraction(16)),
    ):
        taken = frame_numbers(length, rate, FORM, "x")
        assert len(taken) == 81 and taken[-1] < length
        ideal = [taken[0] + float(rate) / 16 * i for i in range(81)]
        assert max(abs(a - b) for a, b in zip(taken, ideal, strict=True)) <= 0.5 + 1e-9
    assert np.diff(frame_numbers(500, Fraction(48), FORM, "x")).tolist() == [3] * 80
    with pytest.raises(UnusableClip, match="has 240 frames at 48 per second, and 241 are needed"):
        frame_numbers(240, Fraction(48), FORM, "x")
    with pytest.raises(UnusableClip, match="plays at 15 frames per second, fewer than 16"):
        frame_numbers(900, Fraction(15), FORM, "x")


def test_the_crop_is_the_centre_and_keeps_proportions() -> None:
    """720x1280 gives 720x1248 for 480x832; a linear ramp stays one under bilinear resizing, whatever its
    filter's width.
    """
    assert crop_box(720, 1280, FORM) == (0, 16, 720, 1248)
    assert crop_box(1280, 720, FORM) == (432, 0, 415, 720)
    assert crop_box(480, 832, FORM) == (0, 0, 480, 832)
    ramp = np.broadcast_to(np.arange(240, dtype=np.uint8)[None, :, None], (120, 240, 3))
    form = ClipForm(pixel_frames=81, height=30, width=52, fps=16, seed=0)
    pixels = frame_to_pixels(ramp, form)
    assert pixels.shape == (3, 30, 52)
    expected = (16 + (torch.arange(52) + 0.5) * 4 - 0.5) / 127.5 - 1
    torch.testing.assert_close(pixels[1, 7, 2:-2], expected[2:-2], rtol=0, atol=1e-5)
    frame = np.random.default_rng(0).integers(0, 256, (30, 52, 3), dtype=np.uint8)
    same = torch.from_numpy(frame).permute(2, 0, 1).float() / 127.5 - 1
    torch.testing.assert_close(frame_to_pixels(frame, form), same, rtol=0, atol=1e-6)


def test_latents_are_those_of_the_frames_said(videos: Path, whole: Path) -> None:
    """Against reading whole videos and slicing them; captions and clips stay together, in order."""
    pool, codec = ClipFile(whole / "latents.safetensors", SHAPE), LinearCodec.load(CODEC)
    about = [json.loads(line) for line in (whole / "clips.jsonl").read_text().splitlines()]
    assert [one["place"] for one in about] == list(GOOD)
    assert read_captions(whole / "captions.txt", len(pool)) == [f"caption of {NAMES[i]}" for i in GOOD]
    form = ClipForm(pixel_frames=81, height=32, width=32, fps=16, seed=20001019)
    for index, (one, step) in enumerate(zip(about, (3, Fraction(3, 2), 1), strict=True)):
        frames = read_clip(videos / one["name"]).frames
        numbers = [one["start"] + int(step * i + Fraction(1, 2)) for i in range(81)]
        pixels = torch.stack([frame_to_pixels(frames[i], form) for i in numbers])
        torch.testing.assert_close(pool[[index]], codec.encode(pixels[None]).detach(), rtol=0, atol=0)
    dropped = [json.loads(line) for line in (whole / "dropped.jsonl").read_text().splitlines()]
    assert [(one["name"], one["reason"].split(" (")[0]) for one in dropped] == [
        ("b.mp4", "has 200 frames at 48 per second, and 241 are needed"),
        ("d.mp4", "is no video that is known here"),
    ]
    assert not (whole / "parts").exists()


def test_processes_and_interruptions_change_no_byte(videos: Path, whole: Path, tmp_path: Path) -> None:
    """Shares of 2 of 3 processes, a part that is lost, a third one: the same file; what is there is not made
    again.
    """
    names = ("--list", str(videos / "captions.csv"))
    parts = [tmp_path / "parts" / f"00000{i}-of-000003.safetensors" for i in range(3)]
    run(tmp_path, *names, rank=1, size=3)
    assert list(parts[0].parent.iterdir()) == [parts[1]]
    written = parts[1].stat().st_mtime_ns
    run(tmp_path, *names, rank=1, size=2)
    assert parts[1].stat().st_mtime_ns == written and not parts[0].exists()
    parts[2].unlink()
    parts[0].with_name(f"{parts[0].name}.1.tmp").write_bytes(b"half")
    run(tmp_path, *names, rank=2, size=3)
    assert not (tmp_path / "latents.safetensors").exists()
    run(tmp_path, *names, rank=0, size=3)
    for name in ("latents.safetensors", "captions.txt", "clips.jsonl", "dropped.jsonl"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()
    with pytest.raises(SystemExit):  # another seed in the same folder
        run(tmp_path, *names, "--seed", "2")


def test_a_start_belongs_to_the_clip_and_the_seed(videos: Path) -> None:
    """Guards against a start that follows from place or name: a list in another order would train on other
    clips.
    """
    one = take_frames(RawClip("a", videos / "a.mp4", ""), FORM_32, "id")
    other = take_frames(RawClip("b", (videos / "a.mp4").read_bytes(), ""), FORM_32, "id")
    assert one.start == other.start and torch.equal(one.pixels, other.pixels)
    assert (
        RawClip("a", videos / "a.mp4", "").sha256()
        == RawClip("b", (videos / "a.mp4").read_bytes(), "").sha256()
    )
    starts = {
        frame_numbers(
            900, Fraction(48), ClipForm(pixel_frames=81, height=1, width=1, fps=16, seed=seed), "id"
        )[0]
        for seed in range(8)
    }
    assert len(starts) > 4


def test_a_video_that_is_shown_otherwise_is_left_out_with_the_reason() -> None:
    """Turned, wide pixels, a variable rate, a hidden beginning: never the stored pixels as they lie. Kinds
    that only the scorer cannot read give the frames of the same film as an mp4.
    """
    form = ClipForm(pixel_frames=4, height=32, width=32, fps=8, seed=0)
    left_out, kept = {}, {}
    for strange in STRANGE:
        try:
            kept[strange.name] = take_frames(RawClip("x", strange.make(), ""), form, "id").pixels
        except UnusableClip as why:
            left_out[strange.name] = str(why)
    for strange in STRANGE:
        assert (strange.trained or "") in left_out.get(strange.name, ""), strange.name
    assert left_out.keys() == {one.name for one in STRANGE if one.trained} | {"one frame"}
    plain = kept["plain, with B-frames behind an edit list"]
    assert torch.equal(kept["Matroska"], plain) and torch.equal(kept["QuickTime"], plain)


FORM_32 = ClipForm(pixel_frames=81, height=32, width=32, fps=16, seed=0)


class Loud:
    """A pickle that runs a command when it is read without restriction."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.trace}",)


def test_info_is_never_unpickled_unrestricted(tmp_path: Path) -> None:
    """Plain values are read; a command, a NumPy number and a damaged pickle are one sentence each."""
    plain = {"caption": "a", "fps": 48.0, "size": (720, 1280), "ok": True, "more": [None, {"x": b"y"}]}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        if protocol > 2:  # bytes were looked up by name before
            assert read_info(pickle.dumps(plain, protocol), "x") == plain
    for value, found in (
        (Loud(tmp_path / "trace"), "system"),
        ({"caption": np.float64(1)}, "numpy"),
        ([1], "is list, expected a dict"),
    ):
        with pytest.raises(ValueError, match=found):
            read_info(pickle.dumps(value), "x")
    for damaged in (b"", b"\x80\x04", pickle.dumps(plain)[:-20], b"}q\x00(b.", b"I1\n."):
        with pytest.raises(ValueError, match="info of x is"):
            read_info(damaged, "x")
    assert not (tmp_path / "trace").exists()


def test_parquet_rows_become_clips(videos: Path, whole: Path, tmp_path: Path) -> None:
    """OpenVid's columns, in row groups of 2, and captions as a column: the latents of the same videos as
    files.
    """
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    raw = [(videos / name).read_bytes() for name in NAMES]
    captions = [f"caption of {name}" for name in NAMES]
    info = [pickle.dumps({"caption": text, "motion": 1.5}) for text in captions]
    pq.write_table(
        pa.table({"raw_video": raw[:3], "info": info[:3]}), tmp_path / "0.parquet", row_group_size=2
    )
    pq.write_table(pa.table({"caption": captions[3:], "raw_video": raw[3:]}), tmp_path / "1.parquet")
    files = (str(tmp_path / "0.parquet"), str(tmp_path / "1.parquet"))
    made = run(tmp_path / "out", "--parquet", *files)
    for name in ("latents.safetensors", "captions.txt"):
        found, expected = (folder / name for folder in (made, whole))
        if name.endswith("txt"):
            assert found.read_text() == expected.read_text()
        else:
            assert torch.equal(read_safetensors(found)["latents"], read_safetensors(expected)["latents"])
    source = ParquetFiles([Path(one) for one in files])
    assert len(source) == 5
    assert [clip.caption for clip in source.clips([1, 2, 4])] == [captions[i] for i in (1, 2, 4)]
    assert [clip.name for clip in source.clips([2, 3])] == [
        "0.parquet, row group 1, row 0",
        "1.parquet, row group 0, row 0",
    ]
    pq.write_table(pa.table({"video": raw[:1]}), tmp_path / "2.parquet")
    with pytest.raises(ValueError, match="has the columns video; expected raw_video"):
        ParquetFiles([tmp_path / "2.parquet"])


def test_lists_are_read_strictly(videos: Path, tmp_path: Path) -> None:
    """A missing video, a missing column and another kind of list are found before anything is encoded."""
    (tmp_path / "l.jsonl").write_text(
        '{"file": "a.mp4", "caption": "x\\u2028y"}\n\n{"file": "e.mp4", "caption": ""}\n'
    )
    listed = ListedFiles(tmp_path / "l.jsonl", videos)
    assert [clip.caption for clip in listed.clips([0, 1])] == ["x y", ""]
    with pytest.raises(FileNotFoundError, match=r"names 2 videos, 2 of which do not exist .*--videos"):
        ListedFiles(tmp_path / "l.jsonl")
    (tmp_path / "m.csv").write_text("video,caption\na.mp4,x\n")
    with pytest.raises(ValueError, match=r"m.csv has the columns video, caption, expected file and caption"):
        ListedFiles(tmp_path / "m.csv", videos)
    with pytest.raises(ValueError, match="is no list of videos"):
        ListedFiles(tmp_path / "m.txt", videos)


def test_the_form_is_the_suites() -> None:
    """81 frames of 480x832 at 16 a second for Wan's VAE, which 60x104 latents come from."""
    suite = read_suite(Path("workflow/config/vbench.yaml"), ROOT)
    wan = cast(Codec, object())
    assert encode_clips.form_of(suite, wan, 1) == FORM


@pytest.mark.slow
def test_processes_are_started_from_any_folder(videos: Path, whole: Path, tmp_path: Path) -> None:
    """Guards against a second command to learn; each has a share, and the bytes are those of one process."""
    command = [sys.executable, "-m", "workflow.scripts.encode_clips", "--processes", "2", "--shard", "2"]
    given = ["--list", "captions.csv", "--config", "workflow/config/toybox.yaml", "--output", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *given], cwd=videos, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "[0 of 2]" in done.stderr and "[1 of 2]" in done.stderr
    assert (tmp_path / "latents.safetensors").read_bytes() == (whole / "latents.safetensors").read_bytes()


@pytest.mark.slow
def test_a_killed_run_goes_on(videos: Path, tmp_path: Path) -> None:
    """kill -9 as soon as a part is there; what the next run adds makes the bytes of an unbroken one."""
    rows = "".join(f'{{"file": "{NAMES[i % 5]}", "caption": "{i}"}}\n' for i in range(100))
    (videos / "many.jsonl").write_text(rows)
    command = [
        sys.executable,
        "-m",
        "workflow.scripts.encode_clips",
        "--list",
        str(videos / "many.jsonl"),
        "--shard",
        "2",
        "--config",
        "workflow/config/toybox.yaml",
        "--output",
        str(tmp_path / "broken"),
    ]
    started = subprocess.Popen(command, cwd=ROOT)
    while started.poll() is None and not list(tmp_path.glob("broken/parts/*.safetensors")):
        time.sleep(0.002)
    started.send_signal(signal.SIGKILL)
    result = tmp_path / "broken" / "latents.safetensors"
    assert started.wait() == -signal.SIGKILL and not result.exists()
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    unbroken = run(tmp_path / "unbroken", "--list", str(videos / "many.jsonl"))
    assert result.read_bytes() == (unbroken / "latents.safetensors").read_bytes()
