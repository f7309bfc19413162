"""Let an external baseline's program make clips from a JSON work list, verify them and take them in.

shard: one shard of a row. contract: one clip, before the rest. work-list, collect: the two ends alone, for a
baseline whose own rules make the clips. A program that fails is shown: what was expected, what was found, its
command and its last lines.
"""

import argparse
import json
import logging
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from baselines.foreign import ExternalBaseline
from baselines.spec import load_row
from evaluation.command import add_flags, command, run
from evaluation.files import canonical_sha256, write_text
from evaluation.records import Prompt, read_jsonl
from evaluation.shards import Sample, samples_to_render
from workflow.external.changed_files import remember
from workflow.external.ingest import ShardIntake, external_job, first_errors, verify_clips
from workflow.external.program import Program, make_and_verify, ready_program
from workflow.external.work_list import make_work_list, shard_samples
from workflow.sampling.shard import ShardJob, settings_from, write_shard

log = logging.getLogger("external")


def main(arguments: Sequence[str] | None = None) -> int:
    signal.signal(signal.SIGTERM, _stop)  # so that the program ends with its job
    parser = command(__doc__)
    kinds = parser.add_subparsers(required=True)
    for name, work, *flags in (
        ("shard", external_shard, "shard", "baseline", "clips", "manifest", "timings"),
        ("contract", check_contract, "baseline", "clips", "output"),
        ("work-list", write_work_list, "shard", "output"),
        ("collect", collect, "shard", "clips", "manifest", "timings"),
    ):
        kind = kinds.add_parser(name)
        add_flags(kind, "row", "prompts", "settings", *flags)
        kind.set_defaults(work=work)
        if name == "work-list":
            kind.add_argument("--output-dir", required=True, type=Path, help="folder to write the clips to")
        if name == "collect":
            kind.add_argument(
                "--from", required=True, type=Path, dest="source", help="folder of <clip_id>.mp4"
            )
            kind.add_argument("--seconds", required=True, type=float, help="seconds that making them took")
    return run(parser, arguments, lambda flags: flags.work(flags))


def _stop(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def planned_program(flags: argparse.Namespace, shard: str) -> tuple[Program, ShardJob]:
    """The program of a row, and the job of one of its shards. Raises ValueError if it has changed."""
    root, baseline = Path.cwd(), load_row(flags.baseline)
    assert isinstance(baseline, ExternalBaseline), "the workflow gives external rows to this script only"
    program = ready_program(root, baseline, settings_from(flags.settings))
    files = remember(flags.clips, [Path(name) for name in baseline.files])
    device = f"external, {baseline.gpus} GPU" if baseline.gpus else "external, cpu"
    job = external_job(flags, shard, read_jsonl(Prompt, flags.prompts), files=files, device=device)
    return program, job


def external_shard(flags: argparse.Namespace) -> None:
    """Every clip of a shard: those of the journal, those a stopped run left behind, the rest by the program.

    Raises ValueError if the program fails. Right clips are taken in before, so that the next run asks for the
    others only.
    """
    program, job = planned_program(flags, flags.shard)
    intake = ShardIntake(job, shard_samples(samples_to_render(job.prompts), job.shard))
    private = job.folder / "incoming" / job.shard
    _clear_unless(private, canonical_sha256(intake.keys))
    left = verify_clips(private / "clips", intake.missing(), job.shape).good
    if left:
        intake.take(left, private / "clips", seconds=_seconds_each(private, left))
        log.info("%s %s: %d clips of a run that was stopped are taken in", job.row, job.shard, len(left))
    missing, count = intake.missing(), len(intake.samples)
    log.info("%s %s: %d of %d clips are finished", job.row, job.shard, count - len(missing), count)
    if missing:
        outcome = make_and_verify(program, job, missing, private, f"shard {job.shard}")
        intake.take(outcome.good, private / "clips", seconds=outcome.seconds)
        if outcome.error:
            raise ValueError(outcome.error)
    shutil.rmtree(private)
    write_shard(intake.in_order(), flags.manifest, flags.timings)


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


def check_contract(flags: argparse.Namespace) -> None:
    """One clip by the program, verified and thrown away. Raises ValueError if it is wrong."""
    program, job = planned_program(flags, "contract")
    private = flags.output.parent / "contract"
    shutil.rmtree(private, ignore_errors=True)
    first = samples_to_render(job.prompts)[:1]
    outcome = make_and_verify(program, job, first, private, "its contract test (1 prompt, 1 sample)")
    if outcome.error:
        raise ValueError(outcome.error)
    facts = {
        "row": job.row,
        "clip_id": first[0].clip_id,
        "clip": job.settings["clip"],
        "settings_sha256": canonical_sha256(job.settings),
    }
    write_text(flags.output, json.dumps(facts, indent=1) + "\n")
    shutil.rmtree(private)


def write_work_list(flags: argparse.Namespace) -> None:
    """What a baseline's own rules have to make."""
    settings = settings_from(flags.settings)
    samples = shard_samples(samples_to_render(read_jsonl(Prompt, flags.prompts)), flags.shard)
    flags.output_dir.mkdir(parents=True, exist_ok=True)
    names = {"suite": settings["suite"], "row": flags.row, "shard": flags.shard}
    wanted = make_work_list(samples, **names, clip=settings["clip"], output=flags.output_dir)
    write_text(flags.output, wanted.model_dump_json(indent=1) + "\n")


def collect(flags: argparse.Namespace) -> None:
    """Take in what a baseline's own rules have made. Raises ValueError if clips are wrong."""
    prompts = read_jsonl(Prompt, flags.prompts)
    job = external_job(flags, flags.shard, prompts, files={}, device="rules of its own")
    intake = ShardIntake(job, shard_samples(samples_to_render(prompts), flags.shard))
    missing = intake.missing()
    good, errors = verify_clips(flags.source, missing, job.shape)
    intake.take(good, flags.source, seconds=flags.seconds / max(1, len(missing)), keep=True)
    if errors:
        raise ValueError(
            f"Baseline {job.row}, shard {job.shard}: {len(errors)} of {len(intake.samples)} clips in "
            f"{flags.source} are wrong: {first_errors(errors)}."
        )
    write_shard(intake.in_order(), flags.manifest, flags.timings)


if __name__ == "__main__":
    sys.exit(main())
