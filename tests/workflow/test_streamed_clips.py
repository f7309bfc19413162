"""Clips that are written piece after piece: the bytes of one whole write, nothing of a clip that ends early,
and memory that does not grow with the clip.
"""

import hashlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evaluation.clips import ClipShape, upscale, write_clip
from evaluation.records import Prompt
from evaluation.shards import Batch
from workflow.sampling.shard import BatchPieces, Cost, Piece, ShardJob, make_shard

ROOT = Path(__file__).parents[2]
CHUNKS = (9, *[12] * 6)
SHAPE = ClipShape(pixel_frames=81, height=64, width=64, fps=16)
PROMPTS = [
    Prompt(id=f"p{n}", prompt="x", extended="x", dimensions=("color",), samples=2, facts={}) for n in range(3)
]
DRAW = np.random.Generator(np.random.Philox(5))
FRAMES = np.cumsum(DRAW.integers(0, 3, (2, 81, 16, 16, 3)), axis=1).astype(np.uint8)
LATENTS = DRAW.standard_normal((2, 21, 4, 2, 2), dtype=np.float32)


def job(folder: Path, ahead: int = 0) -> ShardJob:
    return ShardJob(
        row="mine", shard="0-of-1", prompts=PROMPTS, folder=folder, shape=SHAPE, batch_size=2, noise="none",
        weights_sha256=None, settings={}, depends_on={}, whole_list=False, device="cpu", ahead=ahead,
    )  # fmt: skip


def pieces(_: Batch, latents: np.ndarray = LATENTS) -> BatchPieces:
    """Two clips, chunk after chunk."""
    start = 0
    for number, frames in enumerate(CHUNKS):
        part = np.ascontiguousarray(latents[:, 3 * number : 3 * number + 3])
        made = Piece(FRAMES[:, start : start + frames], part)
        start += frames
        yield lambda made=made: made  # type: ignore[misc]
    yield lambda: Cost(1.0, 1.0, 0.5, 34)


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_streamed_clip_is_the_whole_clip(tmp_path: Path, ahead: int) -> None:
    """The file's bytes and the digest of its latents are those of one write of everything."""
    entries = make_shard(job(tmp_path, ahead), pieces)
    assert len(entries) == 6
    for number, entry in enumerate(entries):
        whole = tmp_path / "whole.mp4"
        write_clip(whole, upscale(FRAMES[number % 2], height=64, width=64), fps=16)
        assert (tmp_path / entry.clip.file).read_bytes() == whole.read_bytes()
        assert entry.clip.latents_sha256 == hashlib.sha256(LATENTS[number % 2].tobytes()).hexdigest()
        assert (entry.clip.pixel_frames, entry.timing.network_calls) == (81, 34)


def failing_in_the_middle(batch: Batch) -> BatchPieces:
    for number, piece in enumerate(pieces(batch)):
        if batch.samples[0].prompt.id == "p1" and number == 4:
            raise RuntimeError("out of memory")
        yield piece


def not_finite_in_the_middle(batch: Batch) -> BatchPieces:
    latents = LATENTS.copy()
    if batch.samples[0].prompt.id == "p1":
        latents[1, 14] = np.nan
    return pieces(batch, latents)


@pytest.mark.parametrize("ahead", [0, 2])
@pytest.mark.parametrize(
    ("start", "words"),
    [(failing_in_the_middle, "out of memory"), (not_finite_in_the_middle, "clip p1-1 are not finite")],
)
def test_what_stops_in_the_middle_of_a_clip_leaves_nothing_of_it(
    tmp_path: Path, ahead: int, start: Callable[[Batch], BatchPieces], words: str
) -> None:
    """Neither side waits for the other for ever; the batch is made again with the same bytes."""
    with pytest.raises((RuntimeError, FloatingPointError), match=words):
        make_shard(job(tmp_path, ahead), start)
    assert sorted(path.name for path in (tmp_path / "mp4").iterdir() if path.name.startswith("p0")) == [
        "p0-0.mp4",
        "p0-1.mp4",
    ]
    assert not [path for path in (tmp_path / "mp4").iterdir() if path.name.startswith("p1")]
    again = [entry.clip.sha256 for entry in make_shard(job(tmp_path, ahead), pieces)]
    assert again == [entry.clip.sha256 for entry in make_shard(job(tmp_path / "other"), pieces)]


