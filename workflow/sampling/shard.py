"""Make the clips of one shard: skip what is finished, write each clip whole, then manifest and timings.

How a batch becomes pixels is up to the caller: by a network (workflow/sampling/setup.py) or by the renderer
(workflow/scripts/render.py). Every finished clip is also noted in a journal beside the clips, one file a
shard. So a killed job, or a run with another number of shards, goes on with the clips there are.
"""

import hashlib
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

from evaluation.clips import ClipFrames, ClipShape, upscale, write_clip
from evaluation.code_state import this_commit
from evaluation.command import Parser, command
from evaluation.files import append_line, canonical_sha256, file_sha256, load_json, whole_lines, write_text
from evaluation.records import (
    Clip,
    ClipTiming,
    Load,
    Prompt,
    Record,
    Sha256,
    clip_file,
    log_line,
    parse_log_line,
    read_jsonl,
    write_jsonl,
)
from evaluation.shards import (
    Batch,
    Sample,
    full_batches,
    parse_shard,
    samples_to_render,
    shard_batches,
)
from workflow.sampling.load import LoadMeter

log = logging.getLogger(__name__)


class MadeClip(NamedTuple):
    """One clip as made, and what it cost (see evaluation.records.ClipTiming)."""

    frames: ClipFrames
    """[T, h, w, 3] in uint8."""
    latents: np.ndarray | None
    """[F, C, H, W] in float32; None of a rendered clip."""
    sample_s: float
    decode_s: float
    first_frames_s: float | None
    network_calls: int


StartBatch = Callable[[Batch], Callable[[], list[MadeClip]]]
"""Starts a batch and returns a function that waits for its clips, one for each sample of the batch."""


class JournalEntry(Record):
    """A finished clip: a line of a journal, which has a checksum of its own."""

    key: Sha256
    """Digest of everything that the clip depends on."""
    clip: Clip
    timing: ClipTiming


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardJob:
    """What one shard needs to know besides how to make a batch."""

    row: str
    shard: str
    """<i>-of-<n>, with i from 0."""
    prompts: Sequence[Prompt]
    """All prompts of the suite, whatever the shard."""
    folder: Path
    """Folder of the row's clips and journals."""
    shape: ClipShape
    batch_size: int
    noise: str
    weights_sha256: str | None
    settings: dict[str, Any]
    """The row's sampling settings as plain values."""
    depends_on: dict[str, Any]
    """What else a clip depends on: code, weights, files."""
    whole_list: bool
    """Whether a clip depends on the other prompts too."""
    device: str
    attention: str | None = None
    """Name of the attention kernel."""
    software: dict[str, str] = field(default_factory=dict)
    """Versions by name."""
    ahead: int = 0
    """Batches that may be started before earlier ones are written. This keeps a GPU busy; on a CPU sampling
    and writing would want the same cores.
    """

    def key(self, sample: Sample) -> str:
        """Digest of everything the clip of `sample` depends on."""
        prompts = self.prompts if self.whole_list else [sample.prompt]
        listed = [prompt.model_dump(mode="json") for prompt in prompts]
        return canonical_sha256([self.settings, self.depends_on, listed, sample.clip_id])


