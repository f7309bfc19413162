"""What the prompts stage is told, and how far a suite's prompts are from its benchmark's standard protocol.
No torch, no pandas.
"""

import hashlib
from pathlib import Path
from typing import Any

from evaluation.dimensions import NAMES
from workflow.fetching.checksums import FETCHED_FOLDER
from workflow.planning.resources import listed_resources
from workflow.planning.suite import Suite

STANDARD: dict[str, dict[str, Any]] = {
    "toybox": {"seed": 20260701, "per_dimension": None, "samples": 2, "static_samples": 25, "static_keep": 5},
    "vbench": {"per_dimension": None, "samples": 5, "static_samples": 25, "static_keep": 5},
}
"""Prompt settings of each benchmark's standard protocol; VBench's list has no seed."""

SAID_IF_SET = ("counts", "scored_only", "imported")
"""Prompt settings that are left out where they say nothing."""

WORDING = {
    "seed": "prompts drawn with seed {}",
    "per_dimension": "at most {} prompts per dimension",
    "samples": "samples per prompt: {}",
    "static_samples": "samples per still prompt: {}",
    "static_keep": "clips kept per still prompt: {}",
}


def prompt_stage_settings(root: Path, suite: Suite) -> dict[str, Any]:
    """What the prompts stage tracks: the suite's prompt settings, and the content (not the path) of the files
    it reads.

    sha256: of each file, by the name that evaluation/suite_prompts.py knows it by ("list": the user's own).
    """
    prompts = suite.prompts
    return {
        "benchmark": suite.benchmark,
        "dimensions": list(suite.dimensions),
        "sha256": _list_sha256(root, prompts.list)
        if prompts.list is not None
        else benchmark_sha256(root, suite.benchmark),
        **prompts.model_dump(exclude={"list", *(key for key in SAID_IF_SET if not getattr(prompts, key))}),
    }


def keep_copy(content: bytes, target: Path) -> None:
    """Make `target` hold `content`; a file that does already is not touched, so that nothing reruns."""
    if not target.is_file() or target.read_bytes() != content:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def protocol_note(root: Path, suite: Suite) -> str | None:
    """One sentence saying in what the suite's prompts, samples and dimensions leave the benchmark's standard
    protocol, or None.
    """
    prompts, standard = suite.prompts, STANDARD[suite.benchmark]
    departures = []
    if prompts.list is not None and prompts.imported is None:
        sha256 = _list_sha256(root, prompts.list)["list"]
        departures.append(f"the prompts are those of {Path(prompts.list).name} (sha256 {sha256[:12]})")
    elif prompts.list is None:
        standard_dump = prompts.model_dump(include=set(standard))
        departures += [
            WORDING[key].format(value) for key, value in standard_dump.items() if value != standard[key]
        ]
    if prompts.counts is not None:
        departures.append(f"{len(prompts.counts)} of its prompts, as far as there are clips")
    if prompts.list is not None and prompts.per_dimension is not None:
        departures.append(WORDING["per_dimension"].format(prompts.per_dimension))
    if left_out := [name for name in NAMES if name not in suite.dimensions]:
        departures.append(f"{len(NAMES) - len(left_out)} of {len(NAMES)} dimensions")
    if not departures:
        return None
    return (
        f"This run leaves the standard {suite.benchmark} protocol and is not comparable with runs that "
        f"keep it: {'; '.join(departures)}."
    )


def _list_sha256(root: Path, path: str) -> dict[str, str]:
    if path.startswith(FETCHED_FOLDER):
        pinned = _pinned(root).get(path.removeprefix(FETCHED_FOLDER))
        if pinned is None:
            raise ValueError(
                f"prompts.list is {path!r}, which workflow/resources.yaml does not list with a sha256; add "
                "it there, or keep the list elsewhere."
            )
        return {"list": pinned}
    return {"list": hashlib.sha256((root / path).read_bytes()).hexdigest()}


def benchmark_sha256(root: Path, benchmark: str) -> dict[str, str]:
    """The sha256 of the files of a benchmark's own list, by name; empty of a list that is drawn."""
    if benchmark != "vbench":
        return {}
    pinned = {
        e.path: e.sha256 for e in listed_resources(root) if e.group == "prompts" and e.sha256 is not None
    }
    return {Path(path).name: sha256 for path, sha256 in pinned.items()}


def _pinned(root: Path) -> dict[str, str]:
    return {entry.path: entry.sha256 for entry in listed_resources(root) if entry.sha256 is not None}
