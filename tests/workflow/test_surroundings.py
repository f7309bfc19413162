"""Shells and containers as they come: no home, no name, PYTHONSAFEPATH."""

import getpass
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tests.workflow.project import ROOT
from workflow.planning.surroundings import OWN_HOME, keep_freed_memory, settle_surroundings


@pytest.mark.parametrize("home", ["mine", "gone", None])
def test_a_home_and_a_name_are_there_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    """Guards against a container that starts nothing: Snakemake asks for both. One's own home is kept."""
    for name in ("PATH", "HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONSAFEPATH", "1")

    def nobody(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", nobody)
    (tmp_path / "mine").mkdir()
    if home is not None:
        monkeypatch.setenv("HOME", str(tmp_path / home))
    settle_surroundings(tmp_path)
    expected = tmp_path / ("mine" if home == "mine" else OWN_HOME)
    assert Path.home() == expected and expected.is_dir()
    assert getpass.getuser() == str(os.getuid())
    assert "PYTHONSAFEPATH" not in os.environ
    assert os.environ["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


def test_freed_memory_is_kept_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """glibc refuses a larger threshold for blocks of their own than 32 MiB; what is set already stays."""
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "4096")
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "")
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_")
    keep_freed_memory()
    assert os.environ["MALLOC_TRIM_THRESHOLD_"] == "4096"
    assert int(os.environ["MALLOC_MMAP_THRESHOLD_"]) == 32 * 2**20


def test_the_command_finds_packages_and_modules_under_a_safe_path(tmp_path: Path) -> None:
    """PYTHONSAFEPATH leaves the working directory out of sys.path, whose first entry is then the user's."""
    (tmp_path / "python").symlink_to(sys.executable)  # of no environment: packages by PYTHONPATH alone
    shutil.copy(ROOT / "envs/main/raven-bench", tmp_path)
    packages = str(Path(typer.__file__).parents[1])
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": packages}
    command = [tmp_path / "raven-bench", "--help"]
    done = subprocess.run(
        command, cwd=ROOT / "tests", env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "dry-run" in done.stdout, done.stderr
