"""Make the clips of one shard: skip what is finished, write each clip whole, then the shard's manifest and
timings.

How a batch becomes pixels is the caller's: a network (workflow/sampling/setup.py) or the renderer
(render.py). Every finished clip is also written down in a journal beside the clips, one file per shard, so
that a killed job, or a run with another number of shards, goes on with the clips there are.
"""

import argparse
import hashlib
import json
import logging
import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from evaluation.clips import ClipShape, Frames, upscale, write_clip
from evaluation.code_state import this_commit
from evaluation.files import file_sha256
from evaluation.records import Clip, ClipTiming, Prompt, Sha256, read_jsonl, write_jsonl
from evaluation.shards import (
    Batch,
    Sample,
    canonical_sha256,
    full_batches,
    parse_shard,
    samples_to_render,
    shard_batches,
)

log = logging.getLogger(__name__)


class Made(NamedTuple):
    """One clip as made: frames [T, h, w, 3] uint8, its latents [F, C, H, W] in float32 (None for renderings),
    and what it cost.
    """

    frames: Frames
    latents: np.ndarray | None
    sample_s: float
    decode_s: float
    first_frames_s: float | None
    network_calls: int


Making = Callable[[Batch], Callable[[], list[Made]]]
"""Starts a batch and returns what waits for it: one Made per sample of the batch."""


class JournalEntry(BaseModel):
    """A finished clip. key: digest of everything the clip depends on."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    key: Sha256
    clip: Clip
    timing: ClipTiming


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardJob:
    """What one shard needs to know beside how to make a batch.

    settings: the row's sampling settings as plain values; depends_on: what else a clip depends on (code,
    weights, files);
    whole_list: whether a clip depends on the other prompts too; attention: name of the attention kernel;
    software: versions by name; ahead: batches that may be started before earlier ones are written (a GPU is
    kept busy so; on a CPU both would want the same cores).
    """

    row: str
    shard: str
    prompts: Sequence[Prompt]
    folder: Path
    shape: ClipShape
    batch_size: int
    noise: str
    weights_sha256: str | None
    settings: dict[str, Any]
    depends_on: dict[str, Any]
    whole_list: bool
    device: str
    attention: str | None = None
    software: dict[str, str] = field(default_factory=dict)
    ahead: int = 0

    def key(self, sample: Sample) -> str:
        """Digest of everything the clip of `sample` depends on."""
        prompts = self.prompts if self.whole_list else [sample.prompt]
        listed = [prompt.model_dump(mode="json") for prompt in prompts]
        return canonical_sha256([self.settings, self.depends_on, listed, sample.clip_id])


def make_shard(job: ShardJob, making: Making, only: Set[str] | None = None) -> list[JournalEntry]:
    """Entries of every wanted clip of the shard, in work-list order; makes those that are not finished.

    only: ids of the clips that are wanted, None for all. Batches are made whole either way.

    Batches of which every clip is finished are skipped whole. Clips are written beside the sampling of the
    next batches, as many as job.ahead says. Whatever stops the shard, clips that were made before are written
    and noted first.
    """
    batches = shard_batches(
        full_batches(samples_to_render(job.prompts), job.batch_size), *parse_shard(job.shard)
    )
    keys = {
        s.clip_id: job.key(s) for batch in batches for s in batch.wanted if only is None or s.clip_id in only
    }
    finished = finished_clips(job.folder, keys)
    log.info("%s %s: %d of %d clips are finished", job.row, job.shard, len(finished), len(keys))
    # A part of a shard has a journal of its own, so that it takes nothing from that of the whole.
    part = "" if only is None else f".{canonical_sha256(sorted(only))[:12]}"
    journal = job.folder / "journal" / f"{job.shard}{part}.jsonl"
    start_journal(journal, finished.values())
    start, made = time.monotonic(), 0
    todo = [
        (batch, [s for s in batch.wanted if s.clip_id in keys and s.clip_id not in finished])
        for batch in batches
    ]
    todo = [(batch, missing) for batch, missing in todo if missing]
    waiting = sum(len(missing) for _, missing in todo)
    writing: deque[Future[list[JournalEntry]]] = deque()

    def note(entries: Sequence[JournalEntry]) -> None:
        nonlocal made
        for entry in entries:
            finished[entry.clip.clip_id] = entry
            append_entry(journal, entry)
        made += len(entries)
        left = (time.monotonic() - start) / made * (waiting - made)
        done = len(keys) - waiting + made
        log.info("%s %s: %d of %d clips, about %.0f s left", job.row, job.shard, done, len(keys), left)

    with ThreadPoolExecutor(max_workers=max(1, job.ahead)) as pool:
        try:
            for batch, missing in todo:
                writing.append(pool.submit(_write_batch, job, batch, missing, making(batch), keys))
                while len(writing) > job.ahead:
                    note(writing.popleft().result())
        finally:
            while writing:
                note(writing.popleft().result())
    return [finished[clip] for clip in keys]


def _write_batch(
    job: ShardJob,
    batch: Batch,
    missing: Sequence[Sample],
    result: Callable[[], list[Made]],
    keys: Mapping[str, str],
) -> list[JournalEntry]:
    """Wait for a batch and write those of its clips that are missing."""
    results = result()
    assert len(results) == len(batch.samples), "one result per sample of the batch"
    made = dict(zip((sample.clip_id for sample in batch.wanted), results[: len(batch.wanted)], strict=True))
    return [_finish(job, sample, made[sample.clip_id], keys[sample.clip_id]) for sample in missing]


def finished_clips(folder: Path, keys: dict[str, str]) -> dict[str, JournalEntry]:
    """Journal entries, of any shard, whose key is wanted and whose file still has the noted bytes; by clip
    id.
    """
    finished: dict[str, JournalEntry] = {}
    for journal in sorted((folder / "journal").glob("*.jsonl")):
        for line in journal.read_text(encoding="utf-8").splitlines():
            try:
                entry = JournalEntry.model_validate_json(line)
            except ValidationError:
                continue  # the line that was being written when its job was killed; its clip is made again
            clip = entry.clip
            path = folder / clip.file
            if keys.get(clip.clip_id) == entry.key and path.is_file() and file_sha256(path) == clip.sha256:
                finished[clip.clip_id] = entry
    return finished


def _finish(job: ShardJob, sample: Sample, made: Made, key: str) -> JournalEntry:
    started = time.perf_counter()
    write_clip(
        job.folder / clip_file(sample),
        upscale(made.frames, height=job.shape.height, width=job.shape.width),
        fps=job.shape.fps,
    )
    latents = None if made.latents is None else hashlib.sha256(made.latents.tobytes()).hexdigest()
    clip = clip_record(job, sample, pixel_frames=len(made.frames), latents_sha256=latents)
    timing = ClipTiming(
        clip_id=sample.clip_id,
        row=job.row,
        sample_s=round(made.sample_s, 6),
        decode_s=round(made.decode_s, 6),
        write_s=round(time.perf_counter() - started, 6),
        first_frames_s=None if made.first_frames_s is None else round(made.first_frames_s, 6),
        network_calls=made.network_calls,
        peak_mb=peak_mb(resource.RUSAGE_SELF),
        peak_gpu_mb=peak_gpu_mb(),
        device=job.device,
        attention=job.attention,
        commit=this_commit(),
        finished=now(),
        software=job.software,
    )
    return JournalEntry(key=key, clip=clip, timing=timing)


def clip_file(sample: Sample) -> str:
    """Where a sample's clip lies in its row's folder."""
    return f"mp4/{sample.clip_id}.mp4"


def clip_record(job: ShardJob, sample: Sample, *, pixel_frames: int, latents_sha256: str | None) -> Clip:
    """The manifest's line of a clip that lies in its place."""
    return Clip(
        clip_id=sample.clip_id,
        row=job.row,
        prompt_id=sample.prompt.id,
        sample=sample.index,
        file=clip_file(sample),
        sha256=file_sha256(job.folder / clip_file(sample)),
        latents_sha256=latents_sha256,
        noise=job.noise,
        weights_sha256=job.weights_sha256,
        settings_sha256=canonical_sha256(job.settings),
        batch_size=job.batch_size,
        pixel_frames=pixel_frames,
        height=job.shape.height,
        width=job.shape.width,
        fps=job.shape.fps,
    )


