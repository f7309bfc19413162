"""Prove clips that other programs wrote, and take them in as a row's own: journal and manifest as for native
rows.
"""

import os
import resource
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from evaluation.clips import ClipShape, clip_errors, read_clip
from evaluation.code_state import this_commit
from evaluation.records import ClipTiming
from evaluation.shards import Sample
from workflow.sampling.shard import (
    JournalEntry,
    ShardJob,
    append_entry,
    clip_file,
    clip_record,
    finished_clips,
    now,
    peak_mb,
    start_journal,
)

SHOWN = 10


class Proof(NamedTuple):
    """Clips that are what the suite wants, and one phrase for each that is not."""

    good: list[Sample]
    faults: list[str]


class Taken(NamedTuple):
    """The clips of a shard that are in: entries by clip id, the key of every clip, and the shard's journal."""

    entries: dict[str, JournalEntry]
    keys: dict[str, str]
    journal: Path

    def missing(self, samples: Sequence[Sample]) -> list[Sample]:
        """The samples whose clips are not in yet."""
        return [sample for sample in samples if sample.clip_id not in self.entries]

    def in_order(self) -> list[JournalEntry]:
        """Every entry, in work-list order."""
        return [self.entries[name] for name in self.keys]


def open_shard(job: ShardJob, samples: Sequence[Sample]) -> Taken:
    """What is finished of a shard, by the journals of its row."""
    keys = {sample.clip_id: job.key(sample) for sample in samples}
    entries = finished_clips(job.folder, keys)
    journal = job.folder / "journal" / f"{job.shard}.jsonl"
    start_journal(journal, entries.values())
    return Taken(entries, keys, journal)


def prove(folder: Path, samples: Iterable[Sample], shape: ClipShape) -> Proof:
    """Look at <clip_id>.mp4 of every sample in `folder`: there, decodable, right in shape, not constant."""
    good, faults = [], []
    for sample in samples:
        path = folder / f"{sample.clip_id}.mp4"
        try:
            found = clip_errors(read_clip(path), shape)
        except FileNotFoundError:
            found = ["was not written"]
        except ValueError:
            found = ["cannot be decoded or holds no frame"]
        if found:
            faults.append(f"{path.name} {' and '.join(found)}")
        else:
            good.append(sample)
    return Proof(good, faults)


def listed(faults: Sequence[str]) -> str:
    """The first few faults and how many there are."""
    more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return "; ".join(faults[:SHOWN]) + more


def take_in(
    job: ShardJob, taken: Taken, samples: Sequence[Sample], folder: Path, *, seconds: float, keep: bool
) -> None:
    """Enter proven clips of `folder` into the row and its journal; seconds: what making one of them took.

    keep: copy the files instead of moving them.
    """
    for sample in samples:
        source, target = folder / f"{sample.clip_id}.mp4", job.folder / clip_file(sample)
        target.parent.mkdir(parents=True, exist_ok=True)
        if keep:
            part = target.with_name(f"{target.name}.{os.getpid()}.tmp")
            shutil.copyfile(source, part)
            source = part
        os.replace(source, target)
        clip = clip_record(job, sample, pixel_frames=job.shape.pixel_frames, latents_sha256=None)
        # Another program's time is one number: it stands under sampling, and the report shows no parts of it.
        timing = ClipTiming(
            clip_id=sample.clip_id,
            row=job.row,
            sample_s=round(seconds, 6),
            decode_s=0.0,
            write_s=0.0,
            first_frames_s=None,
            network_calls=0,
            peak_mb=peak_mb(resource.RUSAGE_CHILDREN),
            peak_gpu_mb=None,
            device=job.device,
            attention=None,
            commit=this_commit(),
            finished=now(),
        )
        entry = JournalEntry(key=taken.keys[sample.clip_id], clip=clip, timing=timing)
        taken.entries[sample.clip_id] = entry
        append_entry(taken.journal, entry)
