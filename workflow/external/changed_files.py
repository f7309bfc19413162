"""Notice that the external inputs of a row changed, by content, without hashing them at every start.

External inputs are imported clips and the weights of external baselines. They are large and lie where people
keep them. What a row was made from is written down: size, time and sha256 of each file. A start compares
sizes and times, and hashes only what differs there. A changed content goes into a note that is an input of
the rule, as lost clips do (workflow/planning/missing_clips.py). A touched or copied file does not.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation.files import file_sha256, write_text

RECORD = "outside.json"
NOTE = "outside.changed"


def changes_note(row_folder: Path) -> Path:
    """Where changes of a row's external inputs are noted."""
    return row_folder / NOTE


def remember(row_folder: Path, files: Sequence[Path]) -> dict[str, str]:
    """Write down what the row is made from; returns sha256 by file name as given.

    Hashes only what is new, or differs in size or time.
    """
    record = row_folder / RECORD
    known = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    found = _look(files, known)
    _write(record, found)
    return {name: str(facts[2]) for name, facts in found.items()}


def note_changes(row_folder: Path, files: Sequence[Path]) -> list[str]:
    """Names of external inputs whose content is not what the row was made from. Snakemake gets a note, once.

    files: those that should be there now. If none of them is left, nothing is noted: originals may be deleted
    once they were taken in.
    """
    record, note = row_folder / RECORD, changes_note(row_folder)
    present = [path for path in files if path.is_file()]
    if not record.is_file() or not present:
        return []
    known = json.loads(record.read_text(encoding="utf-8"))
    fresh = _look(present, known)
    changed = [name for name, facts in fresh.items() if name not in known or known[name][2] != facts[2]]
    changed += [name for name in known if name not in fresh]
    if not changed and fresh != known:
        _write(record, fresh)
    noted = note.is_file() and note.stat().st_mtime_ns >= record.stat().st_mtime_ns
    if changed and not noted:
        with note.open("a", encoding="utf-8") as stream:
            stream.write(
                f"{len(changed)} changed, first {changed[0]}: {fresh.get(changed[0], ['gone'])[-1]}\n"
            )
    return changed


FileFacts = list[int | str]
"""Size in bytes, time of last change in ns, sha256."""


def _look(files: Sequence[Path], known: Mapping[str, FileFacts]) -> dict[str, FileFacts]:
    found: dict[str, FileFacts] = {}
    for path in files:
        stat, old = path.stat(), known.get(str(path))
        same = old is not None and old[:2] == [stat.st_size, stat.st_mtime_ns]
        sha256 = old[2] if old is not None and same else file_sha256(path)
        found[str(path)] = [stat.st_size, stat.st_mtime_ns, sha256]
    return found


def _write(record: Path, facts: Mapping[str, FileFacts]) -> None:
    write_text(record, json.dumps(facts, indent=0) + "\n")
