"""progress.json of a training checkpoint: how far the run was, and the sha256 of every file beside it.

A checkpoint is used only as it was written: another byte, a file more or less, or another iteration's folder
is an error.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from evaluation.files import file_sha256
from models.checkpoints.containers import json_mapping, some_of

log = logging.getLogger(__name__)

NAME = "progress.json"


def write_progress(folder: Path, *, iteration: int, identity: str, facts: Mapping[str, Any]) -> None:
    """Write progress.json of a folder in which everything else is there. identity, facts: see `train`."""
    said = {"iteration": iteration, "identity": identity, "facts": dict(facts), "files": _hashes(folder)}
    text = json.dumps({**said, "sha256": _own_sha256(said)})
    (folder / NAME).write_text(text + "\n", encoding="utf-8")


def verified_progress(folder: Path, part: str = "", *, earlier: bool = False) -> dict[str, Any]:
    """What progress.json of a checkpoint says, once every file below `folder`/`part` has the promised sha256.

    earlier: take one of an earlier version too, which has no sha256 to hold it to, and say so. Raises
    ValueError that names what differs.
    """
    path, advice = folder / NAME, "take another checkpoint"
    if not path.is_file():
        raise ValueError(f"{folder} has no {NAME}, so it is no whole checkpoint of a training run; {advice}.")
    said = json_mapping(path.read_bytes(), str(path))
    own = said.pop("sha256", None)
    if earlier and own is None and "files" not in said:
        log.warning("%s is of an earlier version, without sha256 of its files: they are not verified", path)
        return said
    if own is None or "files" not in said:
        raise ValueError(f"{path} has no sha256 of its files, so that they cannot be verified; {advice}.")
    if own != _own_sha256(said):
        raise ValueError(f"{path} was changed: it no longer has the sha256 that it ends with; {advice}.")
    below = f"{part}/" if part else ""
    promised = {name: sha256 for name, sha256 in said["files"].items() if name.startswith(below)}
    found = _hashes(folder, part)
    for what, names in (
        ("lacks", sorted(promised.keys() - found.keys())),
        ("has, beside what was written,", sorted(found.keys() - promised.keys())),
        ("has other bytes than were written in", sorted(n for n in found if found[n] != promised.get(n))),
    ):
        if names:
            raise ValueError(f"{folder} {what} {some_of(names)}; {advice}.")
    return said


def _own_sha256(said: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _hashes(folder: Path, part: str = "") -> dict[str, str]:
    """Sha256 of every file below `folder`/`part` but progress.json, by path from `folder`."""
    files = [path for path in sorted((folder / part).rglob("*")) if path.is_file() and path != folder / NAME]
    with ThreadPoolExecutor() as threads:  # hashing lets other threads run
        hashes = threads.map(file_sha256, files)
        return {path.relative_to(folder).as_posix(): h for path, h in zip(files, hashes, strict=True)}
