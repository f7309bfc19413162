"""What `make doctor` looks at for suites that the official VBench scores: its environment, its checkpoints,
room to work in.

The environment is asked in one process of its own (evaluation/vbench/worker/probe.py), without network.
Nothing here hashes gigabytes: sizes are compared, and hashes are verified when the checkpoints are laid out
(rule vbench_weights) before anything is scored.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from evaluation.clips import ClipFrames, write_clip
from evaluation.dimensions import NAMES
from evaluation.files import load_json
from evaluation.vbench.weights import CHECKPOINTS
from workflow.planning.resources import fetch_command, read_lock, scorer_resources
from workflow.planning.suite import Suite
from workflow.scoring.vbench_process import (
    ENVIRONMENT_STAMP,
    MADE_FROM_LONG,
    VENV,
    VENV_LONG,
    environment_hash,
    stamp_of,
)

INSTALL = "envs/vbench/install.sh"
CLIP_FRAMES, CLIP_FPS = 9, 16
SHOWN_FILES = 3
"""So many missing files are named."""
SCRATCH_GB = 0.2
"""Links, job files and answers of the jobs that run at once; clips are linked, never copied."""
LONGEST_NAME = "x" * 216 + ".mp4"
"""As long as the longest of VBench's names, <prompt>-24.mp4."""


class DoctorCheck(NamedTuple):
    """One line of what `make doctor` says."""

    verdict: Literal["ok", "note", "MISSING"]
    """"MISSING" is what a run would stop at."""
    what: str
    """What was looked at."""
    found: str
    """What it is like and, if it is not right, what brings it."""


def check_scorer(suite: Suite, root: Path, *, released: bool) -> list[DoctorCheck]:
    """Every line about the official scorer of a suite. released: whether `weights=released` was asked for."""
    checkpoints = check_checkpoints(suite, root, released=released)
    between = [check_between(root)] if suite.clip.long_fps else []
    return [*check_environment(suite, root), *between, *checkpoints, check_scratch(suite, root)]


def check_between(root: Path) -> DoctorCheck:
    """Whether the environment of DINOv2 and DreamSim is built, which suites of long clips need too."""
    venv = root / VENV_LONG
    built = (venv / "bin/python").is_file() and (venv / ENVIRONMENT_STAMP).is_file()
    if built and stamp_of(venv) == environment_hash(root, MADE_FROM_LONG):
        return DoctorCheck("ok", "vbench long", f"{VENV_LONG} is built (DINOv2, DreamSim)")
    said = f"{VENV_LONG} is {'of another lock' if built else 'not built'}; scoring builds it when it begins"
    return DoctorCheck("note", "vbench long", said)


def check_environment(suite: Suite, root: Path) -> list[DoctorCheck]:
    """Whether VBench's environment is built and of this lock, and if so, what works in it."""
    venv = root / VENV
    if not (venv / "bin/python").is_file() or not (venv / ENVIRONMENT_STAMP).is_file():
        said = (
            f"its environment {VENV} is not built; scoring builds it when it begins, or {INSTALL} now "
            "(package registry, and github.com for detectron2)"
        )
        return [DoctorCheck("note", "vbench", said)]
    if stamp_of(venv) != environment_hash(root):
        said = (
            f"its environment {VENV} was built from another lock or installer; scoring builds it anew, or "
            f"{INSTALL} now"
        )
        return [DoctorCheck("note", "vbench", said)]
    frames = example_frames()
    with tempfile.TemporaryDirectory(prefix="doctor-") as folder:
        clip, output = Path(folder) / "clip.mp4", Path(folder) / "answer.json"
        write_clip(clip, frames, fps=CLIP_FPS)
        asked = [str(venv / "bin/python"), "-m", "evaluation.vbench.worker.probe", "--clip", str(clip)]
        asked += ["--vocabulary", CHECKPOINTS["viclip"][1], "--output", str(output), *NAMES]
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        done = subprocess.run(
            asked, cwd=root, env=os.environ | limits, capture_output=True, text=True, check=False
        )
        if done.returncode or not output.is_file():
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:300]
            said = f"its environment does not work ({last}); delete {VENV} and run {INSTALL}"
            return [DoctorCheck("MISSING", "vbench", said)]
        answer = load_json(output.read_bytes(), "the answer of VBench's environment")
    return [
        judge_imports(answer, suite.dimensions),
        judge_torch(answer["torch"], suite, nvidia_driver()),
        judge_decoders(answer["decoders"], frames),
    ]


