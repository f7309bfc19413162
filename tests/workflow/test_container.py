"""The command raven-bench of the container image, which puts the image's code into a folder of the host's."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.workflow.project import ROOT

CONTAINER = ROOT / "envs/container"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """What lies in the image, with a main environment that says how it was called."""
    made = tmp_path / "image"
    (made / ".venv/bin").mkdir(parents=True)
    (made / ".venvs/vbench").mkdir(parents=True)
    (made / "Snakefile").write_text("x\n")
    (made / ".image").write_text("commit 1\n")
    command = made / ".venv/bin/raven-bench"
    command.write_text('#!/bin/sh\necho "in $(pwd) with $*; $(command -v raven-bench)"\n')
    command.chmod(0o755)
    return made


def started(image: Path, bench: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RAVEN_BENCH_IMAGE": str(image), "RAVEN_BENCH": str(bench)}
    return subprocess.run(
        [CONTAINER / "raven-bench", *words], env=environment, capture_output=True, text=True, check=False
    )


def test_a_mounted_folder_gets_the_code_and_keeps_what_is_in_it(image: Path, tmp_path: Path) -> None:
    """Guards against a run whose results are gone with its container, and weights that are fetched twice."""
    bench = tmp_path / "bench"
    (bench / "resources").mkdir(parents=True)
    (bench / "resources/x").write_text("weights")
    done = started(image, bench, "doctor", "two words")
    assert done.stdout == f"in {bench} with doctor two words; {image}/.venv/bin/raven-bench\n"
    assert (bench / "Snakefile").read_text() == "x\n"
    assert (bench / ".venv").resolve() == image / ".venv"
    assert (bench / ".venvs").resolve() == image / ".venvs"
    assert (bench / "resources/x").read_text() == "weights"
    (bench / "Snakefile").write_text("mine\n")
    assert started(image, bench, "report").returncode == 0
    assert (bench / "Snakefile").read_text() == "mine\n"


def test_a_folder_that_does_not_fit_is_one_sentence(image: Path, tmp_path: Path) -> None:
    """Guards against code of one commit with environments of another, and against an overwritten checkout."""
    bench = tmp_path / "bench"
    gone = started(image, bench)
    assert gone.returncode == 1
    assert "is no folder that user" in gone.stderr
    bench.mkdir()
    (bench / "Snakefile").write_text("mine\n")
    assert "is a checkout that no image made" in started(image, bench).stderr
    (bench / "Snakefile").unlink()
    assert started(image, bench).returncode == 0
    (image / ".image").write_text("commit 2\n")
    other = started(image, bench)
    assert other.returncode == 1
    assert "has the code of another image (commit commit 1, this one is commit 2)" in other.stderr
    assert other.stderr.count("\n") == 1


def test_nothing_of_a_run_is_built_into_an_image() -> None:
    """Guards against weights, results and the host's own environment in an image: those stay out."""
    ignored = (ROOT / ".containerignore").read_text().split()
    assert {".venv", ".venvs", "resources", "results", ".snakemake"} <= set(ignored)
    assert (ROOT / ".dockerignore").resolve() == ROOT / ".containerignore"
    text = (CONTAINER / "Containerfile").read_text()
    assert re.findall(r"^COPY (.*)", text, re.MULTILINE) == [". ."]
    assert "ENTRYPOINT" not in text