def make_shard(job: ShardJob, start_batch: StartBatch, only: Set[str] | None = None) -> list[JournalEntry]:
    """Make the wanted clips that are not finished. Returns entries of all wanted ones, in work-list order.

    only: ids of the wanted clips, None for all of the shard. A batch is made whole, or skipped if nothing of
    it is missing. While up to job.ahead batches are written, the next ones are sampled. Whatever stops the
    shard, clips that were made before are written and noted first.
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
    write_journal(journal, finished.values())
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
                meter = LoadMeter()
                wait = start_batch(batch)
                writing.append(pool.submit(_write_batch, job, batch, missing, wait, meter, keys))
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
    wait: Callable[[], list[MadeClip]],
    meter: LoadMeter,
    keys: Mapping[str, str],
) -> list[JournalEntry]:
    """Wait for a batch and write those of its clips that are missing."""
    results = wait()
    load = meter.read(len(batch.samples))
    assert len(results) == len(batch.samples), "one result per sample of the batch"
    made = dict(zip((sample.clip_id for sample in batch.wanted), results[: len(batch.wanted)], strict=True))
    return [_finish(job, sample, made[sample.clip_id], load, keys[sample.clip_id]) for sample in missing]


def finished_clips(folder: Path, keys: dict[str, str]) -> dict[str, JournalEntry]:
    """Journal entries, of any shard, whose key is wanted and whose file still has the noted bytes; by clip
    id.
    """
    finished: dict[str, JournalEntry] = {}
    for journal in sorted((folder / "journal").glob("*.jsonl")):
        for line in whole_lines(journal):
            try:
                entry = parse_log_line(JournalEntry, line, str(journal))
            except ValueError:
                continue  # damaged, or being written when its job was killed; its clip is made again
            clip = entry.clip
            path = folder / clip.file
            if keys.get(clip.clip_id) == entry.key and path.is_file() and file_sha256(path) == clip.sha256:
                finished[clip.clip_id] = entry
    return finished


def _finish(job: ShardJob, sample: Sample, made: MadeClip, load: Load, key: str) -> JournalEntry:
    started = time.perf_counter()
    write_clip(
        job.folder / clip_file(sample.clip_id),
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
        load=load,
        commit=this_commit(),
        finished=timestamp(),
        software=job.software,
    )
    return JournalEntry(key=key, clip=clip, timing=timing)


def clip_record(job: ShardJob, sample: Sample, *, pixel_frames: int, latents_sha256: str | None) -> Clip:
    """The manifest's line of a clip that lies in its place."""
    return Clip(
        clip_id=sample.clip_id,
        row=job.row,
        prompt_id=sample.prompt.id,
        sample=sample.index,
        file=clip_file(sample.clip_id),
        sha256=file_sha256(job.folder / clip_file(sample.clip_id)),
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
    """Peak memory in MiB of this process (of: resource.RUSAGE_SELF) or its children (RUSAGE_CHILDREN)."""
    return round(resource.getrusage(of).ru_maxrss / 1024, 1)


def peak_gpu_mb() -> float | None:
    """Peak GPU memory of this process in MiB, None where it uses none."""
    torch = sys.modules.get("torch")  # rendering runs without it
    if torch is None or not torch.cuda.is_initialized():
        return None
    return float(round(torch.cuda.max_memory_allocated() / 2**20, 1))


def timestamp() -> str:
    """The time, for timings."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def append_entry(journal: Path, entry: JournalEntry) -> None:
    """Note one more finished clip."""
    append_line(journal, log_line(entry))


def write_journal(journal: Path, entries: Iterable[JournalEntry]) -> None:
    """Note finished clips in a journal of their own, in place of what it held."""
    write_text(journal, "".join(f"{log_line(entry)}\n" for entry in entries))


def shard_command(description: str | None, *flags: str) -> Parser:
    """A parser with the flags that sampling and rendering share, and the shared `flags` besides."""
    shared = ("row", "shard", "prompts", "chosen", "settings", "code", "clips", "manifest", "timings")
    return command(description, *shared, *flags)


def wanted_clips(prompts: Path, chosen: Path, spread: int | None = None) -> frozenset[str] | None:
    """Ids of the clips to make: of the chosen prompts, or `spread` many of them; None for all of the row."""
    if spread is None and file_sha256(prompts) == file_sha256(chosen):
        return None
    samples = samples_to_render(read_jsonl(Prompt, chosen))
    return frozenset(sample.clip_id for sample in (spread_out(samples, spread) if spread else samples))


def spread_out(samples: Sequence[Sample], count: int) -> list[Sample]:
    """`count` (2 or more) samples spread evenly over a list, first to last; all of a shorter list."""
    if len(samples) <= count:
        return list(samples)
    return [samples[place * (len(samples) - 1) // (count - 1)] for place in range(count)]


def write_shard(entries: Sequence[JournalEntry], manifest: Path, timings: Path) -> None:
    """Manifest (reproducible) and timings (not) of a finished shard."""
    write_jsonl(timings, [entry.timing for entry in entries])
    write_jsonl(manifest, [entry.clip for entry in entries])


def settings_from(text: str) -> dict[str, Any]:
    """Settings from the command line. Raises ValueError if they are not one JSON object."""
    settings = load_json(text, "--settings")
    if not isinstance(settings, dict):
        raise ValueError(f"--settings must be one JSON object, found {type(settings).__name__}.")
    return settings
