"""External and imported baselines: where their code and environment lie, what identifies them, and settings.

The Snakefile imports this while parsing, so it needs no network (workflow/scripts/fetch_external.py clones
and builds) and imports nothing heavy. Nothing of a baseline is run here but git, to ask for its commit.
"""

import hashlib
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from baselines.foreign import (
    CondaEnvironment,
    ExternalBaseline,
    GitCode,
    ImportBaseline,
    LocalCode,
    PrefixEnvironment,
    ResultsBaseline,
    UvEnvironment,
)
from baselines.spec import AnyBaseline
from evaluation.files import file_sha256
from evaluation.protocol import protocol_tag
from evaluation.records import Protocol
from workflow.planning.suite import Suite

MAX_FILES = 20_000
MAX_BYTES = 512 * 2**20
"""Most a local folder may hold: it is read whole whenever the workflow is parsed."""

BUILT_FROM = "raven-bench.sha256"
"""File in an environment that `make fetch` built: sha256 of the file it was built from."""

NOT_CODE = frozenset({".git", "__pycache__"})


def code_folder(root: Path, baseline: ExternalBaseline) -> Path:
    """Folder of the baseline's code: the clone of `make fetch`, the local path, or that of its own rules."""
    if isinstance(baseline.code, GitCode):
        return root / "resources" / "external" / baseline.name
    return root / baseline.code.path if baseline.code else root / "baselines" / baseline.name


def code_identity(root: Path, baseline: ExternalBaseline) -> dict[str, str]:
    """What the clips depend on of the code: the pinned commit, or what a local folder holds now.

    A local folder that is the top of a clean git checkout is known by its commit, a changed one by commit and
    content, any other by its content. The rules of a baseline's own folder are known by their content.
    Raises ValueError if a local folder is missing or too large to be read at every start.
    """
    if isinstance(baseline.code, GitCode):
        return {"commit": baseline.code.commit}
    folder = code_folder(root, baseline)
    if not folder.is_dir():
        raise ValueError(
            f"baselines/{baseline.name}.yaml: the folder {folder} does not exist; correct code.path or "
            "restore it."
        )
    if not (folder / ".git").exists():
        names = (
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if not path.is_dir() and NOT_CODE.isdisjoint(path.relative_to(folder).parts)
        )
        return {"content_sha256": folder_sha256(folder, names)}
    commit = git(folder, "rev-parse", "HEAD")
    if not git(folder, "status", "--porcelain"):
        return {"commit": commit}
    listed = git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return {"commit": commit, "changed": folder_sha256(folder, listed.split("\0"))}


def verify_code(root: Path, baseline: ExternalBaseline, planned: Mapping[str, str]) -> Path:
    """The code's folder. Raises ValueError if it is absent, or not what the run was planned with."""
    folder = code_folder(root, baseline)
    if not isinstance(baseline.code, GitCode):
        if code_identity(root, baseline) != planned:
            raise ValueError(f"{folder} changed since this run was planned; start the run again.")
        return folder
    if error := missing_code(root, baseline):
        raise ValueError(error)
    changed = git(folder, "status", "--porcelain").splitlines()
    if changed:
        raise ValueError(
            f"{folder} has {len(changed)} changed or unknown files "
            f"({', '.join(line[3:] for line in changed[:3])}), but baseline {baseline.name} is pinned to a "
            "commit; delete the folder and run `make fetch`, or use code.kind path."
        )
    return folder


def missing_code(root: Path, baseline: ExternalBaseline) -> str:
    """One sentence if the code is not there or is at another commit than the pinned one; else empty."""
    folder = code_folder(root, baseline)
    if not isinstance(baseline.code, GitCode):
        return "" if folder.is_dir() else f"{folder} does not exist; correct code.path or restore it."
    if not (folder / ".git").exists():
        return f"Baseline {baseline.name}: {baseline.code.url} is not cloned to {folder}; run `make fetch`."
    found = git(folder, "rev-parse", "HEAD")
    if found == baseline.code.commit:
        return ""
    return (
        f"Baseline {baseline.name}: {folder} is at commit {found}, expected the pinned "
        f"{baseline.code.commit}; delete the folder and run `make fetch`, or correct code.commit."
    )


