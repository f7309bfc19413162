"""Take in finished clips made elsewhere, all of them or none. The originals are copied, not moved."""

import argparse
import logging
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation.clip_reader import ClipError, look_at_clip
from evaluation.clips import ClipShape
from evaluation.command import command, run
from evaluation.files import load_json
from evaluation.records import UNKNOWN_NOISE, Prompt, clip_file, read_jsonl, write_jsonl
from evaluation.scored_form import to_scored_form
from evaluation.shards import Sample, samples_to_render
from workflow.external.archive import (
    Match,
    bring_all,
    match_names,
    original_files,
    other_entries,
    samples_hint,
    zip_members,
)
from workflow.external.changed_files import remember
from workflow.external.ingest import external_job, first_errors, verify_clips
from workflow.external.numbered import lines_of_list
from workflow.external.work_list import shard_samples
from workflow.sampling.shard import clip_record, settings_from

log = logging.getLogger("import")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "row", "prompts", "settings", "clips")
    parser.add_argument("--from", required=True, type=Path, dest="source", help="folder or zip of clips")
    parser.add_argument("--numbered-by", default="", help="list of prompts whose lines the names count")
    parser.add_argument("--files", type=Path, help="JSON: the name of each clip's file by clip id")
    parser.add_argument("--shards", required=True, nargs="+", help="<i>-of-<n> of every manifest")
    parser.add_argument("--manifests", required=True, nargs="+", type=Path)
    parser.add_argument("--timings", required=True, nargs="+", type=Path, help="empty: nothing is made here")
    return run(parser, arguments, import_clips)


def import_clips(flags: argparse.Namespace) -> None:
    """Raises ValueError or FileNotFoundError, and takes in nothing, if a clip is missing, extra or wrong."""
    prompts = read_jsonl(Prompt, flags.prompts)
    samples = samples_to_render(prompts)
    clip = settings_from(flags.settings)["clip"]
    shape = ClipShape(**clip) if clip else None
    names = None if flags.files is None else load_json(flags.files.read_bytes(), str(flags.files))
    private = flags.clips / "incoming"
    shutil.rmtree(private, ignore_errors=True)
    errors = stage_clips(flags.source, samples, shape, private, names, flags.numbered_by)
    if errors:
        shutil.rmtree(private)
        raise ValueError(
            f"Row {flags.row}: {len(errors)} faults in {flags.source}, {len(samples)} clips expected: "
            f"{first_errors(errors)}. Nothing was imported."
        )
    named = None if names is None else names.values()
    hashes = remember(flags.clips, original_files(flags.source, named, flags.numbered_by))
    log.info("%s: %d clips from %d files are verified", flags.row, len(samples), len(hashes))
    (flags.clips / "mp4").mkdir(parents=True, exist_ok=True)
    for sample in samples:
        os.replace(private / f"{sample.clip_id}.mp4", flags.clips / clip_file(sample.clip_id))
    shutil.rmtree(private)
    for shard, manifest, timings in zip(flags.shards, flags.manifests, flags.timings, strict=True):
        records = []
        for sample in shard_samples(samples, shard):
            own = shape or look_at_clip(flags.clips / clip_file(sample.clip_id)).shape
            job = external_job(
                flags, shard, prompts, files={}, device="unknown", noise=UNKNOWN_NOISE, shape=own
            )
            records.append(clip_record(job, sample, pixel_frames=own.pixel_frames, latents_sha256=None))
        write_jsonl(timings, [])
        write_jsonl(manifest, records)


def stage_clips(
    path: Path,
    samples: Sequence[Sample],
    shape: ClipShape | None,
    folder: Path,
    names: Mapping[str, str] | None = None,
    numbered_by: str = "",
) -> list[str]:
    """Bring every clip of `path` to `folder`/<clip_id>.mp4; one phrase for each missing, extra or wrong clip.

    names: the name of each clip's file by clip id; such files may be any kind of video, and are brought into
    the form that scorers read. numbered_by: a list of prompts, whose lines the names of files count; empty if
    they do not. Raises FileNotFoundError or ValueError if there is nothing to import, or a zip is not safe.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; correct clips.path or bring the clips there.")
    if names is not None:
        return _stage_named(path, samples, shape, folder, names)
    there = [file.name for file in original_files(path)] if path.is_dir() else list(zip_members(path))
    lines = None
    if numbered_by:
        prompts = list({sample.prompt.id: sample.prompt for sample in samples}.values())
        lines = lines_of_list(Path(numbered_by).read_bytes(), numbered_by, prompts)
    match = match_names(there, samples, lines)
    log.info("%s: files are read as %s", path, match.naming)
    errors = [f"{clip} is missing" for clip in match.missing]
    errors += [f"{name!r} is no clip of this suite" for name in match.extra]
    if match.missing and match.extra:
        errors[0] += f" (files are read as {match.naming})"
    if hint := samples_hint(match, samples):
        errors[0] += f" ({hint})"
    if match.missing and (others := other_entries(path)):
        errors[0] += f" ({others})"
    bring_all(path, match, folder)
    present = [sample for sample in samples if sample.clip_id in match.files]
    return errors + verify_clips(folder, present, shape, match.files).errors


def _stage_named(
    path: Path, samples: Sequence[Sample], shape: ClipShape | None, folder: Path, names: Mapping[str, str]
) -> list[str]:
    wanted = {sample.clip_id: names[sample.clip_id] for sample in samples}
    if path.is_dir():
        gone = sorted(name for name in wanted.values() if not (path / name).is_file())
    else:
        gone = sorted(set(wanted.values()) - zip_members(path, set(wanted.values()).__contains__).keys())
    if gone:
        return [f"{name!r} is gone" for name in gone]
    bring_all(path, Match(wanted, [], [], "their own names"), folder)
    errors, there = [], []
    for sample in samples:
        file = folder / f"{sample.clip_id}.mp4"
        try:
            how = to_scored_form(file)
        except ClipError as error:
            errors.append(f"{wanted[sample.clip_id]} {error.reason}")
        else:
            there.append(sample)
            log.info("%s: %s", wanted[sample.clip_id], how)
    return errors + verify_clips(folder, there, shape, wanted).errors


if __name__ == "__main__":
    sys.exit(main())
