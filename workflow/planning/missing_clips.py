"""Notice finished clips that are no longer on disk, in a way Snakemake acts upon.

Clips are undeclared files (a killed job must not lose them), so Snakemake cannot see that somebody deleted
one. A shard that lost clips gets a file <shard>.lost beside its manifest, an input of the rule that makes the
shard: its content changed, so the shard and what follows from it run again, and the sampler makes only what
is missing. One folder listing per row, in the main process only.
"""

import json
import os
from pathlib import Path


def lost_clips(manifest: Path, present: set[str]) -> list[str]:
    """Names of the clip files a manifest lists that are not among `present`."""
    names = [
        Path(json.loads(line)["file"]).name for line in manifest.read_text(encoding="utf-8").splitlines()
    ]
    return [name for name in names if name not in present]


def note_lost_clips(row_folder: Path) -> list[str]:
    """Write down, shard by shard, which clips of a row were lost since the shard was made; all lost names,
    sorted.

    A loss that is noted and not yet repaired (its note is younger than the manifest) is reported and not
    noted twice.
    """
    manifests = sorted((row_folder / "shards").glob("*.manifest.jsonl"))
    if not manifests:
        return []
    folder = row_folder / "mp4"
    present = set(os.listdir(folder)) if folder.is_dir() else set()
    every: set[str] = set()
    for manifest in manifests:
        lost = lost_clips(manifest, present)
        every.update(lost)
        note = lost_note(manifest)
        if lost and not (note.is_file() and note.stat().st_mtime_ns >= manifest.stat().st_mtime_ns):
            with note.open("a", encoding="utf-8") as stream:
                stream.write(" ".join(lost) + "\n")
    return sorted(every)


def lost_note(manifest: Path) -> Path:
    """Where the losses of a shard are noted: <shard>.lost beside <shard>.manifest.jsonl."""
    return manifest.with_name(manifest.name.removesuffix(".manifest.jsonl") + ".lost")
