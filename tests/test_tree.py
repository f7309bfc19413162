"""The tree in the README names every folder of the repository, and none that is not there."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def folders_of(tree: str) -> set[str]:
    """Folders that an indented tree names: words before the description that end with a slash."""
    found: set[str] = set()
    above: list[tuple[int, str]] = []
    for line in tree.splitlines():
        indent = len(line) - len(line.lstrip())
        if line.strip() and indent <= 8:
            above = [(depth, name) for depth, name in above if depth < indent]
            parent = above[-1][1] if above else ""
            names = re.match(r"\s*((?:\S+ )*\S+)", line)
            assert names is not None
            words = [word for word in re.split(r"\s{2,}", line.strip())[0].split(" ") if word.endswith("/")]
            found |= {f"{parent}{word}" for word in words}
            if words:
                above.append((indent, f"{parent}{words[0]}"))
    return {name.rstrip("/") for name in found}


def tracked_files() -> list[str]:
    """Files that git tracks."""
    try:
        return subprocess.run(
            ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git here, which knows the folders")


def tracked_folders() -> set[str]:
    """Folders that git tracks files in."""
    return {str(parent) for name in tracked_files() for parent in [Path(name).parent] if str(parent) != "."}


def test_the_tree_of_the_readme_is_the_tree_of_folders() -> None:
    """Guards against a reader who looks for a folder that moved, and a folder that nobody explains."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = text.split("## Where things are")[1].split("```")[1]
    named = folders_of(tree)
    assert named >= tracked_folders(), sorted(tracked_folders() - named)
    assert not [name for name in sorted(named) if not (ROOT / name).is_dir()]


def test_files_that_the_tree_names_exist() -> None:
    """Guards against a stranger's question that is answered with a file that is gone."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = text.split("## Where things are")[1].split("```")[1]
    names = {Path(name).name for name in tracked_files()}
    assert not [word for word in re.findall(r"\b\w+\.py\b", tree) if word not in names]


def test_a_folder_is_read_from_its_indentation() -> None:
    tree = "a/    one\n  b/ c/    two\n    d/    three, e/f\n  g.py    no folder\nh/i/    four\n"
    assert folders_of(tree) == {"a", "a/b", "a/c", "a/b/d", "h/i"}
