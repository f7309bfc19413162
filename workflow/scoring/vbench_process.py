"""Starting a module in VBench's environment: a job as JSON, its answer as JSON, and one error message for
every way it can end.
"""

import argparse
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from evaluation.command import command
from evaluation.files import load_json

VENV = ".venvs/vbench"
"""VBench's environment, seen from the repository."""

ENVIRONMENT_STAMP = "raven-bench.stamp"
"""File in it that says what it was made from."""
_SHARED = "envs/python_and_torch.sh"
MADE_FROM = ("envs/vbench/requirements.lock", "envs/vbench/install.sh", _SHARED)
MADE_FROM_LONG = ("envs/vbench_long/requirements.lock", "envs/vbench_long/install.sh", _SHARED)
"""Of the environment in which clip-to-clip consistency of long clips is measured."""
VENV_LONG = ".venvs/vbench_long"


def environment_hash(root: Path, made_from: Sequence[str] = MADE_FROM) -> str:
    """Sha256 of what a scorer's environment is made from; its stamp begins with it."""
    return sha256(b"".join((root / name).read_bytes() for name in made_from)).hexdigest()


def stamp_of(venv: Path) -> str:
    """The hash of what an environment says it was made from."""
    return (venv / ENVIRONMENT_STAMP).read_text(encoding="utf-8").split()[0]


def add_scorer_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that every job in an environment of the scorer has."""
    parser.add_argument("--weights", required=True, type=Path, help="weights.json, with the cache beside it")
    parser.add_argument("--python", required=True, type=Path, help="of the environment")
    parser.add_argument("--environment", required=True, help="hash that its stamp begins with")
    parser.add_argument("--device", required=True, choices=("cpu", "cuda", "auto"))
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--backend", required=True, choices=("fast", "official"), help="what computes values")


def part_command(description: str | None, *flags: str) -> argparse.ArgumentParser:
    """A parser with the flags of every job that looks at one part of a row's clips in VBench's environment,
    and with some of the shared ones.
    """
    parser = command(description, "row", "prompts", "manifest", "clips", "output", *flags)
    parser.add_argument("--part", required=True, help="<i>-of-<n>")
    add_scorer_flags(parser)
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


def run_worker(flags: argparse.Namespace, module: str, job: dict[str, Any], work: Path) -> dict[str, Any]:
    """The answer of a module of the worker, run with VBench's python from the repository's root.

    flags: of `add_scorer_flags`; they say what every job holds beside `job`. work: a folder for the two JSON
    files. What the process prints goes where this process prints.

    Raises FileNotFoundError or ValueError, one message each, if the environment is not there or is another
    one than flags.environment, or if the process fails.
    """
    venv = flags.python.parents[1]
    installer = f"envs/{venv.name}/install.sh"
    if not flags.python.is_file() or not (venv / ENVIRONMENT_STAMP).is_file():
        raise FileNotFoundError(
            f"VBench's environment {venv} is not there, or its building was stopped; run "
            f"{installer} on a machine that reaches a package registry."
        )
    if stamp_of(venv) != flags.environment:
        raise ValueError(
            f"VBench's environment {venv} was built from another lock or installer than envs/{venv.name} has "
            f"now; run {installer}."
        )
    weights = load_json(flags.weights.read_bytes(), str(flags.weights))
    told = job | {
        "cache": str(flags.weights.parent.resolve() / "cache"),
        "sizes": {name: entry["size"] for name, entry in weights.items()},
        "device": flags.device,
        "threads": flags.threads,
        "backend": flags.backend,
        "output": str((work / "answer.json").resolve()),
    }
    path = work / "job.json"
    path.write_text(json.dumps(told, indent=1), encoding="utf-8")
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(flags.threads))
    started = [str(flags.python), "-m", module, "--job", str(path)]
    code = subprocess.run(started, env=os.environ | limits, check=False).returncode
    if code < 0:
        raise ValueError(
            f"VBench's process was killed by signal {-code} (9: most often for memory); give the job more "
            "memory. Parts that are done are kept, this one starts anew."
        )
    if code:
        raise ValueError(
            "VBench's process failed, its last line says why. Nothing was written, parts that are done are "
            "kept."
        )
    answer: dict[str, Any] = load_json((work / "answer.json").read_bytes(), "the answer of VBench's process")
    return answer
