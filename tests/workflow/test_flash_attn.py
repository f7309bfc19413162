"""`make env FLASH_ATTN=...`: what it installs, from where, and the one sentence where it cannot work. pip,
torch and nvcc are stand-ins that note what they are asked.
"""

import os
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.attention import FORCED, best_kernel
from workflow.planning.suite_file import read_suite
from workflow.scripts.doctor import check_attention

ROOT = Path(__file__).parents[2]
PYTHON = """#!/bin/sh
if [ "$1" = -c ]; then
  case "$2" in *device_count*) printf '%b\\n' "$FACTS" && exit ;; esac
  [ -z "$BROKEN" ] || { echo "ImportError: $BROKEN" >&2 && exit 1; }
  exit
fi
built="$MAX_JOBS $NVCC_THREADS $FLASH_ATTN_CUDA_ARCHS $FLASH_ATTENTION_FORCE_BUILD $CUDA_HOME"
echo "$@ | $built" >>"$NOTES"
while [ $# -gt 1 ]; do [ "$1" != -w ] || echo wheel >"$2/flash_attn-2-cp312.whl"; shift; done
"""
NVCC = "#!/bin/sh\necho 'Cuda compilation tools, release 13.0, V13.0.48'\n"
CUDA13, CUDA12, CPU = "2.13.0 13.0 cp312", "2.13.0 12.8 cp312", "2.13.0+cpu none cp312"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The installers beside an environment whose Python is a stand-in, and a CUDA toolkit that is one."""
    shutil.copytree(ROOT / "envs", tmp_path / "envs")
    for name, text in ((".venv/bin/python", PYTHON), ("cuda/bin/nvcc", NVCC)):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def install(project: Path, choice: str, facts: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {"PATH": "/usr/bin:/bin", "FACTS": facts, "NOTES": str(project / "notes"), **environment}
    return subprocess.run(
        ["envs/main/flash_attn.sh", choice],
        cwd=project, env=given, capture_output=True, text=True, check=False,
    )  # fmt: skip


def notes(project: Path) -> list[str]:
    """What pip was asked, a line each."""
    path = project / "notes"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize(
    ("choice", "facts", "words"),
    [
        ("4", CUDA13, r"it must be 3 \(.*build \(.* or 2 \("),
        ("3", CPU, r"needs a CUDA build of torch, and \.venv has torch 2\.13\.0\+cpu for the CPU; run"),
        ("build", CPU, "needs a CUDA build of torch"),
        ("3", CUDA12, r"made for CUDA 13, and torch 2\.13\.0 is for CUDA 12\.8; point pip at"),
        ("2", CUDA13, r"no wheel in \.venvs/wheels/flash-attn-2-.*-torch2\.13\.0-cuda13\.0-cp312, .*=build"),
        ("build", CUDA13, r"with nvcc, and there is none \(PATH\); install CUDA's toolkit 13 or set CUDA"),
        ("build", f"{CUDA13}\\n9.0", "8.x .* alone, and .* GPUs here say 9.0; on 9.0 take FLASH_ATTN=3"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_one_sentence(project: Path, choice: str, facts: str, words: str) -> None:
    """Before anything is installed."""
    refused = install(project, choice, facts)
    assert refused.returncode == 2 and refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    assert line.startswith(f"FLASH_ATTN={choice}: ") and re.search(words, line), line
    assert notes(project) == []


def test_nvcc_of_another_cuda_is_refused(project: Path) -> None:
    refused = install(project, "build", CUDA12, CUDA_HOME=str(project / "cuda"))
    assert refused.stderr.startswith(
        "FLASH_ATTN=build: nvcc is of CUDA 13.0 and torch of CUDA 12.8; set CUDA_HOME"
    )
    assert refused.returncode == 2 and notes(project) == []


def test_flash_attention_3_is_a_hashed_wheel_installed_once(project: Path) -> None:
    """And again for another torch; a GPU that it does not know is said."""
    for facts in (f"{CUDA13}\\n9.0", f"{CUDA13}\\n9.0", "2.14.0 13.0 cp312\\n8.6 9.0"):
        done = install(project, "3", facts)
        assert done.returncode == 0, done.stderr
        assert "alone" not in done.stderr
    once = (
        "-m pip --disable-pip-version-check --quiet install --no-deps --only-binary=:all: --require-hashes -r"
    )
    assert [line.partition(" |")[0] for line in notes(project)] == [f"{once} envs/main/flash-attn-3.lock"] * 2
    assert "used on 9.0 (Hopper) alone" in install(project, "3", f"{CUDA13}\\n8.6").stderr


def test_what_does_not_import_is_removed(project: Path) -> None:
    broken = install(project, "3", CUDA13, BROKEN="libcudart.so.13 is missing")
    assert broken.returncode == 2
    assert (
        "fa3-fwd was installed and does not import (ImportError: libcudart.so.13 is missing)" in broken.stderr
    )
    assert "uninstall --yes fa3-fwd" in notes(project)[-1]
    assert not (project / ".venv/flash-attn.stamp").exists()


def test_flash_attention_2_is_compiled_once_and_installed_anywhere(project: Path) -> None:
    """The architecture list and the number of jobs reach the compiler and are printed; the wheel serves where
    there is no nvcc; a changed one is refused.
    """
    built = install(
        project, "build", f"{CUDA13}\\n9.0",
        TORCH_CUDA_ARCH_LIST="8.0;8.6;12.0", MAX_JOBS="7", CUDA_HOME=str(project / "cuda"),
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert (
        "TORCH_CUDA_ARCH_LIST='8.0 8.6 12.0' (flash-attn: 80;120) with MAX_JOBS=7, nvcc 13.0" in built.stderr
    )
    tools, wheel, wheels = notes(project)
    assert "install --no-deps --require-hashes" in tools
    assert "wheel --no-deps --no-build-isolation --require-hashes" in wheel
    assert wheel.endswith(f"| 7 2 80;120 TRUE {project}/cuda")
    assert "install --no-deps --force-reinstall .venvs/wheels/flash-attn-2-" in wheels
    (project / ".venv/flash-attn.stamp").unlink()
    assert install(project, "2", CUDA13).returncode == 0
    assert len(notes(project)) == 4, "nothing was compiled again"
    assert install(project, "2", CUDA13).returncode == 0
    assert len(notes(project)) == 4, "nor installed"
    (made,) = (project / ".venvs/wheels").glob("*/*.whl")
    made.write_text("another")
    refused = install(project, "2", CUDA13)
    assert refused.returncode == 2 and "is not the one that was built" in refused.stderr


def test_the_environment_refuses_before_it_builds(project: Path) -> None:
    """Guards against minutes of installing torch before a wrong word, or a CPU build, is noticed."""
    for arguments, words in ((("cuda", "4"), "it must be 3"), (("cpu", "3"), "needs a CUDA build of torch")):
        done = subprocess.run(
            ["envs/main/install.sh", *arguments], cwd=project, capture_output=True, text=True, check=False,
            env=os.environ | {"NOTES": str(project / "notes"), "FACTS": CUDA13},
        )  # fmt: skip
        assert done.returncode == 2 and words in done.stderr and "Building" not in done.stderr
    assert notes(project) == []


def test_locks_are_pinned_hashed_and_apart_from_the_main_one() -> None:
    """Guards against an optional package that replaces one of the main lock."""

    def pins(name: str) -> dict[str, str]:
        text = (ROOT / "envs/main" / name).read_text(encoding="utf-8")
        blocks = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]
        assert all("--hash=sha256:" in block for block in blocks)
        return dict(block.split()[0].split("==") for block in blocks)

    two, three, main = pins("flash-attn-2.lock"), pins("flash-attn-3.lock"), pins("requirements.lock")
    assert three.keys() == {"fa3-fwd"} and two.keys() == {"flash-attn", "ninja", "setuptools", "wheel"}
    assert not (two.keys() | three.keys()) & main.keys()


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """No kernel is remembered or asked for, and no package of this machine counts."""
    monkeypatch.delenv(FORCED, raising=False)
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: sys.modules.get(name) or name == "torch" or None
    )
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    best_kernel.cache_clear()
    yield monkeypatch
    best_kernel.cache_clear()


def test_the_doctor_names_the_kernel_and_what_would_be_faster(kernels: pytest.MonkeyPatch) -> None:
    """On a machine without GPUs for the cards a job may get, on one with a GPU for that; a wish is named, and
    one that cannot be granted is what is missing.
    """
    vbench = read_suite(ROOT / "workflow/config/vbench.yaml", ROOT)
    planned = check_attention(vbench)
    assert planned.verdict == "note"
    assert planned.found == (
        "a job on Hopper would use sdpa (cuDNN first), and with FlashAttention 3 a clip takes 7 % less time "
        "(make env FLASH_ATTN=3); a job on Ampere and Ada would use sdpa (cuDNN first), and FlashAttention 2 "
        "may be faster, which was not measured (make env FLASH_ATTN=build)"
    )
    assert check_attention(read_suite(ROOT / "workflow/config/toybox.yaml", ROOT)).verdict == "ok"
    kernels.setattr("torch.cuda.device_count", lambda: 1)
    kernels.setattr("torch.cuda.get_device_capability", lambda _: (9, 0))
    assert check_attention(vbench).found.startswith(
        "on Hopper uses sdpa (cuDNN first), and with FlashAttention 3"
    )
    kernels.setenv(FORCED, "sdpa")
    best_kernel.cache_clear()
    assert check_attention(vbench).found.endswith(f"({FORCED}=sdpa asks for it)")
    kernels.setenv(FORCED, "fa2")
    best_kernel.cache_clear()
    assert check_attention(vbench).verdict == "MISSING"
    kernels.delenv(FORCED)
    module = types.ModuleType("fa3_fwd_interface")
    module.flash_attn_func = lambda q, k, v: q  # type: ignore[attr-defined]
    kernels.setitem(sys.modules, "fa3_fwd_interface", module)
    best_kernel.cache_clear()
    found = check_attention(vbench)
    assert (found.verdict, found.found) == ("ok", "on Hopper uses fa3 (fa3_fwd of unknown version)")
    kernels.setattr("torch.cuda.get_device_capability", lambda _: (12, 0))
    assert check_attention(vbench).found == "on compute capability 12.0 uses sdpa (cuDNN first)"
