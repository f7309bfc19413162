"""Checksums of the files that a job opens: fetched files are listed in the record of `make fetch`, all others
have a description (.json) beside them. Planning imports this too, so nothing heavy is imported here.
"""

from collections.abc import Mapping
from pathlib import Path

from evaluation.files import file_sha256, load_json

FETCHED_FOLDER = "resources/"
"""Folder, relative to the repository, of the files that `make fetch` brings."""


def read_checksums(path: Path | None) -> dict[str, str]:
    """Sha256 by path in `resources/`, as the fetch stage found it; empty for suites that fetch nothing."""
    return {} if path is None else dict(load_json(path.read_bytes(), str(path)))


def verified_sha256(path: Path, checksums: Mapping[str, str]) -> str:
    """Sha256 of a model file.

    It is computed, and compared with that of `checksums` for a fetched file, else with that of the .json
    beside it, which is a manifest of `convert` or describes a shipped file. Raises FileNotFoundError if one
    of them is missing, ValueError if the bytes are not the described ones.
    """
    if str(path).startswith(FETCHED_FOLDER):
        name = str(path).removeprefix(FETCHED_FOLDER)
        if name not in checksums or not path.exists():
            raise FileNotFoundError(f"{path} is not among the fetched and verified files; run `make fetch`.")
        if (found := file_sha256(path)) != checksums[name]:
            raise ValueError(
                f"{path} has sha256 {found}, but {checksums[name]} when it was fetched; remove it and run "
                "`make fetch` again."
            )
        return found
    description = path.with_suffix(".json")
    for needed in (path, description):
        if not needed.is_file():
            raise FileNotFoundError(
                f"{needed} does not exist; shipped files are in the repository, others come from `convert`."
            )
    expected = load_json(description.read_bytes(), str(description)).get("sha256")
    found = file_sha256(path)
    if found != expected:
        raise ValueError(
            f"{path} has sha256 {found}, but {description.name} says {expected}; restore or remake the file."
        )
    return found
