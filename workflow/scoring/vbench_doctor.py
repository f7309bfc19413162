"""What `make doctor` looks at for suites that the official VBench scores: its environment, its checkpoints,
room to work in.

The environment is asked in one process of its own (evaluation/vbench/worker/probe.py), without network.
Nothing here hashes gigabytes: sizes are compared, and hashes are proven when the checkpoints are laid out
(rule vbench_weights) before anything is scored.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.clips import Frames, write_clip
from evaluation.dimensions import NAMES
from workflow.planning.resources import read_lock, scorer_resources
from workflow.planning.suite import Suite
from workflow.scoring.doctor_check import Finding
from workflow.scoring.vbench_process import STAMP, VENV, environment_hash, stamp_of

PROBE = "evaluation.vbench.worker.probe"
INSTALL = "envs/vbench/install.sh"
CLIP_FRAMES, CLIP_FPS = 9, 16
SHOWN = 3
SCRATCH_GB = 0.2
"""Links, job files and answers of the jobs that run at once; clips are linked, never copied."""
LONGEST_NAME = "x" * 216 + ".mp4"
"""As long as the longest of VBench's names, <prompt>-24.mp4."""


def vbench_findings(suite: Suite, root: Path) -> list[Finding]:
    """Every line about the official scorer of a suite."""
    return [*environment_findings(suite, root), *checkpoint_findings(suite, root), check_scratch(suite, root)]


def environment_findings(suite: Suite, root: Path) -> list[Finding]:
    """Whether VBench's environment is built and of this lock, and if so, what works in it."""
    venv = root / VENV
    if not (venv / "bin/python").is_file() or not (venv / STAMP).is_file():
        return [
            Finding(
                "note",
                "vbench",
                f"its environment {VENV} is not built; scoring builds it when it begins, or {INSTALL} now "
                "(package registry, and github.com for detectron2)",
            )
        ]
    if stamp_of(venv) != environment_hash(root):
        return [
            Finding(
                "note",
                "vbench",
                f"its environment {VENV} was built from another lock or installer; scoring builds it anew, "
                f"or {INSTALL} now",
            )
        ]
    frames = example_frames()
    with tempfile.TemporaryDirectory(prefix="doctor-") as folder:
        clip, output = Path(folder) / "clip.mp4", Path(folder) / "answer.json"
        write_clip(clip, frames, fps=CLIP_FPS)
        command = [str(venv / "bin/python"), "-m", PROBE, "--clip", str(clip), "--output", str(output)]
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        done = subprocess.run(
            command, cwd=root, env=os.environ | limits, capture_output=True, text=True, check=False
        )
        if done.returncode or not output.is_file():
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:300]
            return [
                Finding(
                    "MISSING",
                    "vbench",
                    f"its environment does not work ({said}); delete {VENV} and run {INSTALL}",
                )
            ]
        answer = json.loads(output.read_text(encoding="utf-8"))
    return [
        judge_imports(answer, suite.dimensions),
        judge_torch(answer["torch"], suite, nvidia_driver()),
        judge_decoders(answer["decoders"], frames),
    ]


def judge_imports(answer: Mapping[str, Any], wanted: Sequence[str]) -> Finding:
    """All sixteen modules import, or which do not and what mends it. Only dimensions of the suite are missed."""
    found = answer["dimensions"]
    faults: dict[str, list[str]] = {}
    for name in NAMES:
        if found[name]["fault"] is not None:
            faults.setdefault(found[name]["fault"], []).append(name)
    seconds = sum(one["seconds"] for one in found.values())
    good = len(NAMES) - sum(map(len, faults.values()))
    said = (
        f"vbench {answer['vbench']}: {good} of {len(NAMES)} dimensions import ({seconds:.0f} s of a core, "
        "network off)"
    )
    for fault, names in faults.items():
        said += f"; {', '.join(names) if len(names) < len(NAMES) else 'each'}: {fault} ({remedy(fault)})"
    missed = any(name in wanted for names in faults.values() for name in names)
    return Finding("MISSING" if missed else "note" if faults else "ok", "vbench", said)


def remedy(fault: str) -> str:
    """What to do about an import that failed."""
    if "detectron2" in fault:
        return (
            f"{INSTALL} builds detectron2; where github.com cannot be reached, --detectron2 takes a "
            "checkout or a wheel"
        )
    if "torchvision" in fault:
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


def judge_torch(torch: Mapping[str, Any], suite: Suite, driver: str | None) -> Finding:
    """Whether the scorer's torch is built for what this machine and the suite have."""
    build = f"torch {torch['version']}, {'CUDA ' + torch['cuda'] if torch['cuda'] else 'CPU build'}"
    if torch["gpus"]:
        return Finding("ok", "vbench GPU", f"{build}, {len(torch['gpus'])} GPUs: {', '.join(torch['gpus'])}")
    if suite.device == "cpu":
        return Finding("ok", "vbench GPU", f"{build}; this suite is scored on the CPU")
    if driver is None:
        wanted = "" if torch["cuda"] else f"; for a cluster build it there with {INSTALL} --torch cuda"
        return Finding(
            "note", "vbench GPU", f"{build}; no NVIDIA driver here, so nothing can be scored here{wanted}"
        )
    if torch["cuda"]:
        return Finding(
            "MISSING",
            "vbench GPU",
            f"{build} finds no GPU beside driver {driver}; the driver is too old for it, or none is "
            "granted to this shell",
        )
    return Finding(
        "MISSING",
        "vbench GPU",
        f"{build}, but driver {driver} is here; run {INSTALL} --torch cuda, or every clip is scored on the "
        "CPU",
    )


