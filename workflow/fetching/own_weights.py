"""Weights of the user's own: neither fetched nor shipped with a description, anywhere on this machine.

A suite names them by their path, or by `OwnWeights` where the file does not say what a network needs. The
rule `own_weights` hashes them, looks at what they hold and writes an `OwnRecord`, which sampling verifies
again. Planning reads this module too, so nothing heavy is imported here.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from baselines.strict_yaml import Section
from evaluation.files import load_json
from evaluation.records import Sha256, VersionedRecord, read_json

ENDINGS = (".safetensors", ".safetensors.index.json", ".pt", ".pth", ".bin")
"""Names of weight files; anything else is a directory that holds a distributed checkpoint (DCP)."""

Text = Annotated[str, Field(min_length=1)]


class OwnWeights(Section):
    """A weight file of any flavour (full, merged, bundle, adapter) and what it does not say itself; see
    `open_model` of models/checkpoints/open.py.
    """

    path: Text
    base: Text | None = None
    """Weights beneath an adapter."""
    alpha: Annotated[float, Field(gt=0)] | None = None
    """Of a LoRA."""
    key: Text | None = None
    """Dict level of a file that has several."""
    like: Text | None = None
    """A checkpoint of this program of the same size, for networks whose heads are not of 128."""

    @property
    def files(self) -> tuple[str, ...]:
        """Every path that it names."""
        return tuple(name for name in (self.path, self.base, self.like) if name)


class OwnRecord(VersionedRecord):
    """What the rule `own_weights` hands on."""

    weights: OwnWeights
    """As the suite names them, with the base that an adapter itself named."""
    files: dict[str, Sha256]
    """Sha256 by path: of a file its bytes, of a DCP directory its tensors, of an index all that it names."""
    sha256: Sha256
    """Identity of the weights: of a file that is all there is its own, else of everything that decides."""
    found: tuple[str, ...]
    """What each file holds, a line each."""


def weight_files_of(path: Path) -> list[Path]:
    """All files of a weight file: those of a directory, an index with the files that it names, or itself."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    if path.name.endswith(".safetensors.index.json"):
        named = load_json(path.read_bytes(), str(path))["weight_map"].values()
        return [path, *(path.parent / name for name in sorted(set(named)))]
    return [path]


def own_files_of(path: Path) -> list[Path]:
    """All files that decide what weights of the user's own are: theirs, and peft's adapter_config.json beside
    a file, which may say the scale of an adapter.
    """
    beside = path.parent / "adapter_config.json"
    return [*weight_files_of(path), *([beside] if path.is_file() and beside.is_file() else [])]


def proven_files(record: Path) -> list[Path]:
    """All files that a record proved and that are still there; none if there is no record."""
    if not record.is_file():
        return []
    paths = map(Path, read_json(OwnRecord, record).files)
    return [file for path in paths if path.exists() for file in own_files_of(path)]


def fault_of(path: Path) -> str:
    """What is wrong with a weight file as far as its first bytes show, a clause; empty if nothing is."""
    if not path.exists():
        return "which does not exist"
    if path.is_dir():
        whole = (path / ".metadata").is_file()
        return "" if whole else "a directory without .metadata, so no distributed checkpoint (DCP)"
    if not path.name.endswith(ENDINGS):
        return f"which is no weight file by its name ({', '.join(ENDINGS)}, or a DCP directory)"
    with path.open("rb") as file:
        start = file.read(9)
    if path.suffix in (".pt", ".pth", ".bin"):
        return "" if start.startswith(b"PK") else "which is no torch file (those are zip archives)"
    if path.suffix == ".safetensors":
        size = int.from_bytes(start[:8], "little")
        whole = start[8:] == b"{" and 8 + size <= path.stat().st_size
        return "" if whole else "which is no safetensors file, or cut short"
    try:
        absent = [file.name for file in weight_files_of(path) if not file.is_file()]
    except (ValueError, LookupError, AttributeError, TypeError):
        return "which is no index of safetensors"
    return f"whose {', '.join(absent)} are not beside it" if absent else ""