def peak_mb(of: int) -> float:
    """Peak memory in MiB of this process (resource.RUSAGE_SELF) or its children (resource.RUSAGE_CHILDREN)."""
    return round(resource.getrusage(of).ru_maxrss / 1024, 1)


def peak_gpu_mb() -> float | None:
    """Peak GPU memory of this process in MiB, None where it uses none."""
    torch = sys.modules.get("torch")  # rendering runs without it
    if torch is None or not torch.cuda.is_initialized():
        return None
    return float(round(torch.cuda.max_memory_allocated() / 2**20, 1))


def now() -> str:
    """The time, for timings."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def start_journal(journal: Path, entries: Iterable[JournalEntry]) -> None:
    """Write a shard's journal anew, with the clips that are finished."""
    write_jsonl(journal, entries)


def append_entry(journal: Path, entry: JournalEntry) -> None:
    """Note one more finished clip."""
    with journal.open("a", encoding="utf-8") as stream:
        stream.write(entry.model_dump_json() + "\n")


def shard_parser(description: str | None) -> argparse.ArgumentParser:
    """Flags that sampling and rendering share."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--row", required=True)
    parser.add_argument("--shard", required=True, help="<i>-of-<n>")
    parser.add_argument("--prompts", required=True, type=Path)
    parser.add_argument(
        "--chosen",
        required=True,
        type=Path,
        help="the prompts of this run: all, or what a subset keeps; only their clips are made",
    )
    parser.add_argument("--settings", required=True, help="JSON of the row's sampling settings")
    parser.add_argument("--code", required=True, help="digest of the code that makes the clips")
    parser.add_argument("--clips", required=True, type=Path, help="folder of the row")
    parser.add_argument("--manifest", required=True, type=Path)
    parser.add_argument("--timings", required=True, type=Path)
    return parser


def chosen_clips(prompts: Path, chosen: Path) -> frozenset[str] | None:
    """Ids of the clips of the chosen prompts; None if these are all of the suite's prompts."""
    if file_sha256(prompts) == file_sha256(chosen):
        return None
    return frozenset(sample.clip_id for sample in samples_to_render(read_jsonl(Prompt, chosen)))


def write_shard(entries: Sequence[JournalEntry], manifest: Path, timings: Path) -> None:
    """Manifest (reproducible) and timings (not) of a finished shard."""
    write_jsonl(timings, [entry.timing for entry in entries])
    write_jsonl(manifest, [entry.clip for entry in entries])


def settings_from(text: str) -> dict[str, Any]:
    """Settings from the command line. Raises ValueError if they are not one JSON object."""
    settings = json.loads(text)
    if not isinstance(settings, dict):
        raise ValueError(f"--settings must be one JSON object, found {type(settings).__name__}.")
    return settings