def example_frames() -> Frames:
    """A few frames whose mean changes from one to the next, [T, H, W, 3]."""
    steps = np.linspace(40, 200, CLIP_FRAMES).astype(np.uint8)
    return np.broadcast_to(steps[:, None, None, None], (CLIP_FRAMES, 64, 96, 3)).copy()


def judge_decoders(decoders: Mapping[str, Mapping[str, Any]], frames: Frames) -> Finding:
    """Whether both decoders see the frames, the rate and the brightness that our writer put into a clip."""
    faults = []
    for name, found in decoders.items():
        if "fault" in found:
            faults.append(f"{name}: {found['fault']}")
        elif (found["frames"], round(found["fps"], 3)) != (len(frames), CLIP_FPS):
            faults.append(
                f"{name} sees {found['frames']} frames at {found['fps']:g} per second instead of "
                f"{len(frames)} at {CLIP_FPS}"
            )
        elif abs(found["mean"] - float(frames.mean())) > 4:
            faults.append(f"{name} sees a mean of {found['mean']:.0f} instead of {float(frames.mean()):.0f}")
    if faults:
        return Finding("MISSING", "vbench codecs", f"{'; '.join(faults)}; delete {VENV} and run {INSTALL}")
    return Finding("ok", "vbench codecs", f"decord and OpenCV read all {len(frames)} frames of our mp4")


def checkpoint_findings(suite: Suite, root: Path) -> list[Finding]:
    """Whether every checkpoint of the scorer was fetched whole, how it is proven, and whether VBench's folder
    of them is made.
    """
    entries, lock = scorer_resources(root, suite), read_lock(root / "resources")
    sizes = {
        entry.path: path.stat().st_size for entry in entries if (path := root / "resources" / entry.path).is_file()
    }  # fmt: skip
    absent = [entry for entry in entries if entry.path not in sizes]
    wrong = [
        f"{path} has {size:,} of {lock[path].size:,} bytes (delete it)"
        for path, size in sizes.items()
        if path in lock and lock[path].size not in (None, size)
    ]
    if absent or wrong:
        missing = sum(entry.size_mb for entry in absent) / 1000
        names = ", ".join(Path(entry.path).name for entry in absent[:SHOWN])
        names += f" and {len(absent) - SHOWN} more" if len(absent) > SHOWN else ""
        said = (
            [f"{len(absent)} of {len(entries)} files, {missing:.1f} GB, are not here ({names})"]
            if absent
            else []
        )
        return [
            Finding("MISSING", "checkpoints", f"{'; '.join([*said, *wrong])}; make fetch SUITE={suite.suite}")
        ]
    pinned = sum(entry.sha256 is not None for entry in entries)
    recorded = sum(entry.sha256 is None and entry.path in lock for entry in entries)
    unknown = [entry.path for entry in entries if entry.sha256 is None and entry.path not in lock]
    said_hashes = f"sha256 of {pinned} is pinned, of {recorded} recorded when they were fetched"
    if unknown:
        fetched = Finding(
            "note",
            "checkpoints",
            f"{len(entries)} files are here; {said_hashes}, of {len(unknown)} unknown (first: "
            f"{unknown[0]}): make fetch SUITE={suite.suite} records them",
        )
    else:
        total = sum(sizes.values()) / 1e9
        fetched = Finding(
            "ok", "checkpoints", f"{len(entries)} files, {total:.1f} GB, in their sizes; {said_hashes}"
        )
    return [fetched, check_laid_out(suite, root)]


def check_laid_out(suite: Suite, root: Path) -> Finding:
    """Whether the folder that VBench reads is made and whole; the workflow makes it before the first scoring
    job.
    """
    listed = root / "results" / suite.suite / "vbench" / "weights.json"
    if not listed.is_file():
        return Finding(
            "note", "scorer cache", "not laid out yet; the workflow does it before it filters or scores"
        )
    expected = json.loads(listed.read_text(encoding="utf-8"))
    cache = listed.parent / "cache"
    wrong = [
        name
        for name, entry in expected.items()
        if not (cache / name).is_file() or (cache / name).stat().st_size != entry["size"]
    ]
    if wrong:
        return Finding(
            "MISSING",
            "scorer cache",
            f"{len(wrong)} of {len(expected)} files of {cache.relative_to(root)} are gone or changed "
            f"(first: {wrong[0]}); delete {listed.relative_to(root)}, the workflow lays them out anew",
        )
    return Finding("ok", "scorer cache", f"{len(expected)} files lie where VBench looks for them, proven")


def check_scratch(suite: Suite, root: Path) -> Finding:
    """Whether the folder of results can hold VBench's names as links, and has room for what filter and score
    write.
    """
    results = root / "results" / suite.suite
    place = results if results.is_dir() else root
    free = shutil.disk_usage(place).free / 1e9
    faults = []
    with tempfile.TemporaryDirectory(prefix="doctor-", dir=place) as folder:
        try:
            for name in (LONGEST_NAME, "A-0.mp4", "a-0.mp4"):
                Path(folder, name).symlink_to(place)
        except FileExistsError:
            faults.append(
                "does not tell upper from lower case, and two of VBench's prompts differ in nothing else"
            )
        except OSError as error:
            faults.append(f"takes no links under VBench's long names ({error.strerror})")
    if faults:
        return Finding(
            "MISSING", "scorer scratch", f"the file system of {place} {faults[0]}; put results/ on another"
        )
    return Finding(
        "ok" if free > SCRATCH_GB else "note",
        "scorer scratch",
        f"{free:.1f} GB free for filter and score, {SCRATCH_GB} needed (clips are linked, not copied); "
        "links and long names work",
    )
