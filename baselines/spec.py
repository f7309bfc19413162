"""What a baseline is: one flat YAML file, checked when read. Imports no torch (the Snakefile reads baselines
while parsing).

Four kinds: native (runs on our backbone), external (somebody's program makes the clips), import (the clips
exist), results (their scores do). baselines/README.md shows one of each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from baselines.foreign import ExternalBaseline, ImportBaseline, ResultsBaseline
from baselines.native import Baseline, schedule_of_one_kind
from baselines.strict_yaml import read_strict, validate_strict

AnyBaseline = Baseline | ExternalBaseline | ImportBaseline | ResultsBaseline
KINDS: dict[str, type[AnyBaseline]] = {
    "native": Baseline,
    "external": ExternalBaseline,
    "import": ImportBaseline,
    "results": ResultsBaseline,
}


def kind_of(path: Path | str) -> str:
    """The kind a baseline's file names (native if none), without checking the rest.

    Raises FileNotFoundError, or ValueError for a kind that does not exist.
    """
    return _kind(read_strict(path, Any), path)


def load_row(path: Path | str) -> AnyBaseline:
    """A baseline of any kind from its YAML file. Raises ValueError, also when file name and
    name differ.
    """
    values: Any = read_strict(path, Any)
    kind = KINDS[_kind(values, path)]
    if kind is Baseline and "schedule" in values:
        try:
            values["schedule"] = schedule_of_one_kind(values["schedule"])
        except ValueError as error:
            raise ValueError(f"{path}: {error}.") from None
    baseline = validate_strict(values, kind, where=str(path))
    if baseline.name != Path(path).stem:
        raise ValueError(
            f"{path}: key 'name' is {baseline.name!r} but the file is called {Path(path).name}; make them "
            "agree."
        )
    return baseline


def load_baseline(path: Path | str) -> Baseline:
    """A native baseline from its YAML file. Raises ValueError, also for another kind."""
    baseline = load_row(path)
    if not isinstance(baseline, Baseline):
        raise ValueError(
            f"{path}: key 'kind' is {baseline.kind!r}, but only a native baseline has a network to build; "
            "name another file."
        )
    return baseline


def load_all(folder: Path | str) -> dict[str, Baseline]:
    """All native baselines of a folder by name, in alphabetical order."""
    paths = sorted(Path(folder).glob("*.yaml"))
    return {path.stem: load_baseline(path) for path in paths if kind_of(path) == "native"}


def _kind(values: Any, path: Path | str) -> str:
    kind = values.get("kind", "native") if isinstance(values, dict) else "native"
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"{path}: key 'kind' is {kind!r} but must be one of {', '.join(KINDS)}; correct it.")
    return kind
