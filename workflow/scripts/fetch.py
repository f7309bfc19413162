"""Fetch a suite's files and prove them by sha256; with --verify, only prove what is there (no network)."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from evaluation.clips import file_sha256
from evaluation.records import write_text
from workflow.resources import Resource, needed_resources
from workflow.settings import read_suite
from workflow.start import missing_resources

RESOURCES = Path("resources")
LOCK = "lock.json"

log = logging.getLogger("fetch")


def read_lock(folder: Path) -> dict[str, str]:
    """Sha256 of every file fetched so far, by path."""
    path = folder / LOCK
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def download(entry: Resource, target: Path) -> None:
    """Bring one file to `target`, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if entry.url is not None:
        # Only urls of workflow/resources.yaml come here, each proven by sha256 afterwards.
        with (
            urllib.request.urlopen(entry.url, timeout=120) as answer,
            tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as part,
        ):
            shutil.copyfileobj(answer, part)
        os.replace(part.name, target)
        return
    from huggingface_hub import hf_hub_download  # only here: it is slow to import and opens the network

    assert entry.repo is not None, "a resource without url has a repo"
    assert entry.file is not None, "a resource without url has a file"
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        os.replace(hf_hub_download(entry.repo, entry.file, revision=entry.revision, local_dir=folder), target)


def prove(entry: Resource, folder: Path, lock: dict[str, str]) -> str:
    """Sha256 of a fetched file. Raises ValueError if it is not the one that is pinned, or that was fetched first."""
    found = file_sha256(folder / entry.path)
    expected = entry.sha256 or lock.get(entry.path)
    if expected is not None and found != expected:
        raise ValueError(
            f"resources/{entry.path} has sha256 {found}, expected {expected}; it is damaged or another version. "
            "Delete it and run `make fetch` again."
        )
    return found


def fetch(entries: Sequence[Resource], folder: Path) -> dict[str, str]:
    """Bring what is missing, prove everything, and remember the hashes."""
    lock = read_lock(folder)
    for number, entry in enumerate(entries, 1):
        if not (folder / entry.path).is_file():
            log.info(
                "%d of %d: %s, about %.0f MB, from %s",
                number,
                len(entries),
                entry.path,
                entry.size_mb,
                entry.origin,
            )
            download(entry, folder / entry.path)
        lock[entry.path] = prove(entry, folder, lock)
        write_text(folder / LOCK, json.dumps(lock, indent=1, sort_keys=True) + "\n")
    return lock


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=Path, help="a suite's file")
    parser.add_argument("--verify", action="store_true", help="no network: prove what is there")
    parser.add_argument("--output", type=Path, help="write the hashes of the suite's files here")
    flags = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    root = Path.cwd()
    suite = read_suite(flags.config, root)
    entries = needed_resources(root, suite)
    screen = missing_resources(root, suite)
    if flags.verify and screen:
        log.error("%s", screen)
        return 1
    lock = read_lock(RESOURCES)
    hashes = (
        {e.path: prove(e, RESOURCES, lock) for e in entries} if flags.verify else fetch(entries, RESOURCES)
    )
    if flags.output:
        write_text(
            flags.output, json.dumps({entry.path: hashes[entry.path] for entry in entries}, indent=1) + "\n"
        )
    log.info("%d files are present and proven", len(entries))
    return 0


if __name__ == "__main__":
    sys.exit(main())
