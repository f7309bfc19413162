"""What the training scripts of the run share: flags, text rows of prompts, identity of a run, the manifest."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evaluation.records import Prompt, TrainManifest, write_json
from models.text import ToyTextEncoder
from models.training.loop import Trainee
from models.training.settings import settings_sha256
from models.training.streams import Streams
from models.weights import file_sha256, tensors_sha256
from workflow.device import choose_device

ENCODED_AT_ONCE = 256


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
        "--output", required=True, type=Path, help="folder for checkpoint/, metrics.jsonl and train.json"
    )
    return parser


def begin(flags: argparse.Namespace, recipe: str) -> torch.device:
    """Log to stderr and choose the device. Raises ValueError if the script was asked for another recipe."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    if flags.recipe != recipe:
        raise ValueError(
            f"This script trains the recipe {recipe}, found --recipe {flags.recipe}; call the script of that recipe."
        )
    flags.output.mkdir(parents=True, exist_ok=True)
    return choose_device(flags.device)


def streams_of(seed: int, device: torch.device) -> Streams:
    """Exact per-sample streams on a CPU, one stream per draw on a GPU."""
    return Streams(seed=seed, device=device, per_sample=device.type == "cpu")


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


def write_manifest(flags: argparse.Namespace, settings: Any, trainee: Trainee, step: int) -> None:
    """train.json, the one declared output: written last, so that it proves a finished run."""
    write_json(flags.output / "train.json", TrainManifest(
        name=flags.output.name, step=step, tensors_sha256=tensors_sha256(trainee.averaged_state()),
        settings_sha256=settings_sha256(settings), init_sha256=file_sha256(flags.init),
    ))  # fmt: skip
