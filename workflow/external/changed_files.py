"""Notice that files from outside changed, by content, without hashing them at every start.

Fetched files, imported clips, weights of external baselines and of the user's own are large and lie where
people keep them. What was proven is written down: size, time of change and sha256 of each file, and when it
was hashed. A start compares sizes and times, and hashes only what differs there. A changed content goes into
a note that is an input of the rule, as lost clips do (workflow/planning/missing_clips.py). A touched or
copied file does not.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from evaluation.files import file_sha256, write_text

RECORD = "outside.json"
NOTE = "outside.changed"


class FileFacts(NamedTuple):
    """What was proven of a file."""

    size: int
    """In bytes."""
    changed_ns: int
    """Time of its last change."""
    sha256: str
    proven: str = "unknown"
    """When it was hashed, in UTC; records of earlier versions do not say."""


def changes_note(row_folder: Path) -> Path:
    """Where changes of a row's external inputs are noted."""
    return row_folder / NOTE


def remember(
    row_folder: Path, files: Sequence[Path], hashes: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Write down what the row is made from; returns sha256 by file name as given.

    hashes: of files that were hashed just now. Hashes only what is new, or differs in size or time.
    """
    known = {} if hashes else remembered(row_folder)
    found = _look(files, known, hashes or {})
    record = row_folder / RECORD
    _write(record, found)
    return {name: facts.sha256 for name, facts in found.items()}


def remember_fetched(folder: Path, fetched: Path, hashes: Mapping[str, str]) -> None:
    """Write down fetched files that were hashed just now. hashes: by path inside of `fetched`."""
    named = {str(fetched / name): sha256 for name, sha256 in hashes.items()}
    remember(folder, [Path(name) for name in named], named)


def remembered(folder: Path) -> dict[str, FileFacts]:
    """What was written down of each file, by its name; nothing if there is no record. Raises ValueError."""
    record = folder / RECORD
    if not record.is_file():
        return {}
    facts = TypeAdapter(dict[str, FileFacts])
    try:
        return facts.validate_json(record.read_bytes())
    except ValidationError as error:
        raise ValueError(
            f"{record} is no record of proven files; delete it, and what it was about is proven again."
        ) from error


def note_changes(row_folder: Path, files: Sequence[Path]) -> list[str]:
    """Names of external inputs whose content is not what the row was made from. Snakemake gets a note, once.

    files: those that should be there now. If none of them is left, nothing is noted: originals may be deleted
    once they were taken in.
    """
    record, note = row_folder / RECORD, changes_note(row_folder)
    present = [path for path in files if path.is_file()]
    known = remembered(row_folder)
    if not known or not present:
        return []
    fresh = _look(present, known, {})
    changed = [
        name for name, facts in fresh.items() if name not in known or known[name].sha256 != facts.sha256
    ]
    changed += [name for name in known if name not in fresh]
    if not changed and fresh != known:
        _write(record, fresh)
    noted = note.is_file() and note.stat().st_mtime_ns >= record.stat().st_mtime_ns
    if changed and not noted:
        with note.open("a", encoding="utf-8") as stream:
            stream.write(
                f"{len(changed)} changed, first {changed[0]}: "
                f"{fresh[changed[0]].sha256 if changed[0] in fresh else 'gone'}\n"
            )
    return changed


def _look(
    files: Sequence[Path], known: Mapping[str, FileFacts], hashes: Mapping[str, str]
) -> dict[str, FileFacts]:
    found: dict[str, FileFacts] = {}
    for path in files:
        stat, old = path.stat(), known.get(str(path))
        if old is not None and (old.size, old.changed_ns) == (stat.st_size, stat.st_mtime_ns):
            found[str(path)] = old
            continue
        now = datetime.now(UTC).isoformat(timespec="seconds")
        sha256 = hashes.get(str(path)) or file_sha256(path)
        found[str(path)] = FileFacts(stat.st_size, stat.st_mtime_ns, sha256, now)
    return found


def _write(record: Path, facts: Mapping[str, FileFacts]) -> None:
    write_text(record, json.dumps(facts, indent=0) + "\n")
