"""What the training scripts of the run share: flags, processes, text rows of prompts, identity of a run, the
manifest.
"""

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
from evaluation.code_state import this_commit
from evaluation.records import Machine, Prompt, TrainManifest, write_json
from evaluation.toybox.training_prompts import training_prompts
from models.checkpoints.containers import read_dcp, tensors_sha256, weights_sha256
from models.checkpoints.open import open_model
from models.checkpoints.released import Role
from models.config import DtypePolicy
from models.text import ToyTextEncoder
from models.text_and_pixels import is_small_text, open_text
from models.training.clips import ClipFile, read_captions
from models.training.distributed import World, join, leave, shard, shard_modules
from models.training.loop import Preempted, Recipe, RunLimits, Validation, train
from models.training.preemption import EXIT_CODE, stop_requests
from models.training.prompts import NEGATIVE, PromptPool, read_prompt_list
from models.training.settings import CmGrpoSettings, DmdSettings, Execution, settings_sha256
from models.training.streams import Streams
from models.wan import Wan, stored_dtype
from workflow.sampling.machine import choose_device, device_name, software

ENCODED_AT_ONCE = 256
EMBEDDED_PROMPTS = 1024

log = logging.getLogger(__name__)


class Texts(NamedTuple):
    """pool: text rows of prompts, see `Raven`; negative: rows [1, L, D] of the prompt to be guided away from,
    None for the empty one.
    """

    pool: Tensor | PromptPool
    negative: Tensor | None


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
    parser.add_argument(
        "--fake", type=Path, help="weights the fake score starts from (default: the teacher's)"
    )
    parser.add_argument(
        "--prompts", type=Path, help="list of training prompts (default: the embedded world's)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="latents of real clips, for the forcings that train on them; --prompts are then their captions",
    )
    parser.add_argument("--latent-size", type=int, nargs=2, default=(8, 8), metavar=("H", "W"))
    parser.add_argument("--text", required=True, type=Path, help="text encoder")
    parser.add_argument("--codec", required=True, type=Path, help="video codec")
    parser.add_argument("--precision", choices=("float32", "fast", "exact"), default="float32")
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
    """Log to stderr, choose the device, join the other processes. Raises ValueError if the script was asked
    for another recipe.
    """
    rank = os.environ.get("RANK", "0")
    level, where = (logging.INFO, "") if rank == "0" else (logging.WARNING, f"[rank {rank}] ")
    logging.basicConfig(level=level, format=f"%(asctime)s {where}%(name)s %(message)s", stream=sys.stderr)
    if flags.recipe != recipe:
        raise ValueError(
            f"This script trains the recipe {recipe}, found --recipe {flags.recipe}; call the script of "
            "that recipe."
        )
    execution = parse_strict(flags.execution, Execution, where="--execution")
    stop = stop_requests()
    device = choose_device(flags.device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    flags.output.mkdir(parents=True, exist_ok=True)
    world = join(device)
    if rank == "0":
        machine = Machine(
            device=device_name(device), processes=world.size, commit=this_commit(), software=software(device)
        )
        write_json(flags.output / "machine.json", machine)
    if world.mesh is not None:
        log.info("training in %d processes, %d on each of %d nodes", world.size, *reversed(world.mesh.shape))
    return Job(device, world, execution, stop)


def training_dtypes(precision: str, *, trained: bool) -> DtypePolicy:
    """How a network computes in training under a suite's precision: all in float32, or as raven.md 3.4 says,
    on fast or exact operators.

    There, what is trained keeps float32 weights and has its products in bfloat16.
    """
    if precision == "float32":
        return DtypePolicy(rotary="float32")
    return DtypePolicy(
        rotary="float64" if precision == "exact" else "float32",
        operators="plain" if precision == "exact" else "fused",
        fp32_modules="float32",
        products="bfloat16" if trained else "parameters",
    )


def open_for_training(path: Path, role: Role, precision: str, *, trained: bool) -> Wan:
    """The transformer in a file, on the CPU, a released one in the file's own dtypes and not read yet; then
    `place` it.

    precision: "float32", "fast" or "exact". Raises ValueError if the file is no such model.
    """
    dtypes = training_dtypes(precision, trained=trained)
    return open_model(path, dtypes, role=role).requires_grad_(trained)


def open_prompts(flags: argparse.Namespace, job: Job, seed: int, clips: ClipFile | None = None) -> Texts:
    """The pool that prompts are drawn from: the embedded world's captions, or a list encoded by the text
    encoder as it is drawn.

    clips: real clips whose captions are the prompts, one for each.

    Raises ValueError if a list comes with the embedded encoder, or the other way round.
    """
    if (flags.prompts is None) != is_small_text(flags.text):
        raise ValueError(
            f"--prompts is {flags.prompts} and the text encoder {flags.text}: the embedded encoder knows "
            "its own captions alone, and any other needs a list; give both or neither (`prompts` of the "
            "row in the suite's `train`)."
        )
    if flags.prompts is None and clips is not None:
        return Texts(encoded_ids(ToyTextEncoder.load(flags.text), clips.word_ids()), None)
    if flags.prompts is None:
        captions = training_prompts(EMBEDDED_PROMPTS, seed)
        return Texts(text_rows(ToyTextEncoder.load(flags.text), captions), None)
    # transformers takes seconds to import, and the embedded suite never needs it
    from models.wan_text import WanTextEncoder

    encoder = open_text(flags.text, device=job.device)
    assert isinstance(encoder, WanTextEncoder), f"{flags.text} is a {type(encoder).__name__}"
    shard_modules([*encoder.module.encoder.block, encoder.module], job.world)
    negative = encoder.encode([NEGATIVE]).float()
    prompts = read_prompt_list(flags.prompts) if clips is None else read_captions(flags.prompts, len(clips))
    return Texts(PromptPool(prompts, encoder.encode), negative)


def place(wan: Wan, job: Job, *, trained: bool) -> Wan:
    """A network on the job's device, sharded over its processes; a trained one checkpoints activations if the
    job says so.

    What is trained has float32 weights. What is frozen has bfloat16 ones but for the float32 fp32_modules, if
    it has such, which computes the same with half the memory (raven.md 3.4, 18 B30). Tensors go from the file
    to the device one by one: no process holds a model in host memory.
    """
    frozen = not trained and wan.dtypes.fp32_modules == "float32"
    for name, parameter in wan.named_parameters():
        dtype = stored_dtype(name, wan.dtypes, torch.bfloat16) if frozen else torch.float32
        # a copy even where nothing changes: the file stays mapped, and must stay as it is
        parameter.data = parameter.data.to(job.device, copy=trained).to(dtype)
    wan.activation_checkpointing = trained and job.execution.recompute
    return shard(wan, job.world)


def run_to_end(
    recipe: Recipe,
    settings: DmdSettings | CmGrpoSettings,
    job: Job,
    flags: argparse.Namespace,
    facts: Mapping[str, Any],
    files: Sequence[Path] = (),
    validation: Validation | None = None,
) -> int:
    """Train, save and part from the other processes; returns the iterations done.

    files: what shapes the run beside the flags' own. Raises SystemExit if the run was asked to stop;
    ValueError if validation clips are wanted of a recipe that makes none.
    """
    if job.execution.validate_every and validation is None:
        raise ValueError(
            f"validate_every is {job.execution.validate_every}, but {flags.recipe} makes no validation "
            "clips; leave it out."
        )
    limits = RunLimits(
        iterations=settings.iterations,
        checkpoint_every=settings.checkpoint_every,
        keep=job.execution.keep,
        asynchronous=job.execution.asynchronous,
        tensorboard=job.execution.tensorboard,
        wandb=job.execution.wandb,
    )
    try:
        done = train(
            recipe, limits, output=flags.output, facts=facts,
            # hashing reads every file; process 0 decides
            identity=identity(flags, settings, files) if job.world.rank == 0 else "",
            world=job.world, stop=job.stop, validation=validation,
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


@torch.no_grad()
def encoded_ids(encoder: ToyTextEncoder, ids: Tensor) -> Tensor:
    """[N, L, text_dim] text rows of word ids [N, L]."""
    return torch.cat([encoder(ids[i : i + ENCODED_AT_ONCE]) for i in range(0, len(ids), ENCODED_AT_ONCE)])


def identity(flags: argparse.Namespace, settings: Any, others: Sequence[Path] = ()) -> str:
    """Hash of everything that shapes a run: recipe, settings, weights, text encoder, codec, prompts, clips,
    others, code, device, size.

    Of weights in several files the index is hashed; `fetch` has proven the others.
    """
    paths = (
        flags.init,
        flags.teacher,
        flags.text,
        flags.codec,
        flags.fake,
        flags.prompts,
        flags.data,
        *others,
    )
    files = [weights_sha256(path) for path in paths if path is not None]
    parts = [flags.recipe, settings_sha256(settings), *files, flags.code, flags.device, flags.precision]
    parts += [str(length) for length in flags.latent_size]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def averaged_weights(flags: argparse.Namespace) -> dict[str, Tensor]:
    """The moving average of the last checkpoint, whole: what is shipped."""
    return read_dcp(flags.output / "checkpoint" / "models" / "student_ema")


def write_manifest(flags: argparse.Namespace, settings: Any, step: int) -> None:
    """train.json, the one declared output: written last, so that it proves a finished run."""
    write_json(flags.output / "train.json", TrainManifest(
        name=flags.output.name, step=step, tensors_sha256=tensors_sha256(averaged_weights(flags)),
        settings_sha256=settings_sha256(settings), init_sha256=weights_sha256(flags.init),
    ))  # fmt: skip
