"""The command raven-bench of the container image, which puts the image's code into a folder of the host's."""

import os
import re
import shutil
import subprocess
import tempfile
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


def test_an_interrupted_first_start_is_made_again(image: Path, tmp_path: Path) -> None:
    """Guards against a folder with half of the code, of which the next start says that no image made it."""
    bench = tmp_path / "bench"
    bench.mkdir()
    (bench / ".image-begun").touch()
    (bench / "Snakefile").write_text("half")
    assert started(image, bench).returncode == 0
    assert (bench / "Snakefile").read_text() == "x\n" and not (bench / ".image-begun").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_a_folder_of_somebody_else_s_serves_where_everybody_may_write(image: Path) -> None:
    """Guards against an end in tar, which would give the folder itself the time and rights of the image's."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        shutil.copytree(image, place / "image", symlinks=True)
        shutil.copy(CONTAINER / "raven-bench", place)
        (place / "bench").mkdir()
        place.chmod(0o755)
        (place / "bench").chmod(0o777)
        places = {"RAVEN_BENCH_IMAGE": str(place / "image"), "RAVEN_BENCH": str(place / "bench")}
        done = subprocess.run(
            [place / "raven-bench"], env={**os.environ, **places}, user=65534, cwd=place,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert (place / "bench/Snakefile").read_text() == "x\n"


def test_nothing_of_a_run_is_built_into_an_image() -> None:
    """Guards against weights, results and the host's own environment in an image: those stay out."""
    ignored = (ROOT / ".containerignore").read_text().split()
    assert {".venv", ".venvs", "resources", "results", ".snakemake"} <= set(ignored)
    assert (ROOT / ".dockerignore").resolve() == ROOT / ".containerignore"
    text = (CONTAINER / "Containerfile").read_text()
    assert re.findall(r"^COPY (.*)", text, re.MULTILINE) == [". ."]
    assert "ENTRYPOINT" not in text
