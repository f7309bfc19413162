"""Let an external baseline's program make clips from a JSON work list, prove them and take them in.

shard: one shard of a row. contract: one clip, before the rest. work-list, collect: the two ends alone, for a
baseline whose own rules make the clips. A program that fails is shown: what was expected, what was found, its
command and its last lines.
"""

import argparse
import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from baselines.spec import ExternalBaseline, load_row
from evaluation.clips import ClipShape
from evaluation.files import write_text
from evaluation.records import Prompt, read_jsonl, write_json
from evaluation.shards import Sample, canonical_sha256, samples_to_render
from workflow.external.baseline import missing_parts, tool_command, tool_environment, verify_code
from workflow.external.changed_files import remember
from workflow.external.ingest import Taken, listed, open_shard, prove, take_in
from workflow.external.work_list import make_work_list, shard_samples
from workflow.sampling.shard import ShardJob, settings_from, write_shard

LAST_LINES = 20
GRACE_S = 10.0

log = logging.getLogger("external")


class ToolError(RuntimeError):
    """A program did not do what was asked; the message is what a user needs to see."""


class Ended(NamedTuple):
    """How a program ended: exit code (None: stopped at its time limit) and seconds it ran."""

    code: int | None
    seconds: float


class Tool(NamedTuple):
    """A baseline's program, ready to be started: the folder of its code, its environment variables, our root."""

    baseline: ExternalBaseline
    folder: Path
    variables: dict[str, str]
    root: Path

    def command(self, *, work_list: Path, output: Path, shard: str) -> list[str]:
        """The command with every placeholder filled in."""
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
        return tool_command(self.baseline, values, folder=self.folder, path=self.variables["PATH"])


def visible_gpus(variables: Mapping[str, str], wanted: int) -> list[str]:
    """GPUs a job was granted, else the first `wanted` ones."""
    granted = variables.get("CUDA_VISIBLE_DEVICES", "")
    if wanted == 0:
        return []
    return granted.split(",") if granted else [str(number) for number in range(wanted)]


def run_tool(
    command: Sequence[str], *, folder: Path, variables: Mapping[str, str], output: Path, timeout_s: float
) -> Ended:
    """Run a program without a shell; what it prints goes to the file `output`. It and its children end with
    us.
    """
    started = time.monotonic()
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
            return Ended(process.wait(timeout=timeout_s), time.monotonic() - started)
        except subprocess.TimeoutExpired:
            return Ended(None, time.monotonic() - started)
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


class Outcome(NamedTuple):
    """What a run of a program brought: right clips, seconds for each clip, and what to tell the user if it
    failed.
    """

    good: list[Sample]
    seconds: float
    complaint: str | None


def make_and_prove(tool: Tool, job: ShardJob, samples: Sequence[Sample], private: Path, what: str) -> Outcome:
    """Run the program for `samples` in the folder `private` and look at every clip.

    what: how to call this run in messages.
    """
    clips, handed, printed = private / "clips", private / "work_list.json", private / "output.log"
    clips.mkdir(parents=True, exist_ok=True)
    for sample in samples:  # a program may skip what is there
        (clips / f"{sample.clip_id}.mp4").unlink(missing_ok=True)
    suite, shape = job.settings["suite"], job.settings["clip"]
    write_json(
        handed, make_work_list(samples, suite=suite, row=job.row, shard=job.shard, clip=shape, output=clips)
    )
    command = tool.command(work_list=handed, output=clips, shard=job.shard)
    log.info("%s, %s: %d clips by %s", job.row, what, len(samples), shlex.join(command))
    ended = run_tool(
        command,
        folder=tool.folder,
        variables=tool.variables,
        output=printed,
        timeout_s=tool.baseline.timeout_s,
    )
    proof = prove(clips, samples, job.shape)
    outcome = Outcome(proof.good, ended.seconds / len(samples), None)
    if ended.code == 0 and not proof.faults:
        return outcome
    how = "stopped at its time limit (timeout_s)" if ended.code is None else f"exit code {ended.code}"
    complaint = (
        f"Baseline {job.row}: its program failed in {what}.\nExpected: exit code 0 within "
        f"{tool.baseline.timeout_s} s and {len(samples)} mp4 files of {job.shape.pixel_frames} frames, "
        f"{job.shape.width}x{job.shape.height} pixels, {job.shape.fps} frames per second, not constant, "
        f"where {handed} says.\nFound: {how}; {len(proof.faults)} of {len(samples)} clips "
        f"wrong{': ' if proof.faults else ''}{listed(proof.faults)}.\nCommand, in {tool.folder}: "
        f"{shlex.join(command)}\nLast lines of its output ({printed}):\n{last_lines(printed)}"
    )
    return outcome._replace(complaint=complaint)


