"""Small random stand-ins for the shipped model files, written the way the shipped ones are."""

import json
from pathlib import Path

import numpy as np
import torch

from evaluation.files import file_sha256
from evaluation.records import Prompt
from evaluation.toybox.captions import VOCABULARY
from evaluation.toybox.render import render
from evaluation.toybox.suite import toybox_prompts
from models.checkpoints.containers import write_safetensors
from models.codec import fit_codec
from models.config import DtypePolicy, WanConfig
from models.text import ToyTextEncoder
from models.wan import Wan, init_weights

CONFIG = WanConfig(dim=32, ffn_dim=48, num_layers=1, num_heads=2, freq_dim=32, text_dim=16, text_len=32)
NETWORKS = (
    "base",
    "causal_init",
    "causvid",
    "self_forcing",
    "reward_forcing",
    "causal_forcing",
    "longlive",
    "rolling_forcing",
)


def describe(path: Path) -> None:
    facts = {"name": path.stem, "sha256": file_sha256(path), "suite_scores": {"color": 0.25}}
    path.with_suffix(".json").write_text(json.dumps(facts) + "\n")


def random_network(seed: int) -> Wan:
    wan = Wan(CONFIG, DtypePolicy(rotary="float32", fp32_modules="parameters"))
    init_weights(wan, torch.Generator().manual_seed(seed), zero_head=False)
    return wan


def write_embedded(folder: Path, networks: tuple[str, ...] = NETWORKS) -> None:
    """codec, text encoder and random networks, each with its description."""
    folder.mkdir(parents=True, exist_ok=True)
    prompts: list[Prompt] = toybox_prompts(0)[::9]
    pixels = np.stack([render(prompt.facts, 0) for prompt in prompts])
    fit_codec(torch.from_numpy(pixels).permute(0, 1, 4, 2, 3).float() / 127.5 - 1).save(
        folder / "codec.safetensors"
    )
    torch.manual_seed(0)
    words = sorted(set(VOCABULARY))
    ToyTextEncoder(words, text_dim=CONFIG.text_dim, text_len=CONFIG.text_len).save(
        folder / "text.safetensors"
    )
    for seed, name in enumerate(networks):
        state = random_network(seed).state_dict()
        write_safetensors(
            folder / f"{name}.safetensors",
            state,
            dtype=torch.float16,
            metadata={"config": json.dumps(CONFIG.to_dict())},
        )
    for path in folder.glob("*.safetensors"):
        describe(path)
