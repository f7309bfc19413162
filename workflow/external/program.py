"""An external baseline's program: its command, its environment, and what a user reads if it fails."""

import logging
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from baselines.foreign import ExternalBaseline
from evaluation.files import write_text
from evaluation.shards import Sample
from workflow.external.baseline import environment_prefix, missing_parts, verify_code
from workflow.external.ingest import first_errors, verify_clips
from workflow.external.work_list import make_work_list
from workflow.sampling.shard import ShardJob

LAST_LINES = 20
GRACE_S = 10.0
"""Seconds between asking a program to end and killing it."""

log = logging.getLogger("external")


class Program(NamedTuple):
    """A baseline's program, ready to be started."""

    baseline: ExternalBaseline
    folder: Path
    """Folder of its code, in which it runs."""
    variables: dict[str, str]
    """Its environment variables."""
    root: Path
    """Our repository."""

    def command(self, *, work_list: Path, output: Path, shard: str) -> list[str]:
        """The baseline's command with every placeholder filled in.

        Its program is looked up in PATH, or in its folder if it has a slash. Raises FileNotFoundError if
        there is no such program.
        """
        assert self.baseline.command is not None, "a baseline whose rules make its clips has no command"
        gpus = visible_gpus(self.variables, self.baseline.gpus)
        values = {
            "work_list": str(work_list.resolve()),
            "output": str(output.resolve()),
            "shard": shard,
            "gpus": ",".join(gpus),
            "num_gpus": str(len(gpus)),
            "code": str(self.folder.resolve()),
            "root": str(self.root.resolve()),
        }
        words = [part.format(**values) for part in self.baseline.command]
        program = str(self.folder / words[0]) if "/" in words[0] else words[0]
        found = shutil.which(program, path=self.variables["PATH"])
        if found is None:
            raise FileNotFoundError(
                f"Baseline {self.baseline.name}: its command starts with {words[0]!r}, which is no program "
                f"in {self.folder if '/' in words[0] else 'PATH'}; correct `command` or `environment`."
            )
        return [found, *words[1:]]


class ProgramOutcome(NamedTuple):
    """What a run of a program brought."""

    good: list[Sample]
    """The samples whose clips are right."""
    seconds: float
    """Seconds for each clip."""
    error: str | None
    """What to tell the user if the program failed."""


def ready_program(root: Path, baseline: ExternalBaseline, settings: Mapping[str, Any]) -> Program:
    """The baseline's program, if it is still what the run was planned with; else raises ValueError."""
    if baseline.command is None:
        raise ValueError(
            f"baselines/{baseline.name}.yaml has no command: the rules of its own folder make its clips."
        )
    if list(baseline.command) != settings["command"]:
        raise ValueError(
            f"baselines/{baseline.name}.yaml changed in command since this run was planned; start the run "
            "again."
        )
    if missing := missing_parts(root, baseline):
        raise ValueError(" ".join(missing))
    folder = verify_code(root, baseline, settings["code"])
    return Program(baseline, folder, program_environment(root, baseline, os.environ), root)


def program_environment(
    root: Path, baseline: ExternalBaseline, variables: Mapping[str, str]
) -> dict[str, str]:
    """The program's variables: its environment first in PATH, our Python hidden, hubs offline."""
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX")
    found = {name: value for name, value in variables.items() if name not in ours}
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"), "1")
    # Bytecode in a pinned checkout would look like a change of it.
    found |= {**offline, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    prefix = environment_prefix(root, baseline)
    if prefix is not None:
        found["PATH"] = f"{prefix / 'bin'}{os.pathsep}{found.get('PATH', '')}"
        found["CONDA_PREFIX" if (prefix / "conda-meta").is_dir() else "VIRTUAL_ENV"] = str(prefix)
    return found


def visible_gpus(variables: Mapping[str, str], wanted: int) -> list[str]:
    """The GPUs that a job was granted, else the first `wanted` ones."""
    granted = variables.get("CUDA_VISIBLE_DEVICES", "")
    if wanted == 0:
        return []
    return granted.split(",") if granted else [str(number) for number in range(wanted)]


def make_and_verify(
    program: Program, job: ShardJob, samples: Sequence[Sample], private: Path, what: str
) -> ProgramOutcome:
    """Run the program for `samples` in the folder `private` and look at every clip.

    what: how to call this run in messages.
    """
    clips, handed, printed = private / "clips", private / "work_list.json", private / "output.log"
    clips.mkdir(parents=True, exist_ok=True)
    for sample in samples:  # a program may skip what is there
        (clips / f"{sample.clip_id}.mp4").unlink(missing_ok=True)
    suite, shape = job.settings["suite"], job.settings["clip"]
    wanted = make_work_list(samples, suite=suite, row=job.row, shard=job.shard, clip=shape, output=clips)
    write_text(handed, wanted.model_dump_json(indent=1) + "\n")
    command = program.command(work_list=handed, output=clips, shard=job.shard)
    log.info("%s, %s: %d clips by %s", job.row, what, len(samples), shlex.join(command))
    started, limit = time.monotonic(), program.baseline.timeout_s
    code = _run(command, folder=program.folder, variables=program.variables, output=printed, timeout_s=limit)
    seconds = (time.monotonic() - started) / len(samples)
    good, errors = verify_clips(clips, samples, job.shape)
    if code == 0 and not errors:
        return ProgramOutcome(good, seconds, None)
    how = "stopped at its time limit (timeout_s)" if code is None else f"exit code {code}"
    error = (
        f"Baseline {job.row}: its program failed in {what}.\nExpected: exit code 0 within {limit} s and "
        f"{len(samples)} mp4 files of {job.shape.pixel_frames} frames, {job.shape.width}x{job.shape.height} "
        f"pixels, {job.shape.fps} frames per second, not constant, where {handed} says.\nFound: {how}; "
        f"{len(errors)} of {len(samples)} clips wrong{': ' if errors else ''}{first_errors(errors)}.\n"
        f"Command, in {program.folder}: {shlex.join(command)}\n"
        f"Last lines of its output ({printed}):\n{_last_lines(printed)}"
    )
    return ProgramOutcome(good, seconds, error)


def _run(
    command: Sequence[str], *, folder: Path, variables: Mapping[str, str], output: Path, timeout_s: float
) -> int | None:
    """Run a program without a shell; its exit code, or None if it was stopped at its time limit.

    What it prints goes to the file `output`. The program and its children end with us.
    """
    with output.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_lines(path: Path) -> str:
    """The end of what a program printed, indented."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 16_384))
        lines = stream.read().decode("utf-8", errors="replace").splitlines()
    return "\n".join(f"  {line[:500]}" for line in lines[-LAST_LINES:]) or "  (nothing)"
