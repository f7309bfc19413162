"""Which commit of this project is running. Standard library only, so that jobs and reports may both ask."""

import os
import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple


class CodeState(NamedTuple):
    """The state of a git checkout."""

    commit: str
    """Full hash of the commit, or "not a git checkout"."""
    dirty: bool | None
    """Whether tracked files differ from the commit; None where there is no git checkout."""


def code_state(root: Path) -> CodeState:
    """Commit and dirtiness of the checkout at `root`; neither without git, or where an unpacked archive lies
    inside somebody's repository.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root.resolve():
        return CodeState("not a git checkout", None)
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    commit = _git(root, "rev-parse", "HEAD")
    return CodeState(commit or "not a git checkout", None if changed is None else bool(changed))


@cache
def this_commit() -> str:
    """The commit that this process runs from as 12 digits, with "-dirty" if tracked files were changed, or
    "unknown" outside a git checkout. For records of where something was made.
    """
    state = code_state(Path(__file__).parents[1])
    if state.dirty is None:
        return "unknown"
    return state.commit[:12] + ("-dirty" if state.dirty else "")


def _git(root: Path, *words: str) -> str | None:
    """What a git command prints, or None outside a checkout or without git.

    The environment may name another repository, as it does in a hook; the folder may be another user's, as it
    is in a container.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-c", "safe.directory=*", "-C", str(root), *words]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
