"""Withdraw a shard manifest that lists clips which are no longer on disk.

Clips are undeclared files (a killed job must not lose them), so Snakemake cannot see that somebody deleted one. A manifest
that names a missing clip states something false: it is removed, and Snakemake then reruns that shard, which remakes only
what is missing. One folder listing per row, in the main process only.
"""

from __future__ import annotations

import json
import os
from pathlib import Path


def missing_clips(manifest: Path, present: set[str]) -> list[str]:
    """Names of the clip files a manifest lists that are not among `present`."""
    names = [Path(json.loads(line)["file"]).name for line in manifest.read_text(encoding="utf-8").splitlines()]
    return [name for name in names if name not in present]


def withdraw_false_manifests(row_folder: Path) -> list[str]:
    """Remove the shard manifests of a row that name missing clips; the missing names, sorted."""
    manifests = sorted((row_folder / "shards").glob("*.manifest.jsonl"))
    if not manifests:
        return []
    folder = row_folder / "mp4"
    present = set(os.listdir(folder)) if folder.is_dir() else set()
    missing: set[str] = set()
    for manifest in manifests:
        lost = missing_clips(manifest, present)
        if lost:
            manifest.unlink()
            missing.update(lost)
    return sorted(missing)
