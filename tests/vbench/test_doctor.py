"""What `make doctor` says of the official scorer: each verdict, and the command that brings what is
missing.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.dimensions import NAMES
from tests.vbench import tiny
from workflow.planning.resources import listed_resources
from workflow.planning.suite import Suite
from workflow.planning.suite_file import read_suite
from workflow.scoring import vbench_doctor as doctor
from workflow.scoring.vbench_doctor import DoctorCheck
from workflow.scoring.vbench_process import ENVIRONMENT_STAMP, MADE_FROM, VENV, environment_hash

ROOT = Path(__file__).parents[2]
SUITE = read_suite(ROOT / "workflow/config/vbench.yaml", ROOT)
ON_CPU = SUITE.model_copy(update={"device": "cpu"})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with what the environment is made from and the list of files, and nothing else."""
    for name in (*MADE_FROM, "workflow/resources.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def test_an_environment_that_is_not_there_is_a_note(project: Path) -> None:
    """Guards a fresh clone, where scoring builds it by itself, against being told that something is
    broken.
    """
    (said,) = doctor.check_environment(SUITE, project)
    assert said.verdict == "note"
    assert "is not built; scoring builds it when it begins, or envs/vbench/install.sh now" in said.found
    python = project / VENV / "bin/python"
    python.parent.mkdir(parents=True)
    python.touch()
    (project / VENV / ENVIRONMENT_STAMP).write_text("0" * 64 + " torch")
    (said,) = doctor.check_environment(SUITE, project)
    assert (said.verdict, "another lock or installer" in said.found) == ("note", True)


def test_an_environment_that_does_not_start_is_missing(project: Path) -> None:
    """Guards against a traceback, or an ok, where the environment's python is broken."""
    python = project / VENV / "bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'no module named torch' >&2\nexit 1\n")
    python.chmod(0o755)
    (project / VENV / ENVIRONMENT_STAMP).write_text(environment_hash(project) + " torch")
    (said,) = doctor.check_environment(SUITE, project)
    assert said.verdict == "MISSING"
    assert "no module named torch" in said.found
    assert "envs/vbench/install.sh" in said.found


def imports(**errors: str) -> dict[str, Any]:
    found = {name: {"seconds": 0.5, "error": errors.get(name)} for name in NAMES}
    return {"vbench": "0.1.5", "dimensions": found}


def test_imports_of_all_sixteen_are_judged() -> None:
    """Guards against GPU-hours before a dimension that cannot even be imported; one that the suite leaves out
    is a note.
    """
    said = doctor.judge_imports(imports(), NAMES)
    assert said == DoctorCheck(
        "ok", "vbench", "vbench 0.1.5: 16 of 16 dimensions import (8 s of a core, network off)"
    )
    broken = imports(color="ModuleNotFoundError: No module named 'detectron2'", scene="ImportError: x")
    said = doctor.judge_imports(broken, NAMES)
    assert said.verdict == "MISSING"
    assert "14 of 16" in said.found
    assert (
        "color: ModuleNotFoundError: No module named 'detectron2' (envs/vbench/install.sh builds detectron2"
        in said.found
    )
    assert "scene: ImportError: x (delete .venvs/vbench" in said.found
    assert doctor.judge_imports(broken, ["temporal_style"]).verdict == "note"
    assert "--torch cuda" in doctor.remedy("RuntimeError: operator torchvision::nms does not exist")


CPU_BUILD = {"version": "2.13.0+cpu", "cuda": None, "gpus": []}
CUDA_BUILD = {"version": "2.13.0", "cuda": "13.0", "gpus": []}


@pytest.mark.parametrize(
    ("torch", "suite", "driver", "verdict", "said"),
    [
        (CUDA_BUILD | {"gpus": ["H200"]}, SUITE, "570.1", "ok", "1 GPUs: H200"),
        (CPU_BUILD, ON_CPU, None, "ok", "scored on the CPU"),
        (CPU_BUILD, SUITE, None, "note", "envs/vbench/install.sh --torch cuda"),
        (CUDA_BUILD, SUITE, None, "note", "no NVIDIA driver here"),
        (CPU_BUILD, SUITE, "570.1", "MISSING", "run envs/vbench/install.sh --torch cuda"),
        (CUDA_BUILD, SUITE, "470.2", "MISSING", "finds no GPU beside driver 470.2"),
    ],
)
def test_the_build_of_torch_is_held_against_the_driver(
    torch: dict[str, Any], suite: Suite, driver: str | None, verdict: str, said: str
) -> None:
    """Guards a GPU machine against a CPU build, which would take months, and a login node against an
    alarm.
    """
    found = doctor.judge_torch(torch, suite, driver)
    assert found.verdict == verdict
    assert said in found.found