def folder_sha256(folder: Path, names: Iterable[str]) -> str:
    """Sha256 over names and bytes (or link targets) of files. Raises ValueError beyond the limits."""
    digest, size, number = hashlib.sha256(), 0, 0
    for name in sorted({name for name in names if name}):
        path = folder / name
        if path.is_symlink():
            content = b"link " + os.readlink(path).encode()
        elif path.is_file():
            size, number = size + path.stat().st_size, number + 1
            if size > MAX_BYTES or number > MAX_FILES:
                raise ValueError(
                    f"{folder} holds more than {MAX_FILES} files or {MAX_BYTES >> 20} MiB, too much to be "
                    "read at every start; make it a git repository with such files ignored, or keep "
                    "weights elsewhere and name them under `files`."
                )
            content = path.read_bytes()
        else:
            content = b"gone"
        digest.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def git(folder: Path, *words: str) -> str:
    """What a git command on `folder` prints. Raises ValueError with git's own last line."""
    answer = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        last = (answer.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"git {words[0]} failed in {folder} ({last}); look at that folder.")
    return answer.stdout.strip()


def environment_prefix(root: Path, baseline: ExternalBaseline) -> Path | None:
    """Folder of the baseline's environment, None for PATH as it is."""
    if isinstance(baseline.environment, PrefixEnvironment):
        return root / baseline.environment.path
    return None if baseline.environment is None else root / ".venvs" / baseline.name


def environment_identity(root: Path, baseline: ExternalBaseline) -> dict[str, str | None]:
    """What the clips depend on of the environment: the content of the file it is built from, or its path."""
    match baseline.environment:
        case None:
            return {"kind": "path"}
        case PrefixEnvironment(path=path):
            return {"kind": "prefix", "path": path}
        case UvEnvironment(file=file, python=python):
            return {"kind": "uv", "file_sha256": _file_sha256(root / file), "python": python}
        case CondaEnvironment(file=file):
            return {"kind": "conda", "file_sha256": _file_sha256(root / file)}


def _file_sha256(path: Path) -> str | None:
    """Sha256 of a file, None if it is not there (yet)."""
    return file_sha256(path) if path.is_file() else None


def missing_environment(root: Path, baseline: ExternalBaseline) -> str:
    """One sentence if the environment is not there or was built from another file; else empty."""
    prefix = environment_prefix(root, baseline)
    if prefix is None:
        return ""
    if not (prefix / "bin").is_dir():
        remedy = (
            "correct environment.path"
            if isinstance(baseline.environment, PrefixEnvironment)
            else "run `make fetch`"
        )
        return f"Baseline {baseline.name}: the environment {prefix} has no bin folder; {remedy}."
    if isinstance(baseline.environment, PrefixEnvironment):
        return ""
    stamp = prefix / BUILT_FROM
    built_from = stamp.read_text(encoding="utf-8").strip() if stamp.is_file() else None
    if built_from is not None and built_from == environment_identity(root, baseline)["file_sha256"]:
        return ""
    return (
        f"Baseline {baseline.name}: the environment {prefix} was not built from the file that "
        "environment.file names now; run `make fetch`."
    )


def missing_parts(root: Path, baseline: ExternalBaseline | ImportBaseline | ResultsBaseline) -> list[str]:
    """Everything a row needs that is not on this machine, one sentence each."""
    if isinstance(baseline, ResultsBaseline):
        path = root / baseline.results.path
        lack = f"Baseline {baseline.name}: {path} does not exist; correct results.path."
        return [] if path.exists() else [lack]
    if isinstance(baseline, ImportBaseline):
        clips = {"path": baseline.clips.path, "numbered_by": baseline.clips.numbered_by}
        return [
            f"Baseline {baseline.name}: {root / name} does not exist; correct clips.{key}."
            for key, name in clips.items()
            if name is not None and not (root / name).exists()
        ]
    absent = [
        f"Baseline {baseline.name}: {name}, listed under `files`, does not exist; bring it or correct the "
        "path."
        for name in baseline.files
        if not (root / name).is_file()
    ]
    return [
        text for text in (missing_code(root, baseline), missing_environment(root, baseline), *absent) if text
    ]


