"""Verify clips that other programs wrote, and take them into a row, with journal and manifest."""

import argparse
import os
import resource
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from evaluation.clip_reader import ClipError, open_clip
from evaluation.clips import ClipShape, WatchedFrames
from evaluation.code_state import this_commit
from evaluation.files import canonical_sha256, unfinished_name
from evaluation.records import ClipTiming, Prompt, clip_file
from evaluation.shards import Sample
from workflow.sampling.shard import (
    JournalEntry,
    ShardJob,
    append_entry,
    clip_record,
    finished_clips,
    peak_mb,
    settings_from,
    timestamp,
    write_journal,
)

SHOWN_ERRORS = 10


class Verified(NamedTuple):
    """Clips that are what the suite wants, and one phrase for each that is not."""

    good: list[Sample]
    errors: list[str]


def verify_clips(
    folder: Path, samples: Iterable[Sample], shape: ClipShape | None, names: Mapping[str, str] | None = None
) -> Verified:
    """Look at <clip_id>.mp4 of every sample in `folder`: do the scorer's readers see it, has it this shape,
    is it not constant. shape: None for clips of any shape.

    names: what messages call a clip's file, by clip id, if it had another name before.
    """
    good, errors = [], []
    for sample in samples:
        path = folder / f"{sample.clip_id}.mp4"
        try:
            look, frames = open_clip(path, shape)
            watched = WatchedFrames(frames, (look.frames, look.height, look.width, 3))
            for _ in watched:
                pass
            found = [watched.constant] if watched.constant else []
        except FileNotFoundError:
            found = ["was not written"]
        except ClipError as error:
            found = [error.reason]
        if found:
            name = (names or {}).get(sample.clip_id, path.name)
            errors.append(f"{name} {' and '.join(found)}")
        else:
            good.append(sample)
    return Verified(good, errors)


def first_errors(errors: Sequence[str]) -> str:
    """The first few errors, and how many more there are."""
    more = f"; and {len(errors) - SHOWN_ERRORS} more" if len(errors) > SHOWN_ERRORS else ""
    return "; ".join(errors[:SHOWN_ERRORS]) + more


def external_job(
    flags: argparse.Namespace,
    shard: str,
    prompts: Sequence[Prompt],
    *,
    files: Mapping[str, str],
    device: str,
    noise: str | None = None,
    shape: ClipShape | None = None,
) -> ShardJob:
    """What a shard of clips made elsewhere depends on. Our own code is left out: it does not make them.

    files: sha256 of the files that the program reads, its weights among them. shape: of the clips, where the
    settings have none for all.
    """
    settings = settings_from(flags.settings)
    hashes = list(files.values())
    weights = hashes[0] if len(hashes) == 1 else canonical_sha256(hashes) if hashes else None
    return ShardJob(
        row=flags.row,
        shard=shard,
        prompts=prompts,
        folder=flags.clips,
        shape=shape or ClipShape(**settings["clip"]),
        batch_size=1,
        noise=noise or f"external:{settings['suite']}",
        weights_sha256=weights,
        settings=settings,
        depends_on={"files": dict(files)},
        whole_list=False,
        device=device,
    )


class ShardIntake:
    """The clips of a shard that are in the row, by its journals, and the way in for the others."""

    def __init__(self, job: ShardJob, samples: Sequence[Sample]) -> None:
        self.job, self.samples = job, samples
        self.keys = {sample.clip_id: job.key(sample) for sample in samples}
        self.entries = finished_clips(job.folder, self.keys)
        self.journal = job.folder / "journal" / f"{job.shard}.jsonl"
        write_journal(self.journal, self.entries.values())

    def missing(self) -> list[Sample]:
        """The samples whose clips are not in the row yet."""
        return [sample for sample in self.samples if sample.clip_id not in self.entries]

    def in_order(self) -> list[JournalEntry]:
        """The entries of all clips, in work-list order."""
        return [self.entries[name] for name in self.keys]

    def take(self, samples: Sequence[Sample], folder: Path, *, seconds: float, keep: bool = False) -> None:
        """Enter verified clips, `seconds` each, into row and journal. keep: copy the files, not move."""
        for sample in samples:
            source, target = folder / f"{sample.clip_id}.mp4", self.job.folder / clip_file(sample.clip_id)
            target.parent.mkdir(parents=True, exist_ok=True)
            if keep or source.is_symlink():  # what a link points to may go
                part = target.with_name(unfinished_name(target.name))
                source = shutil.copyfile(source, part)
            os.replace(source, target)
            self._enter(sample, seconds)

    def _enter(self, sample: Sample, seconds: float) -> None:
        clip = clip_record(self.job, sample, pixel_frames=self.job.shape.pixel_frames, latents_sha256=None)
        # Another program's time is one number: it stands under sampling, and the report shows no parts of it.
        timing = ClipTiming(
            clip_id=sample.clip_id,
            row=self.job.row,
            sample_s=round(seconds, 6),
            decode_s=0.0,
            write_s=0.0,
            first_frames_s=None,
            network_calls=0,
            peak_mb=peak_mb(resource.RUSAGE_CHILDREN),
            peak_gpu_mb=None,
            device=self.job.device,
            attention=None,
            load=None,
            commit=this_commit(),
            finished=timestamp(),
        )
        entry = JournalEntry(key=self.keys[sample.clip_id], clip=clip, timing=timing)
        self.entries[sample.clip_id] = entry
        append_entry(self.journal, entry)
