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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from queue import Full, Queue
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from evaluation.clips import ClipShape, ClipWriter, upscale
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
from evaluation.selection import first_samples
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


class Piece(NamedTuple):
    """The next part of every clip of a batch."""

    frames: NDArray[np.uint8]
    """[B, t, h, w, 3]."""
    latents: NDArray[np.float32] | None
    """[B, f, C, H, W]; None of rendered clips."""


class Cost(NamedTuple):
    """What a clip of a batch cost (see evaluation.records.ClipTiming)."""

    sample_s: float
    decode_s: float
    first_frames_s: float | None
    network_calls: int


BatchPieces = Iterator[Callable[[], Piece | Cost]]
"""A batch in the making: functions that wait for its pieces, in order, the last for what a clip cost."""

StartBatch = Callable[[Batch], BatchPieces]

QUEUED = 16
"""Pieces that wait to be written while a GPU samples the next ones: two batches of short clips."""


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
                write = partial(_write_batch, job, batch, missing, LoadMeter(), keys)
                pieces = start_batch(batch)
                if not job.ahead:
                    note(write(pieces))
                    continue
                writing.append(_hand_over(pool, pieces, write))
                while len(writing) > job.ahead:
                    note(writing.popleft().result())
        finally:
            while writing:
                note(writing.popleft().result())
    return [finished[clip] for clip in keys]


def _hand_over(
    pool: ThreadPoolExecutor, pieces: BatchPieces, write: Callable[[BatchPieces], list[JournalEntry]]
) -> Future[list[JournalEntry]]:
    """Make the pieces here, in the thread that uses the device, and have them written by another.

    What stops the one stops the other: nothing waits for pieces that will never come, or be taken.
    """
    queue: Queue[Callable[[], Piece | Cost] | None] = Queue(QUEUED)
    future = pool.submit(write, iter(queue.get, None))

    def put(piece: Callable[[], Piece | Cost] | None) -> None:
        while not future.done():
            try:
                queue.put(piece, timeout=1)
            except Full:
                continue
            return
        future.result()  # raises what stopped the writing

    try:
        for piece in pieces:
            put(piece)
    except BaseException:
        if not future.done():
            queue.put(None)  # a batch that ends early is not written
        raise
    put(None)
    return future


def _write_batch(
    job: ShardJob,
    batch: Batch,
    missing: Sequence[Sample],
    meter: LoadMeter,
    keys: Mapping[str, str],
    pieces: BatchPieces,
) -> list[JournalEntry]:
    """Wait for a batch, piece after piece, and write those of its clips that are missing."""
    place = {sample.clip_id: number for number, sample in enumerate(batch.wanted)}
    with ExitStack() as opened:
        files = [opened.enter_context(_ClipFile(job, one, place[one.clip_id])) for one in missing]
        cost: Cost | None = None
        for wait in pieces:
            made = wait()
            if isinstance(made, Cost):
                cost = made
                break
            for file in files:
                file.append(made)
        if cost is None:
            raise RuntimeError(f"The batch of clip {batch.wanted[0].clip_id} ended before its last piece.")
    load = meter.read(len(batch.samples))
    return [file.entry(cost, load, keys[file.sample.clip_id]) for file in files]


class _ClipFile:
    """One clip of a batch while it is written, as a context, in the suite's size; its latents are hashed."""

    def __init__(self, job: ShardJob, sample: Sample, place: int) -> None:
        """place: of the clip in its batch."""
        self.job, self.sample, self.place = job, sample, place
        shape = job.shape
        path = job.folder / clip_file(sample.clip_id)
        self.writer = ClipWriter(path, height=shape.height, width=shape.width, fps=shape.fps)
        self.latents: hashlib._Hash | None = None
        self.seconds = 0.0

    def __enter__(self) -> Self:
        self.writer.__enter__()
        return self

    def append(self, piece: Piece) -> None:
        """Raises FloatingPointError, naming the clip, if its latents are not finite."""
        started, shape = time.perf_counter(), self.job.shape
        if piece.latents is not None:
            latents = np.ascontiguousarray(piece.latents[self.place])
            if not np.isfinite(latents).all():
                raise FloatingPointError(
                    f"The latents of clip {self.sample.clip_id} are not finite, so no clip was written; look "
                    "at the row's weights."
                )
            self.latents = self.latents or hashlib.sha256()
            self.latents.update(latents.data)
        self.writer.append(upscale(piece.frames[self.place], height=shape.height, width=shape.width))
        self.seconds += time.perf_counter() - started

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        started = time.perf_counter()
        self.writer.__exit__(kind, error, trace)
        self.seconds += time.perf_counter() - started

    def entry(self, cost: Cost, load: Load, key: str) -> JournalEntry:
        """What is noted of the finished clip."""
        job, latents = self.job, None if self.latents is None else self.latents.hexdigest()
        clip = clip_record(job, self.sample, pixel_frames=self.writer.frames, latents_sha256=latents)
        timing = ClipTiming(
            clip_id=self.sample.clip_id,
            row=job.row,
            sample_s=round(cost.sample_s, 6),
            decode_s=round(cost.decode_s, 6),
            write_s=round(self.seconds, 6),
            first_frames_s=None if cost.first_frames_s is None else round(cost.first_frames_s, 6),
            network_calls=cost.network_calls,
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


def wanted_clips(
    prompts: Path, chosen: Path, spread: int | None = None, first: int | None = None
) -> frozenset[str] | None:
    """Ids of the clips to make: of the chosen prompts, or `spread` many of them; None for all of the row.

    first: as `first_samples` takes it.
    """
    if spread is None and file_sha256(prompts) == file_sha256(chosen):
        return None
    samples = samples_to_render(first_samples(read_jsonl(Prompt, chosen), first))
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
