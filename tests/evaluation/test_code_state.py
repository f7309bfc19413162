"""Which commit a record names: that of the project, or none."""

import os
import subprocess
from pathlib import Path

import pytest

from evaluation.code_state import code_state


def repository(folder: Path) -> str:
    """A repository with one commit, whose hash is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file").write_text("one\n")
    who = ["-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "file"], [*who, "commit", "-qm", "one"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    head = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    return subprocess.run(head, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    ("case", "known", "dirty"),
    [
        ("a checkout", True, False),
        ("a changed file", True, True),
        ("a link to it", True, False),
        ("called from a hook of another repository", True, False),
        ("no git", False, None),
        ("an archive", False, None),
        ("an archive inside another repository", False, None),
    ],
)
def test_only_a_checkout_of_its_own_has_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, known: bool, dirty: bool | None
) -> None:
    """Guards against a record that names somebody else's commit, and a job that ends where git is absent."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    root = tmp_path / "outer/project"
    commit = "not a git checkout"
    if case == "an archive inside another repository":
        repository(root.parent)
    if "archive" in case:
        root.mkdir(parents=True, exist_ok=True)
    else:
        commit = repository(root)
    if case == "a changed file":
        (root / "file").write_text("two\n")
    elif case == "a link to it":
        (tmp_path / "link").symlink_to(root)
        root = tmp_path / "link"
    elif case == "called from a hook of another repository":
        repository(tmp_path / "another")
        monkeypatch.setenv("GIT_DIR", str(tmp_path / "another/.git"))
        monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "another"))
    elif case == "no git":
        monkeypatch.setenv("PATH", "")
    found = code_state(root)
    assert found == (commit if known else "not a git checkout", dirty)
