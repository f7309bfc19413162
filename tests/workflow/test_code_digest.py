"""The digest of a stage covers exactly the modules it imports, and of these what they do."""

from pathlib import Path

import pytest

from workflow.planning.code_digest import code_digest, imported_files, meaning

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {
        "models/__init__.py": "",
        "models/a.py": "import numpy\nfrom models import b\n",
        "models/b.py": "def f():\n    from evaluation.c import g\n    return g\n",
        "models/unused.py": "x = 1\n",
        "evaluation/c.py": "from . import d\n",
        "evaluation/d.py": "",
        "reports/page.html": "<p>",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_imports_are_followed_everywhere(tree: Path) -> None:
    """Guards against imports inside functions, of submodules and relative ones that escape the digest."""
    found = [path.as_posix() for path in imported_files(tree, "models.a")]
    assert found == ["evaluation/c.py", "evaluation/d.py", "models/__init__.py", "models/a.py", "models/b.py"]


def test_only_imported_files_and_named_data_change_the_digest(tree: Path) -> None:
    """Guards against rerunning a stage for a file it never reads, and against missing a template."""

    def digest() -> str:
        return code_digest(tree, "models.a", ["reports/*.html"])

    first = digest()
    (tree / "models/unused.py").write_text("x = 2\n")
    (tree / "models/a.py").touch()
    assert digest() == first
    (tree / "evaluation/d.py").write_text("y = 1\n")
    second = digest()
    assert second != first
    (tree / "reports/page.html").write_text("<p>new")
    assert digest() not in (first, second)


MODULE = """\
\"\"\"A module.\"\"\"
from __future__ import annotations

import os
from a import b, c
from d import e

LIMIT: Final = 3


@dataclass
class Point:
    \"\"\"A point.\"\"\"

    x: int = 0
    \"\"\"Where it is.\"\"\"


def f(x: int, *, far: bool = False) -> list[int]:
    \"\"\"Numbers.\"\"\"
    found: list[int] = [x]
    if far:  # a trap
        found.append(LIMIT)
    return found
"""

SAME = {
    "a comment": ("# a trap", "# another trap, said better"),
    "a comment of its own": ("    if far:", "    # why\n    if far:"),
    "the module's docstring": ('"""A module."""', '"""A better module.\n\nMore words.\n"""'),
    "no docstring of a class": ('    """A point."""\n\n', ""),
    "no docstring of a function": ('    """Numbers."""\n', ""),
    "a docstring of a field": ('"""Where it is."""', '"""Its place, in pixels."""'),
    "a blank line": ("    found: list", "\n    found: list"),
    "imports in another order": (
        "import os\nfrom a import b, c\nfrom d import e",
        "from d import e\nfrom a import c, b\nimport os",
    ),
    "an import on lines of its own": ("from a import b, c", "from a import (\n    b,\n    c,\n)"),
    "an import of a name by itself": ("from a import b, c", "from a import b\nfrom a import c"),
    "the annotation of an argument": ("x: int, *", "x: float, *"),
    "the annotation of a result": ("-> list[int]", "-> Sequence[int]"),
    "the annotation of a variable": ("found: list[int] = [x]", "found = [x]"),
    "the annotation of a constant": ("LIMIT: Final = 3", "LIMIT = 3"),
    "deferred annotations": ("from __future__ import annotations\n", ""),
    "an import for types": ("LIMIT: Final", "if TYPE_CHECKING:\n    from g import h\n\nLIMIT: Final"),
    "a call over several lines": ("found.append(LIMIT)", "found.append(\n            LIMIT\n        )"),
    "other quotes": ('"""Numbers."""', "'Numbers.'"),
}
"""Edits that change nothing that a stage does: what is written, and what it becomes."""

OTHER = {
    "a constant": ("LIMIT: Final = 3", "LIMIT: Final = 4"),
    "a type of a constant": ("LIMIT: Final = 3", "LIMIT: Final = 3.0"),
    "a default": ("far: bool = False", "far: bool = True"),
    "the annotation of a field": ("x: int = 0", "x: float = 0"),
    "a field's default": ("x: int = 0", "x: int = 1"),
    "a decorator": ("@dataclass", "@dataclass(frozen=True)"),
    "a name": ("found.append(LIMIT)", "found.append(limit)"),
    "a name that is imported": ("from a import b, c", "from a import b, c as d"),
    "where a name is from": ("from d import e", "from f import e"),
    "a statement": ("    return found", "    found.sort()\n    return found"),
    "the order of statements": (
        "    if far:  # a trap\n        found.append(LIMIT)\n    return found",
        "    return found\n    if far:\n        found.append(LIMIT)",
    ),
    "a keyword-only argument": ("x: int, *, far", "x: int, far"),
    "an operator": ("[x]", "[-x]"),
}
"""Edits that may change what comes out."""


@pytest.mark.parametrize("edit", SAME)
def test_what_means_the_same_has_the_same_digest(edit: str) -> None:
    """Guards against 37 GPU-hours for a comment."""
    before, after = SAME[edit]
    assert MODULE.count(before) == 1, "the edit is made"
    assert meaning(MODULE.replace(before, after)) == meaning(MODULE)


@pytest.mark.parametrize("edit", OTHER)
def test_what_means_something_else_has_another_digest(edit: str) -> None:
    """Guards against results of other code that pass for up to date."""
    before, after = OTHER[edit]
    assert MODULE.count(before) == 1, "the edit is made"
    assert meaning(MODULE.replace(before, after)) != meaning(MODULE)


def test_gpu_code_is_left_out_where_it_cannot_run(tree: Path) -> None:
    """Guards against resampling a suite on CPUs because a Triton kernel was edited."""
    with_b = code_digest(tree, "models.a")
    without_b = code_digest(tree, "models.a", without=["models.b"])
    (tree / "models/b.py").write_text("x = 2\n")
    assert code_digest(tree, "models.a", without=["models.b"]) == without_b
    assert code_digest(tree, "models.a") != with_b


def test_what_is_not_there_is_named(tree: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"models\.gone"):
        imported_files(tree, "models.gone")
    with pytest.raises(FileNotFoundError, match="no file matches"):
        code_digest(tree, "models.a", ["reports/*.css"])


def test_stages_see_what_they_must_and_no_more() -> None:
    """Guards against editing the rollout retouching controls, scorers or the report, and against one scorer
    rerunning another.
    """
    sample = {path.as_posix() for path in imported_files(ROOT, "workflow.scripts.sample")}
    assert {"models/rollout.py", "models/plan.py", "models/wan.py", "evaluation/clips.py"} <= sample
    foreign = ("models/training/", "workflow/planning/", "workflow/training/", "reports/")
    assert not {path for path in sample if path.startswith(foreign)}
    color = {path.as_posix() for path in imported_files(ROOT, "evaluation.toybox.scorers.color")}
    assert "evaluation/toybox/scorers/color.py" in color
    assert not {
        path
        for path in color
        if path.startswith(("models/", "evaluation/toybox/scorers/")) and "__init__" not in path
    } - {"evaluation/toybox/scorers/color.py"}
    for stage in ("render", "check", "filter", "aggregate", "report"):
        files = {path.as_posix() for path in imported_files(ROOT, f"workflow.scripts.{stage}")}
        assert not {path for path in files if path.startswith("models/")} - {"models/__init__.py"}, stage