def judge_imports(answer: Mapping[str, Any], wanted: Sequence[str]) -> DoctorCheck:
    """All sixteen modules import, or which do not and what mends it. Only dimensions of the suite are
    missed.
    """
    found = answer["dimensions"]
    failed: dict[str, list[str]] = {}
    for name in NAMES:
        if found[name]["error"] is not None:
            failed.setdefault(found[name]["error"], []).append(name)
    seconds = sum(one["seconds"] for one in found.values())
    good = len(NAMES) - sum(map(len, failed.values()))
    said = (
        f"vbench {answer['vbench']}: {good} of {len(NAMES)} dimensions import ({seconds:.0f} s of a core, "
        "network off)"
    )
    for error, names in failed.items():
        said += f"; {', '.join(names) if len(names) < len(NAMES) else 'each'}: {error} ({remedy(error)})"
    missed = any(name in wanted for names in failed.values() for name in names)
    return DoctorCheck("MISSING" if missed else "note" if failed else "ok", "vbench", said)


def remedy(error: str) -> str:
    """What to do about an import that failed."""
    if "detectron2" in error:
        return (
            f"{INSTALL} builds detectron2; where github.com cannot be reached, --detectron2 takes a "
            "checkout or a wheel"
        )
    if "torchvision" in error:
        return (
            f"torchvision's wheel is a CUDA build and this torch is not: {INSTALL} --torch cuda, on a "
            "machine whose index has it"
        )
    return f"delete {VENV} and run {INSTALL}"


def nvidia_driver() -> str | None:
    """Version of the NVIDIA driver of this machine, None without one."""
    if shutil.which("nvidia-smi") is None:
        return None
    asked = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return (asked.stdout.split() or ["of unknown version"])[0] if asked.returncode == 0 else None


def judge_torch(torch: Mapping[str, Any], suite: Suite, driver: str | None) -> DoctorCheck:
    """Whether the scorer's torch is built for what this machine and the suite have."""
    what = "vbench GPU"
    build = f"torch {torch['version']}, {'CUDA ' + torch['cuda'] if torch['cuda'] else 'CPU build'}"
    if torch["gpus"]:
        return DoctorCheck("ok", what, f"{build}, {len(torch['gpus'])} GPUs: {', '.join(torch['gpus'])}")
    if suite.device == "cpu":
        return DoctorCheck("ok", what, f"{build}; this suite is scored on the CPU")
    if driver is None:
        wanted = "" if torch["cuda"] else f"; for a cluster build it there with {INSTALL} --torch cuda"
        said = f"{build}; no NVIDIA driver here, so nothing can be scored here{wanted}"
        return DoctorCheck("note", what, said)
    said = (
        f"{build} finds no GPU beside driver {driver}; the driver is too old for it, or none is granted to "
        "this shell"
        if torch["cuda"]
        else f"{build}, but driver {driver} is here; run {INSTALL} --torch cuda, or every clip is scored on "
        "the CPU"
    )
    return DoctorCheck("MISSING", what, said)


def example_frames() -> ClipFrames:
    """A few frames whose mean changes from one to the next, [T, H, W, 3]."""
    steps = np.linspace(40, 200, CLIP_FRAMES).astype(np.uint8)
    return np.broadcast_to(steps[:, None, None, None], (CLIP_FRAMES, 64, 96, 3)).copy()


def judge_decoders(decoders: Mapping[str, Mapping[str, Any]], frames: ClipFrames) -> DoctorCheck:
    """Whether both decoders see the frames, the rate and the brightness that our writer put into a clip."""
    errors = []
    for name, found in decoders.items():
        if "error" in found:
            errors.append(f"{name}: {found['error']}")
        elif (found["frames"], round(found["fps"], 3)) != (len(frames), CLIP_FPS):
            errors.append(
                f"{name} sees {found['frames']} frames at {found['fps']:g} per second instead of "
                f"{len(frames)} at {CLIP_FPS}"
            )
        elif abs(found["mean"] - float(frames.mean())) > 4:
            errors.append(f"{name} sees a mean of {found['mean']:.0f} instead of {float(frames.mean()):.0f}")
    if errors:
        said = f"{'; '.join(errors)}; delete {VENV} and run {INSTALL}"
        return DoctorCheck("MISSING", "vbench codecs", said)
    return DoctorCheck("ok", "vbench codecs", f"decord and OpenCV read all {len(frames)} frames of our mp4")


