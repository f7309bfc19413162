"""The digest of a stage covers exactly the modules it imports."""

from pathlib import Path

import pytest

from workflow.planning.code_digest import _imports, code_digest, imported_files

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
    _imports.cache_clear()
    return tmp_path


def test_imports_are_followed_everywhere(tree: Path) -> None:
    """Guards against imports inside functions, of submodules and relative ones that escape the digest."""
    found = [path.as_posix() for path in imported_files(tree, "models.a")]
    assert found == ["evaluation/c.py", "evaluation/d.py", "models/__init__.py", "models/a.py", "models/b.py"]


def test_only_imported_files_and_named_data_change_the_digest(tree: Path) -> None:
    """Guards against rerunning a stage for a file it never reads, and against missing a template."""

    def digest() -> str:
        _imports.cache_clear()
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


def test_what_is_not_there_is_named(tree: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"models\.gone"):
        imported_files(tree, "models.gone")
    with pytest.raises(FileNotFoundError, match="no file matches"):
        code_digest(tree, "models.a", ["reports/*.css"])


def test_stages_see_what_they_must_and_no_more() -> None:
    """Guards against editing the rollout retouching controls, scorers or the report, and against one scorer
    rerunning another.
    """
    _imports.cache_clear()
    sample = {path.as_posix() for path in imported_files(ROOT, "workflow.scripts.sample")}
    assert {"models/rollout.py", "models/plan.py", "models/wan.py", "evaluation/clips.py"} <= sample
    assert not {
        path for path in sample if path.startswith(("models/training/d", "models/training/r", "reports/"))
    }
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