def test_decoders_must_see_what_was_written() -> None:
    """Guards the frame rate and count that decide dynamic degree, and a decoder that cannot read our codec at
    all.
    """
    frames = doctor.example_frames()
    good = {"frames": 9, "fps": 16.0, "mean": float(frames.mean())}
    assert doctor.judge_decoders({"decord": good, "opencv": good}, frames).verdict == "ok"
    for wrong, sentence in (
        ({"error": "RuntimeError: no codec"}, "opencv: RuntimeError: no codec"),
        (good | {"fps": 25.0}, "opencv sees 9 frames at 25 per second instead of 9 at 16"),
        (good | {"mean": 0.0}, "opencv sees a mean of 0"),
    ):
        said = doctor.judge_decoders({"decord": good, "opencv": wrong}, frames)
        assert said.verdict == "MISSING"
        assert sentence in said.found


def bring_checkpoints(project: Path) -> dict[str, dict[str, Any]]:
    """A stand-in of every checkpoint in resources/, and their entries for the lock."""
    lock = {}
    for entry in listed_resources(project):
        if entry.group == "scorer":
            path = project / "resources" / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"1234")
            lock[entry.path] = {"sha256": "0" * 64, "size": 4, "origin": "x", "revision": None}
    return lock


def test_checkpoints_are_counted_and_what_brings_them_is_said(project: Path) -> None:
    """Guards against a first scoring job that dies of a missing, cut or unproven file."""
    said = doctor.check_checkpoints(SUITE, project)[0]
    assert said.verdict == "MISSING"
    assert said.found.startswith("19 of 19 files, 9.5 GB, are not here (hubconf.py")
    assert said.found.endswith("make fetch SUITE=vbench")
    lock = bring_checkpoints(project)
    said = doctor.check_checkpoints(SUITE, project)[0]
    assert said.verdict == "note"
    assert "of 16 is pinned, of 0 recorded when they were fetched, of 3 unknown" in said.found
    (project / "resources/lock.json").write_text(json.dumps(lock))
    fetched, laid_out = doctor.check_checkpoints(SUITE, project)
    assert fetched.verdict == "ok"
    assert "of 16 is pinned, of 3 recorded" in fetched.found
    assert (laid_out.verdict, "not laid out yet" in laid_out.found) == ("note", True)
    (project / "resources/weights/vbench/amt_model/amt-s.pth").write_bytes(b"12")
    (said,) = doctor.check_checkpoints(SUITE, project)
    assert said.verdict == "MISSING"
    assert "amt-s.pth has 2 of 4 bytes (delete it)" in said.found


def test_the_folder_that_vbench_reads_is_compared_with_its_list(project: Path) -> None:
    """Guards against a cache that somebody emptied after it was proven."""
    cache = project / "results/vbench/vbench/cache"
    cache.mkdir(parents=True)
    (cache / "a.pt").write_bytes(b"1234")
    (cache.parent / "weights.json").write_text(json.dumps({"a.pt": {"size": 4, "sha256": "0" * 64}}))
    assert doctor.check_laid_out(SUITE, project).verdict == "ok"
    (cache / "a.pt").unlink()
    said = doctor.check_laid_out(SUITE, project)
    assert said.verdict == "MISSING"
    assert "1 of 1 files of results/vbench/vbench/cache are gone" in said.found


def test_the_place_for_links_is_tried(project: Path) -> None:
    """Guards against file systems on which two of VBench's names are one; this one can."""
    said = doctor.check_scratch(SUITE, project)
    assert said.verdict == "ok"
    assert "links and long names work" in said.found
    assert len(doctor.LONGEST_NAME) == 220
    assert not list(project.glob("doctor-*"))


@pytest.mark.vbench
@tiny.needs_environment()
def test_the_real_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the probe itself: all sixteen modules, torch and both decoders in VBench's own environment,
    without network.
    """
    for name, value in tiny.environment().items():
        monkeypatch.setenv(name, value)
    imported, torch, codecs = doctor.check_environment(ON_CPU, ROOT)
    count = 16 if tiny.has_detectron2() else 12
    assert f"{count} of 16 dimensions import" in imported.found
    assert imported.verdict == ("ok" if count == 16 else "MISSING")
    assert torch.verdict == "ok"
    assert codecs.verdict == "ok"