PEAK = """
import resource, sys, torch
from pathlib import Path
from baselines.build import build_sampler
from baselines.spec import load_baseline
from evaluation.clips import ClipShape
from evaluation.records import Prompt
from models.checkpoints.open import open_model
from models.codec import LinearCodec
from workflow.sampling.batches import BatchSampler
from workflow.sampling.shard import ShardJob, make_shard
torch.set_num_threads(1)
frames, folder = int(sys.argv[1]), Path(sys.argv[2])
wan = open_model(Path("models/embedded/longlive.safetensors"))
class Text:
    def prepare(self, prompts): pass
    def rows(self, prompts): return torch.zeros(len(prompts), wan.config.text_len, wan.config.text_dim)
baseline = load_baseline("baselines/longlive.yaml").at_length(frames)
shape = (frames, wan.config.in_channels, 8, 8)
sampler = build_sampler(baseline, wan, latent_shape=shape, precision="float32")
codec = LinearCodec.load("models/embedded/codec.safetensors")
maker = BatchSampler(
    sampler=sampler, text=Text(), codec=codec, noise="portable", suite="s", items={}, prompts=[])
prompts = [Prompt(id="p", prompt="x", extended="x", dimensions=("color",), samples=1, facts={})]
shape = ClipShape(pixel_frames=4 * frames - 3, height=512, width=512, fps=16)
job = ShardJob(row="m", shard="0-of-1", prompts=prompts, folder=folder, shape=shape, batch_size=1, noise="n",
    weights_sha256=None, settings={}, depends_on={}, whole_list=False, device="cpu")
(entry,) = make_shard(job, maker.start)
assert entry.clip.pixel_frames == 4 * frames - 3
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
"""Samples one clip of the shipped LongLive student, written at 512 x 512; prints peak MiB."""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    """957 frames of 512 x 512 are 718 MiB; held whole they would show."""
    peaks = [
        float(
            subprocess.run(
                [sys.executable, "-c", PEAK, str(frames), str(tmp_path / str(frames))],
                cwd=ROOT, capture_output=True, text=True, check=True,
            ).stdout
        )
        for frames in (63, 240)
    ]  # fmt: skip
    assert peaks[1] - peaks[0] < 60, peaks


@pytest.mark.slow
def test_a_clip_that_is_killed_while_it_is_written_is_made_again(tmp_path: Path) -> None:
    """SIGKILL once a part of a long clip is in its file: nothing of it counts, and the bytes are then those
    of a clip that nothing stopped.
    """

    def command(folder: str) -> list[str]:
        return [sys.executable, "-c", PEAK, "63", str(tmp_path / folder)]

    def written() -> int:
        return sum(path.stat().st_size for path in (tmp_path / "killed").rglob("*") if path.is_file())

    with subprocess.Popen(command("killed"), cwd=ROOT, stdout=subprocess.DEVNULL) as job:
        while job.poll() is None and written() < 20_000:
            time.sleep(0.01)
        job.kill()
    assert job.returncode == -signal.SIGKILL, "it ended before a part was written"
    assert not list((tmp_path / "killed/mp4").glob("p-0.mp4"))
    for folder in ("killed", "unbroken"):
        subprocess.run(command(folder), cwd=ROOT, capture_output=True, check=True)
    found = [(tmp_path / folder / "mp4/p-0.mp4").read_bytes() for folder in ("killed", "unbroken")]
    assert found[0] == found[1]