def check_checkpoints(suite: Suite, root: Path, *, released: bool = False) -> list[DoctorCheck]:
    """Whether every checkpoint of the scorer was fetched whole, what its sha256 was compared with, and
    whether VBench's folder of them is made.
    """
    fetch = fetch_command(suite, released=released)
    entries, lock = scorer_resources(root, suite), read_lock(root / "resources")
    paths = {entry.path: root / "resources" / entry.path for entry in entries}
    sizes = {name: path.stat().st_size for name, path in paths.items() if path.is_file()}
    absent = [entry for entry in entries if entry.path not in sizes]
    wrong = [
        f"{name} has {size:,} of {lock[name].size:,} bytes (delete it)"
        for name, size in sizes.items()
        if name in lock and lock[name].size not in (None, size)
    ]
    if absent:
        names = ", ".join(Path(entry.path).name for entry in absent[:SHOWN_FILES])
        names += f" and {len(absent) - SHOWN_FILES} more" if len(absent) > SHOWN_FILES else ""
        gigabytes = sum(entry.size_mb for entry in absent) / 1000
        wrong = [f"{len(absent)} of {len(entries)} files, {gigabytes:.1f} GB, are not here ({names})", *wrong]
    if wrong:
        return [DoctorCheck("MISSING", "checkpoints", f"{'; '.join(wrong)}; {fetch}")]
    pinned = sum(entry.sha256 is not None for entry in entries)
    unknown = [entry.path for entry in entries if entry.sha256 is None and entry.path not in lock]
    recorded = len(entries) - pinned - len(unknown)
    hashes = f"sha256 of {pinned} is pinned, of {recorded} recorded when they were fetched"
    if unknown:
        said = (
            f"{len(entries)} files are here; {hashes}, of {len(unknown)} unknown (first: {unknown[0]}): "
            f"{fetch} records them"
        )
    else:
        said = f"{len(entries)} files, {sum(sizes.values()) / 1e9:.1f} GB, in their sizes; {hashes}"
    return [DoctorCheck("note" if unknown else "ok", "checkpoints", said), check_laid_out(suite, root)]


def check_laid_out(suite: Suite, root: Path) -> DoctorCheck:
    """Whether the folder that VBench reads is made and whole; the workflow makes it before the first scoring
    job.
    """
    what = "scorer cache"
    listed = root / "results" / suite.suite / "vbench" / "weights.json"
    if not listed.is_file():
        return DoctorCheck("note", what, "not laid out yet; the workflow does it before it filters or scores")
    expected = load_json(listed.read_bytes(), str(listed))
    cache = listed.parent / "cache"
    wrong = [
        name
        for name, entry in expected.items()
        if not (cache / name).is_file() or (cache / name).stat().st_size != entry["size"]
    ]
    if wrong:
        said = (
            f"{len(wrong)} of {len(expected)} files of {cache.relative_to(root)} are gone or changed (first: "
            f"{wrong[0]}); delete {listed.relative_to(root)}, the workflow lays them out anew"
        )
        return DoctorCheck("MISSING", what, said)
    return DoctorCheck("ok", what, f"{len(expected)} files lie where VBench looks for them, verified")


def check_scratch(suite: Suite, root: Path) -> DoctorCheck:
    """Whether the folder of results can hold VBench's names as links, and has room for what filter and score
    write.
    """
    what, error = "scorer scratch", None
    results = root / "results" / suite.suite
    place = results if results.is_dir() else root
    free = shutil.disk_usage(place).free / 1e9
    with tempfile.TemporaryDirectory(prefix="doctor-", dir=place) as folder:
        try:
            for name in (LONGEST_NAME, "A-0.mp4", "a-0.mp4"):
                Path(folder, name).symlink_to(place)
        except FileExistsError:
            error = "does not tell upper from lower case, and two of VBench's prompts differ in nothing else"
        except OSError as refused:
            error = f"takes no links under VBench's long names ({refused.strerror})"
    if error is not None:
        return DoctorCheck("MISSING", what, f"the file system of {place} {error}; put results/ on another")
    said = (
        f"{free:.1f} GB free for filter and score, {SCRATCH_GB} needed (clips are linked, not copied); links "
        "and long names work"
    )
    return DoctorCheck("ok" if free > SCRATCH_GB else "note", what, said)
