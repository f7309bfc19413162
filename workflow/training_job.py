"""What the training scripts of the run share: flags, processes, text rows of prompts, identity of a run, the manifest."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from baselines.strict_yaml import parse_strict
from evaluation.records import Prompt, TrainManifest, write_json
from models.text import ToyTextEncoder
from models.training.distributed import World, join, leave, shard
from models.training.loop import Preempted, Recipe, RunLimits, train
from models.training.preemption import EXIT_CODE, stop_requests
from models.training.settings import CmGrpoSettings, DmdSettings, Execution, settings_sha256
from models.training.streams import Streams
from models.wan import Wan
from models.weights import file_sha256, read_dcp, tensors_sha256
from workflow.device import choose_device

ENCODED_AT_ONCE = 256

log = logging.getLogger(__name__)


class Job(NamedTuple):
    """Where and how this process trains. stop: whether it was asked to stop."""

    device: torch.device
    world: World
    execution: Execution
    stop: Callable[[], bool]


def training_parser(description: str | None) -> argparse.ArgumentParser:
    """Flags of every training script; `parse_args` then start with `begin`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--recipe", required=True, help="name of the recipe, as in the suite's config")
    parser.add_argument("--settings", required=True, help="the recipe's settings as one JSON object")
    parser.add_argument("--init", required=True, type=Path, help="weights to start from")
    parser.add_argument("--teacher", required=True, type=Path, help="weights of the base model")
    parser.add_argument("--text", required=True, type=Path, help="text encoder")
    parser.add_argument("--codec", required=True, type=Path, help="video codec")
    parser.add_argument("--device", choices=("cpu", "cuda", "auto"), default="cpu")
    parser.add_argument(
        "--code", default="", help="digest of the code; another one makes an old checkpoint useless"
    )
    parser.add_argument(
        "--execution", default="{}", help="how the run is carried out, as one JSON object; changes no result"
    )
    parser.add_argument(
        "--output", required=True, type=Path, help="folder for checkpoint/, metrics.jsonl and train.json"
    )
    return parser


def begin(flags: argparse.Namespace, recipe: str) -> Job:
    """Log to stderr, choose the device, join the other processes. Raises ValueError if the script was asked for another recipe."""
    rank = os.environ.get("RANK", "0")
    level, where = (logging.INFO, "") if rank == "0" else (logging.WARNING, f"[rank {rank}] ")
    logging.basicConfig(level=level, format=f"%(asctime)s {where}%(name)s %(message)s", stream=sys.stderr)
    if flags.recipe != recipe:
        raise ValueError(
            f"This script trains the recipe {recipe}, found --recipe {flags.recipe}; call the script of that recipe."
        )
    execution = parse_strict(flags.execution, Execution, where="--execution")
    stop = stop_requests()
    device = choose_device(flags.device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    flags.output.mkdir(parents=True, exist_ok=True)
    world = join(device)
    if world.mesh is not None:
        log.info("training in %d processes, %d on each of %d nodes", world.size, *reversed(world.mesh.shape))
    return Job(device, world, execution, stop)


def place(wan: Wan, job: Job, *, trained: bool) -> Wan:
    """A network on the job's device, sharded over its processes; a trained one checkpoints activations if the job says so."""
    wan.recompute = trained and job.execution.recompute
    return shard(wan.to(job.device), job.world)


def run_to_end(
    recipe: Recipe,
    settings: DmdSettings | CmGrpoSettings,
    job: Job,
    flags: argparse.Namespace,
    facts: Mapping[str, Any],
) -> int:
    """Train, save and part from the other processes; returns the iterations done. Raises SystemExit if the run was asked to stop."""
    limits = RunLimits(
        iterations=settings.iterations,
        checkpoint_every=settings.checkpoint_every,
        keep=job.execution.keep,
        asynchronous=job.execution.asynchronous,
        tensorboard=job.execution.tensorboard,
    )
    try:
        done = train(
            recipe, limits, output=flags.output, identity=identity(flags, settings), facts=facts,
            world=job.world, stop=job.stop,
        )  # fmt: skip
    except Preempted as stopped:
        log.info("%s", stopped)
        leave(job.world)
        sys.exit(EXIT_CODE)
    leave(job.world)  # not after an error: others may wait for this process, and torchrun must see it end
    return done


def streams_of(seed: int, device: torch.device) -> Streams:
    """Streams that give a sample the same numbers on any device, in any slice, in any process."""
    return Streams(seed=seed, device=device)


def text_rows(encoder: ToyTextEncoder, prompts: Sequence[Prompt]) -> Tensor:
    """[P, L, text_dim] text rows of the prompts' extended form, which is what the models read."""
    captions = [prompt.extended for prompt in prompts]
    return torch.cat(
        [encoder.encode(captions[i : i + ENCODED_AT_ONCE]) for i in range(0, len(captions), ENCODED_AT_ONCE)]
    )


def identity(flags: argparse.Namespace, settings: Any) -> str:
    """Hash of everything that shapes a run: recipe, settings, weights, text encoder, codec, code, device."""
    files = [file_sha256(path) for path in (flags.init, flags.teacher, flags.text, flags.codec)]
    parts = [flags.recipe, settings_sha256(settings), *files, flags.code, flags.device]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def averaged_weights(flags: argparse.Namespace) -> dict[str, Tensor]:
    """The moving average of the last checkpoint, whole: what is shipped."""
    return read_dcp(flags.output / "checkpoint" / "models" / "student_ema")


def write_manifest(flags: argparse.Namespace, settings: Any, step: int) -> None:
    """train.json, the one declared output: written last, so that it proves a finished run."""
    write_json(flags.output / "train.json", TrainManifest(
        name=flags.output.name, step=step, tensors_sha256=tensors_sha256(averaged_weights(flags)),
        settings_sha256=settings_sha256(settings), init_sha256=file_sha256(flags.init),
    ))  # fmt: skip