def last_lines(path: Path) -> str:
    """The end of what a program printed, indented."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 16_384))
        lines = stream.read().decode("utf-8", errors="replace").splitlines()
    return "\n".join(f"  {line[:500]}" for line in lines[-LAST_LINES:]) or "  (nothing)"


def make_outside_shard(tool: Tool, job: ShardJob, samples: Sequence[Sample]) -> Taken:
    """Every clip of a shard: those of the journal, those a stopped run left behind, and the rest by the
    program.

    Raises ToolError if the program fails; right clips are taken in first, so that the next run asks for the
    others only.
    """
    taken = open_shard(job, samples)
    private = job.folder / "incoming" / job.shard
    key = canonical_sha256(taken.keys)
    _clear_unless(private, key)
    left = prove(private / "clips", taken.missing(samples), job.shape).good
    if left:
        seconds = _seconds_each(private, left)
        take_in(job, taken, left, private / "clips", seconds=seconds, keep=False)
        log.info("%s %s: %d clips of a run that was stopped are taken in", job.row, job.shard, len(left))
    missing = taken.missing(samples)
    log.info(
        "%s %s: %d of %d clips are finished", job.row, job.shard, len(samples) - len(missing), len(samples)
    )
    if missing:
        outcome = make_and_prove(tool, job, missing, private, f"shard {job.shard}")
        take_in(job, taken, outcome.good, private / "clips", seconds=outcome.seconds, keep=False)
        if outcome.complaint:
            raise ToolError(outcome.complaint)
    shutil.rmtree(private)
    return taken


def _clear_unless(private: Path, key: str) -> None:
    """Empty the private folder of a shard unless it belongs to the same clips of the same settings."""
    mark = private / "key"
    if not mark.is_file() or mark.read_text(encoding="utf-8") != key:
        shutil.rmtree(private, ignore_errors=True)
        write_text(mark, key)


def _seconds_each(private: Path, left: Sequence[Sample]) -> float:
    """What a clip of a stopped run took, by the times of its files."""
    started = (private / "work_list.json").stat().st_mtime
    last = max((private / "clips" / f"{sample.clip_id}.mp4").stat().st_mtime for sample in left)
    return max(0.0, last - started) / len(left)


def check_contract(tool: Tool, job: ShardJob, samples: Sequence[Sample], output: Path) -> None:
    """One clip by the program, proven and thrown away; says in `output` that it was.

    Raises ToolError if it is wrong.
    """
    private = output.parent / "contract"
    shutil.rmtree(private, ignore_errors=True)
    first = samples[:1]
    outcome = make_and_prove(tool, job, first, private, "its contract test (1 prompt, 1 sample)")
    if outcome.complaint:
        raise ToolError(outcome.complaint)
    facts = {
        "row": job.row,
        "clip_id": first[0].clip_id,
        "clip": job.settings["clip"],
        "settings_sha256": canonical_sha256(job.settings),
    }
    write_text(output, json.dumps(facts, indent=1) + "\n")
    shutil.rmtree(private)


def ready_tool(root: Path, baseline: ExternalBaseline, settings: Mapping[str, Any]) -> Tool:
    """The baseline's program, proven to be what the run was planned with.

    Raises ValueError in one sentence if it is not.
    """
    planned = None if baseline.command is None else list(baseline.command)
    if planned is None:
        raise ValueError(
            f"baselines/{baseline.name}.yaml has no command: the rules of its own folder make its clips."
        )
    if planned != settings["command"]:
        raise ValueError(
            f"baselines/{baseline.name}.yaml changed in command since this run was planned; start the run "
            "again."
        )
    if missing := missing_parts(root, baseline):
        raise ValueError(" ".join(missing))
    folder = verify_code(root, baseline, settings["code"])
    return Tool(baseline, folder, tool_environment(root, baseline, os.environ), root)


def shard_job(
    flags: argparse.Namespace, prompts: Sequence[Prompt], *, files: Mapping[str, str], device: str
) -> ShardJob:
    """What a shard of an external row depends on. Our own code is left out: it does not make these clips."""
    settings = settings_from(flags.settings)
    hashes = list(files.values())
    weights = hashes[0] if len(hashes) == 1 else canonical_sha256(hashes) if hashes else None
    return ShardJob(
        row=flags.row,
        shard=flags.shard,
        prompts=prompts,
        folder=flags.clips,
        shape=ClipShape(**settings["clip"]),
        batch_size=1,
        noise=f"external:{settings['suite']}",
        weights_sha256=weights,
        settings=settings,
        depends_on={"files": dict(files)},
        whole_list=False,
        device=device,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="what", required=True)
    for name in ("shard", "contract", "work-list", "collect"):
        command = commands.add_parser(name)
        command.add_argument("--row", required=True)
        command.add_argument("--prompts", required=True, type=Path)
        command.add_argument("--settings", required=True, help="JSON of the row's settings")
        if name != "contract":
            command.add_argument("--shard", required=True, help="<i>-of-<n>")
        if name in ("shard", "contract"):
            command.add_argument("--baseline", required=True, type=Path, help="baselines/<row>.yaml")
        if name == "work-list":
            command.add_argument(
                "--output-dir", required=True, type=Path, help="folder the clips are to be written to"
            )
        if name == "collect":
            command.add_argument(
                "--from", required=True, type=Path, dest="source", help="folder of <clip_id>.mp4"
            )
            command.add_argument(
                "--seconds", required=True, type=float, help="wall seconds that making them took"
            )
        if name in ("shard", "collect"):
            command.add_argument("--manifest", required=True, type=Path)
            command.add_argument("--timings", required=True, type=Path)
        if name != "work-list":
            command.add_argument("--clips", required=True, type=Path, help="folder of the row")
        if name in ("contract", "work-list"):
            command.add_argument("--output", required=True, type=Path)
    return parser


def _stop(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> int:
    flags = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    signal.signal(signal.SIGTERM, _stop)  # so that the program ends with its job
    prompts = read_jsonl(Prompt, flags.prompts)
    samples = samples_to_render(prompts)
    try:
        if flags.what == "work-list":
            _write_work_list(flags, samples)
        elif flags.what == "collect":
            _collect(flags, prompts, samples)
        else:
            _run(flags, prompts, samples)
    except ToolError as error:
        log.error("%s", error)
        return 1
    return 0


def _write_work_list(flags: argparse.Namespace, samples: Sequence[Sample]) -> None:
    settings = settings_from(flags.settings)
    flags.output_dir.mkdir(parents=True, exist_ok=True)
    wanted = make_work_list(
        shard_samples(samples, flags.shard),
        suite=settings["suite"],
        row=flags.row,
        shard=flags.shard,
        clip=settings["clip"],
        output=flags.output_dir,
    )
    write_json(flags.output, wanted)


def _collect(flags: argparse.Namespace, prompts: Sequence[Prompt], samples: Sequence[Sample]) -> None:
    mine = shard_samples(samples, flags.shard)
    job = shard_job(flags, prompts, files={}, device="rules of its own")
    taken = open_shard(job, mine)
    missing = taken.missing(mine)
    proof = prove(flags.source, missing, job.shape)
    take_in(job, taken, proof.good, flags.source, seconds=flags.seconds / max(1, len(missing)), keep=True)
    if proof.faults:
        raise ToolError(
            f"Baseline {job.row}, shard {job.shard}: {len(proof.faults)} of {len(mine)} clips in "
            f"{flags.source} are wrong: {listed(proof.faults)}."
        )
    write_shard(taken.in_order(), flags.manifest, flags.timings)


def _run(flags: argparse.Namespace, prompts: Sequence[Prompt], samples: Sequence[Sample]) -> None:
    root = Path.cwd()
    baseline = load_row(flags.baseline)
    assert isinstance(baseline, ExternalBaseline), "the workflow gives external rows to this script only"
    settings = settings_from(flags.settings)
    tool = ready_tool(root, baseline, settings)
    files = remember(flags.clips, [Path(name) for name in baseline.files])
    device = f"external, {baseline.gpus} GPU" if baseline.gpus else "external, cpu"
    if flags.what == "contract":
        flags.shard = "contract"
        job = shard_job(flags, prompts, files=files, device=device)
        check_contract(tool, job, samples, flags.output)
        return
    job = shard_job(flags, prompts, files=files, device=device)
    taken = make_outside_shard(tool, job, shard_samples(samples, flags.shard))
    write_shard(taken.in_order(), flags.manifest, flags.timings)


if __name__ == "__main__":
    sys.exit(main())
