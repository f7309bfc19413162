"""What the training scripts share: flags, processes, prompt embeddings, identity of a run, the manifest."""

import argparse
import hashlib
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from baselines.strict_yaml import parse_strict
from evaluation.code_state import this_commit
from evaluation.command import command, start_log
from evaluation.files import file_sha256
from evaluation.records import Machine, Prompt, TrainManifest, write_json
from evaluation.toybox.training_prompts import training_prompts
from models.attention import kernel_name
from models.checkpoints.containers import read_dcp, tensors_sha256, weights_sha256
from models.checkpoints.open import open_model
from models.checkpoints.released import Role
from models.config import DtypePolicy
from models.graphs import best_runner
from models.noise import LatentShape
from models.rollout import Rollout, Runner, plain_runner
from models.text import ToyTextEncoder
from models.text_and_pixels import is_small_text, open_text, tokenizer_beside
from models.training.clips import ClipFile, read_captions
from models.training.distributed import Processes, join, leave, shard, shard_modules
from models.training.loop import Preempted, Recipe, RunLimits, Trainee, Validation, train
from models.training.preemption import EXIT_CODE, stop_requests
from models.training.prompts import NEGATIVE, PromptPool, read_training_prompts
from models.training.runs import hold_folder
from models.training.settings import CmGrpoSettings, DmdSettings, Execution, settings_sha256
from models.training.streams import Streams
from models.wan import Wan, stored_dtype
from workflow.fetching.checksums import read_checksums
from workflow.fetching.verified import verified_weights
from workflow.sampling.machine import choose_device, device_name, software
from workflow.training.reward_names import REWARD_PYTHON
from workflow.training.validation import ValidationClips

ENCODED_AT_ONCE = 256
EMBEDDED_PROMPTS = 1024

log = logging.getLogger(__name__)


class Texts(NamedTuple):
    """pool: prompt embeddings, see `Raven`; negative: [1, L, D] of the prompt to be guided away from.

    None stands for the empty negative prompt.
    """

    pool: Tensor | PromptPool
    negative: Tensor | None


class Job(NamedTuple):
    """Where and how this process trains. stop: whether it was asked to stop; hashes: of the files that shape
    the run, as they were verified (process 0).
    """

    device: torch.device
    processes: Processes
    execution: Execution
    stop: Callable[[], bool]
    hashes: Sequence[str]


class StudentRecipe(Protocol):
    """A recipe whose student can be sampled: see `Raven` and `CmGrpo`."""

    student: Trainee
    wan: Wan
    runner: Runner
    texts: Tensor | PromptPool
    shape: LatentShape


def network_parser(description: str | None) -> argparse.ArgumentParser:
    """Flags of what trains or samples a network: settings, weights, prompts, precision and device."""
    parser = command(description, "settings")
    parser.add_argument("--init", required=True, type=Path, help="weights to start from")
    parser.add_argument("--prompts", type=Path, help="list of training prompts (default: the toybox's)")
    parser.add_argument("--latent-size", type=int, nargs=2, default=(8, 8), metavar=("H", "W"))
    parser.add_argument("--text", required=True, type=Path, help="text encoder")
    parser.add_argument("--checksums", type=Path, help="sha256 of fetched files, as the fetch stage verified")
    parser.add_argument(
        "--own", type=Path, action="append", default=[], help="record of weights of the user's own"
    )
    parser.add_argument("--codec", required=True, type=Path, help="video codec")
    parser.add_argument("--precision", choices=("float32", "fast", "exact"), default="float32")
    parser.add_argument("--device", choices=("cpu", "cuda", "auto"), default="cpu")
    return parser


def training_parser(description: str | None) -> argparse.ArgumentParser:
    """Flags of every training script; what it does then starts with `begin_training`."""
    parser = network_parser(description)
    parser.add_argument("--recipe", required=True, help="name of the recipe, as in the suite's config")
    parser.add_argument("--teacher", required=True, type=Path, help="weights of the base model")
    parser.add_argument("--fake", type=Path, help="weights of the fake score (default: the teacher's)")
    parser.add_argument("--data", type=Path, help="latents of real clips, whose captions are then --prompts")
    parser.add_argument("--code", default="", help="digest of the code; another one is another run")
    parser.add_argument("--execution", default="{}", help="how the run is carried out, as JSON")
    parser.add_argument("--output", required=True, type=Path, help="folder for the run and train.json")
    return parser


