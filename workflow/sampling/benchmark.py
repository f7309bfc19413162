"""What the benchmarks of sampling and of training share: sizes, clocks, flags, and how figures are stored."""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from evaluation.command import Parser, command
from evaluation.files import write_text
from models.attention import kernel_name
from models.config import WanConfig
from workflow.sampling.machine import device_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Sizes of what is timed."""

    config: WanConfig
    latent: tuple[int, int, int, int]
    """(F, C, H, W) of a clip."""
    vae_dim: int
    """Base width of the VAE."""
    encoder: dict[str, Any]
    """Fields of UMT5Config."""
    matrix: int
    """Side of the matrix product that gives the machine's rate."""


SIZES = {
    "full": Size(
        config=WanConfig(),
        latent=(21, 16, 60, 104),
        vae_dim=96,
        encoder={
            "vocab_size": 256384,
            "d_model": 4096,
            "d_kv": 64,
            "d_ff": 10240,
            "num_layers": 24,
            "num_heads": 64,
            "feed_forward_proj": "gated-gelu",
        },
        matrix=8192,
    ),
    "tiny": Size(
        config=WanConfig(
            dim=48, ffn_dim=96, num_layers=2, num_heads=3, freq_dim=32, text_dim=20, text_len=12
        ),
        latent=(21, 16, 4, 4),
        vae_dim=8,
        encoder={"vocab_size": 64, "d_model": 20, "d_kv": 4, "d_ff": 32, "num_layers": 2, "num_heads": 2},
        matrix=256,
    ),
}


TRAINED_WITH = "sdpa (cuDNN first)"
"""The attention kernel of passes with gradient on a GPU (models/attention.py `attend`)."""


def matrix_rate(side: int, device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of one large matrix product on random data."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    seconds = median_time(lambda: a @ b, device, repeats=5, inner=10)
    return 2 * side**3 / seconds


def median_time(work: Callable[[], Any], device: torch.device, *, repeats: int, inner: int = 1) -> float:
    """Seconds of one `work`, median of `repeats` timings of `inner` calls after one warm-up."""
    work()
    seconds = []
    for _ in range(repeats):
        started = synchronized_time(device)
        for _ in range(inner):
            work()
        seconds.append((synchronized_time(device) - started) / inner)
    return statistics.median(seconds)


def synchronized_time(device: torch.device) -> float:
    """Wall clock after the device has finished what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def bench_parser(description: str | None, output: str) -> Parser:
    """Flags that all benchmarks share; output: where figures go by default."""
    parser = command(description)
    parser.add_argument("--size", choices=sorted(SIZES), default="full")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(output))
    return parser


def benchmark_device(flags: argparse.Namespace) -> torch.device:
    """The GPU, or the CPU for the tiny size. Raises ValueError if the full size is wanted without a GPU."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and flags.size == "full":
        raise ValueError("There is no GPU here; the full size needs one. Try the code with --size tiny.")
    return device


def store(flags: argparse.Namespace, device: torch.device, rate: float, figures: dict[str, Any]) -> None:
    """Write figures with what they depend on."""
    facts = {
        "device": device_name(device),
        "torch": torch.__version__,
        "attention": kernel_name(device),
        "attention_with_gradient": TRAINED_WITH if device.type == "cuda" else kernel_name(device),
        "matrix_tflop_per_s": rate / 1e12,
        "size": flags.size,
        "weights": "random",
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **figures,
    }
    write_text(flags.output, json.dumps(facts, indent=1) + "\n")
