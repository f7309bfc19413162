"""Starting a module in VBench's environment: a job as JSON, its answer as JSON, and one sentence for every
way it can end.
"""

import argparse
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

VENV = ".venvs/vbench"
"""VBench's environment, seen from the repository."""

STAMP = "raven-bench.stamp"
MADE_FROM = ("envs/vbench/requirements.lock", "envs/vbench/install.sh")


def environment_hash(root: Path) -> str:
    """Of what VBench's environment is made from, as its stamp begins with it."""
    return sha256(b"".join((root / name).read_bytes() for name in MADE_FROM)).hexdigest()


def stamp_of(venv: Path) -> str:
    """The hash of what an environment says it was made from."""
    return (venv / STAMP).read_text(encoding="utf-8").split()[0]


def part_parser(description: str | None) -> argparse.ArgumentParser:
    """The flags of every job that looks at one part of a row's clips in VBench's environment."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--row", required=True)
    parser.add_argument("--part", required=True, help="<i>-of-<n>")
    parser.add_argument("--prompts", required=True, type=Path)
    parser.add_argument("--manifest", required=True, type=Path)
    parser.add_argument("--clips", required=True, type=Path, help="folder of the row")
    parser.add_argument("--weights", required=True, type=Path, help="weights.json, with the cache beside it")
    parser.add_argument("--python", required=True, type=Path, help="of VBench's environment")
    parser.add_argument("--environment", required=True, help="hash that its stamp begins with")
    parser.add_argument("--device", required=True, choices=("cpu", "cuda", "auto"))
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--path", required=True, choices=("fast", "official"), help="how values are computed")
    parser.add_argument("--output", required=True, type=Path)
    return parser


@contextmanager
def work_folder(output: Path) -> Iterator[Path]:
    """An empty folder beside the output, gone afterwards; what a killed job left in it is removed first."""
    work = output.with_name(f"{output.name}.work")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def job_of(flags: argparse.Namespace, work: Path) -> dict[str, Any]:
    """What every job says: cache and sizes of the weights, device, threads, path, and where the answer goes
    (in the folder `work`).
    """
    weights = json.loads(flags.weights.read_text(encoding="utf-8"))
    return {
        "cache": str(flags.weights.parent.resolve() / "cache"),
        "sizes": {name: entry["size"] for name, entry in weights.items()},
        "device": flags.device,
        "threads": flags.threads,
        "path": flags.path,
        "output": str((work / "answer.json").resolve()),
    }


def run_worker(flags: argparse.Namespace, module: str, job: dict[str, Any], work: Path) -> dict[str, Any]:
    """The answer of a module of ours, run with VBench's python from the repository's root.

    flags: python, the file, and environment, the hash of what it must have been made from.

    Raises FileNotFoundError or RuntimeError with one sentence; what the process printed went where this
    process prints.
    """
    stamp = flags.python.parents[1] / STAMP
    if not flags.python.is_file() or not stamp.is_file():
        raise FileNotFoundError(
            f"VBench's environment {flags.python.parents[1]} is not there, or its building was stopped; "
            "run envs/vbench/install.sh on a machine that reaches a package registry."
        )
    if stamp_of(stamp.parent) != flags.environment:
        raise RuntimeError(
            f"VBench's environment {flags.python.parents[1]} was built from another lock or installer than "
            "envs/vbench has now; run envs/vbench/install.sh."
        )
    path = work / "job.json"
    path.write_text(json.dumps(job, indent=1), encoding="utf-8")
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(job["threads"]))
    command = [str(flags.python), "-m", module, "--job", str(path)]
    done = subprocess.run(command, env=os.environ | limits, check=False)
    if done.returncode < 0:
        raise RuntimeError(
            f"VBench's process was killed by signal {-done.returncode} (9: most often for memory); give "
            "the job more memory. Parts that are done are kept, this one starts anew."
        )
    if done.returncode:
        raise RuntimeError(
            "VBench's process failed, its last line says why. Nothing was written, parts that are done are "
            "kept."
        )
    answer: dict[str, Any] = json.loads((work / "answer.json").read_text(encoding="utf-8"))
    return answer