def external_settings(suite: Suite, baseline: ExternalBaseline, root: Path) -> dict[str, Any]:
    """What decides the clips of an external row, as plain values.

    Titles, licences, time limits and what the row declares are left out.
    """
    return {
        "suite": suite.keyed_by,
        "clip": suite.clip.model_dump(),
        "code": code_identity(root, baseline),
        "environment": environment_identity(root, baseline),
        "command": None if baseline.command is None else list(baseline.command),
        "files": list(baseline.files),
    }


def import_settings(suite: Suite, baseline: ImportBaseline) -> dict[str, Any]:
    """What decides the clips of an imported row beside their files, as plain values."""
    listed = baseline.clips.files
    named = {} if listed is None else {"files_sha256": file_sha256(Path(listed))}
    return {"suite": suite.keyed_by, "clip": row_clip(suite, baseline), **named}


def row_clip(suite: Suite, baseline: AnyBaseline | None) -> dict[str, int]:
    """A row's clip shape: the suite's, or an imported row's own; empty where each clip may have its own.

    baseline: None of a control row.
    """
    own = baseline.clips.shape if isinstance(baseline, ImportBaseline) else None
    if own == "any":
        return {}
    return (suite.clip if own is None else own).model_dump()


def shape_notes(suite: Suite, baselines: Iterable[AnyBaseline]) -> list[str]:
    """A sentence for each imported row whose clips are all of another shape than those of the suite."""
    notes = []
    for baseline in baselines:
        own = row_clip(suite, baseline)
        if own and own != suite.clip.model_dump():
            notes.append(
                f"The clips of {baseline.title} have {_shape(own)}, those of the suite "
                f"{_shape(suite.clip.model_dump())}: they are scored as they are, but differences of size, "
                "length and rate are then in its scores too (dynamic degree looks at every clip at about "
                "8 frames per second, its limit grows with the size)."
            )
    return notes


def _shape(clip: Mapping[str, int]) -> str:
    if not clip:
        return "sizes, lengths or rates of their own"
    return (
        f"{clip['pixel_frames']} frames of {clip['width']}x{clip['height']} pixels at {clip['fps']} per "
        "second"
    )


def external_settings_in_use(
    suite: Suite, baseline: ExternalBaseline | ImportBaseline | ResultsBaseline, root: Path
) -> dict[str, Any]:
    """What the report's audit shows of a row that we did not sample: what is known, declared and unknown."""
    declared = {
        f"declared {name}": "unknown" if value is None else value
        for name, value in baseline.declared.model_dump(exclude_unset=True).items()
    }
    if isinstance(baseline, ImportBaseline):
        return {**import_settings(suite, baseline), "clips": "made elsewhere", **declared}
    if isinstance(baseline, ResultsBaseline):
        found = baseline.results
        scores = {
            "declared scorer": found.scorer,
            "declared version": found.version,
            "declared protocol": protocol_tag(Protocol(**found.protocol.model_dump())),
        }
        return {"scores": "computed elsewhere", "results": found.path, **scores, **declared}
    settings = external_settings(suite, baseline, root)
    if isinstance(baseline.code, GitCode):
        settings["code"] = {"repository": baseline.code.url, **settings["code"]}
    elif isinstance(baseline.code, LocalCode):
        settings["code"] = {"repository": "local folder", **settings["code"]}
    settings["command"] = "rules of its own" if baseline.command is None else " ".join(baseline.command)
    return {**settings, **declared}