def add_reward_flags(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The same parser with what rewards of real clips need."""
    parser.add_argument("--rewards", type=Path, help="folder with the weights of the rewards of real clips")
    help_python = "python of envs/vbench, in which most of them are computed"
    parser.add_argument("--reward-python", type=Path, default=Path(REWARD_PYTHON), help=help_python)
    parser.add_argument("--fps", type=float, default=16.0, help="frames a second of the clips")
    return parser


def begin_training(flags: argparse.Namespace, recipe: str) -> Job:
    """Choose the device and join the other processes, of which the first logs everything.

    Raises ValueError if the script was asked for another recipe, if another process trains into the folder,
    or if a file of weights changed since it was noted what it holds.
    """
    rank = os.environ.get("RANK", "0")
    if rank != "0":
        start_log(f"[rank {rank}] ", logging.WARNING)
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
    hashes: Sequence[str] = ()
    if rank == "0":
        hold_folder(flags.output)
        hashes = verified_files(flags)
    processes = join(device)
    if rank == "0":
        name, packages = device_name(device), software(device)
        if device.type == "cuda":
            packages["attention"] = f"{kernel_name(device)}, with gradient sdpa (cuDNN first)"
        machine = Machine(device=name, processes=processes.size, commit=this_commit(), software=packages)
        write_json(flags.output / "machine.json", machine)
    if processes.mesh is not None:
        nodes, per_node = processes.mesh.shape
        log.info("training in %d processes, %d on each of %d nodes", processes.size, per_node, nodes)
    return Job(device, processes, execution, stop, hashes)


def verified_files(flags: argparse.Namespace) -> list[str]:
    """Sha256 of all files that the flags of a network name. Raises as `verified_weights`."""
    given = vars(flags)
    weights = [given[name] for name in ("init", "teacher", "fake", "codec", "text") if given.get(name)]
    if not is_small_text(flags.text):
        weights.append(tokenizer_beside(flags.text) / "tokenizer.json")
    data = [given[name] for name in ("prompts", "data") if given.get(name)]
    return [*verified_weights_of(flags, weights), *map(file_sha256, data)]


def verified_weights_of(flags: argparse.Namespace, paths: Sequence[Path]) -> list[str]:
    """`verified_weights` by the records that the flags name."""
    return verified_weights(paths, read_checksums(flags.checksums), flags.own)


def training_dtypes(precision: str, *, trained: bool) -> DtypePolicy:
    """How a network computes in training under a suite's precision (models/backbone.md#precision).

    "float32" is float32 throughout. "fast" and "exact" choose operators, float32 weights and bfloat16
    products for what is trained.
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
    """The transformer in a file, on the CPU; then `place` it. A released one is in its own dtypes and not
    read yet.

    precision: "float32", "fast" or "exact". Raises ValueError if the file is no such model.
    """
    dtypes = training_dtypes(precision, trained=trained)
    return open_model(path, dtypes, role=role).requires_grad_(trained)


def open_prompts(flags: argparse.Namespace, job: Job, seed: int, clips: ClipFile | None = None) -> Texts:
    """The pool that prompts are drawn from: the toybox's captions, or a list that is encoded as it is drawn.

    clips: real clips whose captions are the prompts, one for each. Raises ValueError if a list comes with the
    toybox's encoder, or the other way round.
    """
    if (flags.prompts is None) != is_small_text(flags.text):
        raise ValueError(
            f"--prompts is {flags.prompts} and the text encoder {flags.text}: the toybox's encoder knows "
            "its own captions alone, and any other needs a list; give both or neither (`prompts` of the "
            "row in the suite's `train`)."
        )
    if flags.prompts is None and clips is not None:
        return Texts(encoded_ids(ToyTextEncoder.load(flags.text), clips.word_ids()), None)
    if flags.prompts is None:
        captions = training_prompts(EMBEDDED_PROMPTS, seed)
        return Texts(prompt_embeddings(ToyTextEncoder.load(flags.text), captions), None)
    # transformers takes seconds to import, and the toybox never needs it
    from models.wan_text import WanTextEncoder

    encoder = open_text(flags.text, device=job.device)
    assert isinstance(encoder, WanTextEncoder), f"{flags.text} is a {type(encoder).__name__}"
    shard_modules([*encoder.module.encoder.block, encoder.module], job.processes)
    negative = encoder.encode([NEGATIVE]).float()
    prompts = (
        read_training_prompts(flags.prompts) if clips is None else read_captions(flags.prompts, len(clips))
    )
    return Texts(PromptPool(prompts, encoder.encode), negative)


def place(wan: Wan, job: Job, *, trained: bool) -> Wan:
    """A network on the job's device, sharded over its processes, with activation checkpointing where it is
    asked for.

    What is trained has float32 weights. What is frozen has bfloat16 ones but for its fp32 modules, if it has
    such, which computes the same with half the memory (models/backbone.md#precision). Tensors go from the
    file to the device one by one: no process holds a model in host memory.
    """
    frozen = not trained and wan.dtypes.fp32_modules == "float32"
    for name, parameter in wan.named_parameters():
        dtype = stored_dtype(name, wan.dtypes, torch.bfloat16) if frozen else torch.float32
        # a copy even where nothing changes: the file stays mapped, and must stay as it is
        parameter.data = parameter.data.to(job.device, copy=trained).to(dtype)
    wan.activation_checkpointing = trained and job.execution.activation_checkpointing
    return shard(wan, job.processes)


def rollout_runner(job: Job) -> Runner:
    """How rollouts without gradient call the network that is trained. Sharded weights lie elsewhere in every
    rollout, where no graph would find them.
    """
    graphs = job.execution.rollout_graphs and job.processes.mesh is None
    return best_runner(job.device) if graphs else plain_runner


def validation_of(
    flags: argparse.Namespace, job: Job, recipe: StudentRecipe, rollout: Rollout
) -> ValidationClips | None:
    """Validation clips of a recipe's student, if the job asks for them. rollout: how they are sampled."""
    if job.execution.validate_every == 0:
        return None
    return ValidationClips(
        every=job.execution.validate_every,
        output=flags.output,
        student=recipe.student,
        network=recipe.wan,
        rollout=rollout,
        runner=recipe.runner,
        texts=recipe.texts,
        shape=recipe.shape,
        codec=flags.codec,
        device=job.device,
        processes=job.processes,
    )


def run_to_end(
    recipe: Recipe,
    settings: DmdSettings | CmGrpoSettings,
    job: Job,
    flags: argparse.Namespace,
    facts: Mapping[str, Any],
    hashes: Sequence[str] = (),
    validation: Validation | None = None,
) -> None:
    """Train, save, part from the other processes and write train.json.

    hashes: of what shapes the run beside the job's own. Raises SystemExit if the run was asked to stop.
    """
    execution = job.execution
    limits = RunLimits(
        iterations=settings.iterations,
        checkpoint_every=settings.checkpoint_every,
        keep=execution.keep,
        asynchronous=execution.asynchronous,
        tensorboard=execution.tensorboard,
        wandb=execution.wandb,
    )
    key = identity(flags, settings, [*job.hashes, *hashes])  # that of process 0 counts
    try:
        done = train(
            recipe,
            limits,
            output=flags.output,
            identity=key,
            facts=facts,
            processes=job.processes,
            stop=job.stop,
            validation=validation,
        )
    except Preempted as stopped:
        log.info("%s", stopped)
        leave(job.processes)
        sys.exit(EXIT_CODE)
    leave(job.processes)  # not after an error: others may wait for this process, and torchrun must see it end
    if job.processes.rank == 0:
        write_manifest(flags, settings, done)


def streams_of(seed: int, device: torch.device) -> Streams:
    """Streams that give a sample the same numbers on any device, in any micro-batch, in any process."""
    return Streams(seed=seed, device=device)


def prompt_embeddings(encoder: ToyTextEncoder, prompts: Sequence[Prompt]) -> Tensor:
    """[P, L, text_dim] embeddings of the prompts' extended form, which is what the models read."""
    captions = [prompt.extended for prompt in prompts]
    return torch.cat(
        [encoder.encode(captions[i : i + ENCODED_AT_ONCE]) for i in range(0, len(captions), ENCODED_AT_ONCE)]
    )


@torch.no_grad()
def encoded_ids(encoder: ToyTextEncoder, ids: Tensor) -> Tensor:
    """[N, L, text_dim] prompt embeddings of word ids [N, L]."""
    return torch.cat([encoder(ids[i : i + ENCODED_AT_ONCE]) for i in range(0, len(ids), ENCODED_AT_ONCE)])


def identity(flags: argparse.Namespace, settings: Any, hashes: Sequence[str]) -> str:
    """Hash of everything that shapes a run: recipe, settings, files, code, device, precision and size."""
    parts = [flags.recipe, settings_sha256(settings), *hashes, flags.code, flags.device, flags.precision]
    parts += [str(length) for length in flags.latent_size]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def write_manifest(flags: argparse.Namespace, settings: Any, step: int) -> None:
    """train.json and a copy with the run: written last, as the record of a finished run."""
    manifest = TrainManifest(
        name=flags.output.name,
        step=step,
        tensors_sha256=tensors_sha256(read_dcp(flags.output / "checkpoint" / "models" / "student_ema")),
        settings_sha256=settings_sha256(settings),
        init_sha256=weights_sha256(flags.init),
        metrics_sha256=file_sha256(flags.output / "metrics.jsonl"),
    )
    write_json((flags.output / "states").resolve().parent / "train.json", manifest)
    write_json(flags.output / "train.json", manifest)
