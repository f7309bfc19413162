"""The commit that a job runs from, for records of where something was made."""

import subprocess
from pathlib import Path

_known: list[str] = []


def this_commit() -> str:
    """The commit this process runs from, "-dirty" if changed, or "unknown" outside a git checkout."""
    if not _known:
        root = Path(__file__).parents[2]
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        _known.append(answer.stdout.strip() if answer.returncode == 0 else "unknown")
    return _known[0]
