"""Weights hashed again by the job that opens them, and held to what was noted of them before: by `fetch`, by
`convert`, in a description beside a shipped file, or in the record of the user's own.
"""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from evaluation.files import canonical_sha256, file_sha256
from evaluation.records import read_json
from models.checkpoints.containers import weights_sha256
from workflow.fetching.checksums import FETCHED_FOLDER, verified_sha256
from workflow.fetching.own_weights import OwnRecord, OwnWeights, own_files_of, weight_files_of

log = logging.getLogger(__name__)


def verified_weights(paths: Sequence[Path], checksums: Mapping[str, str], own: Sequence[Path]) -> list[str]:
    """Sha256 of each weight file or directory, of an index of all that it names.

    checksums: of fetched files. own: records of the user's own weights. What none of these knows is hashed
    and said. Raises FileNotFoundError, and ValueError for a file that is another than the noted one.
    """
    records = [read_json(OwnRecord, path) for path in own]
    known = {name: record for record in records for name in record.files}

    def verified(path: Path) -> str:
        if record := known.get(str(path)):
            return verified_own(record)
        if str(path).startswith(FETCHED_FOLDER):
            return _verified_fetched(path, checksums)
        if path.suffix == ".safetensors" and path.with_suffix(".json").is_file():
            return verified_sha256(path, checksums)
        log.warning("nothing says what sha256 %s should have; it is taken as it is", path)
        return own_sha256(path)

    with ThreadPoolExecutor() as threads:  # hashing lets other threads run
        return list(threads.map(verified, paths))


def _verified_fetched(path: Path, checksums: Mapping[str, str]) -> str:
    hashes = {}
    for file in weight_files_of(path):
        hashes[file.name] = verified_sha256(file, checksums)
    return next(iter(hashes.values())) if len(hashes) == 1 else canonical_sha256(hashes)


def own_sha256(path: Path) -> str:
    """Sha256 of a weight file of the user's own, see `OwnRecord.files`."""
    if path.is_dir():
        return weights_sha256(path)
    files = own_files_of(path)
    if len(files) == 1:
        return file_sha256(path)
    return canonical_sha256({file.name: file_sha256(file) for file in files})


def own_identity(weights: OwnWeights, files: Mapping[str, str]) -> str:
    """Identity of weights of the user's own, see `OwnRecord.sha256`."""
    decides = {
        "weights": files[weights.path],
        "base": None if weights.base is None else files[weights.base],
        "alpha": weights.alpha,
        "key": weights.key,
    }
    given = {name: value for name, value in decides.items() if value is not None}
    return files[weights.path] if given.keys() == {"weights"} else canonical_sha256(given)


def verified_own(record: OwnRecord) -> str:
    """Identity of weights of the user's own, hashed again. Raises ValueError if they are not the ones that
    were proven before this job.
    """
    for name, sha256 in record.files.items():
        if (found := own_sha256(Path(name))) != sha256:
            raise ValueError(
                f"{name} has sha256 {found}, but {sha256} when it was proven for this run; start the run "
                "again."
            )
    return record.sha256
