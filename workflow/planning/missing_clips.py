"""Notice finished clips that are no longer on disk, in a way Snakemake acts upon.

Clips are undeclared files (a killed job must not lose them), so Snakemake cannot see that somebody deleted
one. A shard whose clips are missing gets a file <shard>.missing beside its manifest, an input of the rule
that makes the shard. Its content changed, so the shard and what follows from it run again, and the sampler
makes only what is missing. This costs one folder listing per row, in the main process only.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from evaluation.files import load_json, text_lines, utf8_text
from workflow.external.changed_files import note_changes, remembered
from workflow.fetching.own_weights import proven_files
from workflow.planning.paths import Folders, all_own_weights, own_folder, verified_folders
from workflow.planning.row_plan import Baselines, external_inputs
from workflow.planning.suite import Suite

SHOWN_CLIPS = 3
"""So many files are named in a warning."""


def missing_note(manifest: Path) -> Path:
    """Where the missing clips of a shard are noted: <shard>.missing beside <shard>.manifest.jsonl."""
    return manifest.with_name(manifest.name.removesuffix(".manifest.jsonl") + ".missing")


def note_missing_clips(row_folder: Path) -> list[str]:
    """Write down, shard by shard, which clips of a row went missing since the shard was made.

    Returns all of their names, sorted. What is noted and not yet repaired (the note is younger than the
    manifest) is returned and not noted twice.
    """
    manifests = sorted((row_folder / "shards").glob("*.manifest.jsonl"))
    folder = row_folder / "mp4"
    present = set(os.listdir(folder)) if manifests and folder.is_dir() else set()
    every: set[str] = set()
    for manifest in manifests:
        lines = text_lines(utf8_text(manifest.read_bytes(), str(manifest)))
        names = [Path(load_json(line, str(manifest))["file"]).name for line in lines]
        missing = [name for name in names if name not in present]
        every.update(missing)
        note = missing_note(manifest)
        if missing and not (note.is_file() and note.stat().st_mtime_ns >= manifest.stat().st_mtime_ns):
            with note.open("a", encoding="utf-8") as stream:
                stream.write(" ".join(missing) + "\n")
    return sorted(every)


def require_clips(folders: Folders, rows: Sequence[str]) -> Sequence[str]:
    """The rows. Raises ValueError, naming the first, if one has no finished clips to be compared with."""
    for row in rows:
        if not Path(folders.suite, "clips", row, "manifest.jsonl").is_file():
            raise ValueError(f"Row {row} has no finished clips; run the suite first, then replay it.")
    return rows


def refuse_replay(row: str, rows: Sequence[str], suite: str) -> NoReturn:
    """Raises ValueError for a row that is not among those that are sampled here, naming them."""
    known = ", ".join(rows) or "none"
    raise ValueError(f"suite {suite} has no row {row!r} whose clips are sampled here; it has {known}.")


def clip_warnings(folders: Folders, suite: Suite, baselines: Baselines) -> Iterator[str]:
    """Note missing clips and changed external inputs of every row; a warning for each row that has any."""
    for row in suite.rows:
        parts = {Path(folder) / "clips" / row for folder in (folders.suite, folders.results)}
        if gone := [name for part in parts for name in note_missing_clips(part)]:
            yield f"{row}: {len(gone)} finished clips are gone ({some_names(gone)}); they will be made again."
    for folder in verified_folders(suite):
        if changed := note_changes(folder, [Path(name) for name in remembered(folder)]):
            yield f"Fetched files have changed ({some_names(changed)}); they will be verified again."
    for name, own in all_own_weights(suite).items():
        folder = own_folder(suite, name)
        if changed := note_changes(folder, proven_files(folder / "record.json")):
            yield f"{own.path}: the files have changed ({some_names(changed)}); they will be proven again."
    for row, baseline in baselines.items():
        if baseline.kind != "native" and (
            changed := note_changes(Path(folders.suite) / "clips" / row, external_inputs(baseline))
        ):
            yield (
                f"{row}: {len(changed)} files it was made from have changed ({some_names(changed)}); it "
                "will be made again."
            )


def some_names(names: Sequence[str]) -> str:
    """The first few names, for a warning."""
    return ", ".join(names[:SHOWN_CLIPS]) + (", ..." if len(names) > SHOWN_CLIPS else "")
