"""What precisions cost a method: the error of its latents against a float32 run, chunk by chunk.

With --weights and --text it is measured on real weights and prompts, otherwise on random ones, whose errors
say nothing about pictures. Paired scores are a suite's to give: `variants` of workflow/config/frontier.yaml
share weights, prompts and noise with the rows beside them. `--size tiny` runs the same code on any CPU.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

import torch

from baselines.build import Precision, dtypes_of
from baselines.native import Baseline
from baselines.released import release_of
from baselines.spec import load_all
from evaluation.command import run
from models.checkpoints.open import open_model
from models.config import DtypePolicy, WanConfig
from models.fp8 import require_fp8
from models.text import WAN_NEGATIVE
from models.text_and_pixels import open_text
from models.wan import Wan, init_weights
from workflow.sampling.benchmark import SIZES, bench_parser, benchmark_device, matrix_rate, store
from workflow.sampling.machine import device_name
from workflow.sampling.precision_errors import measure_errors

log = logging.getLogger("bench_precision")
PROMPT = "A red panda walks along a mossy branch in a misty forest at dawn."


def random_weights(baseline: Baseline, config: WanConfig, device: torch.device, dtypes: DtypePolicy) -> Wan:
    """A network of random weights, the same at every call."""
    with torch.device(device):
        wan = Wan(config, dtypes)
        if baseline.weights.memory is not None:
            wan.memory = Wan(config, dtypes)
    for seed, one in enumerate(wan.weight_sets):
        init_weights(one, torch.Generator(device).manual_seed(seed), zero_head=False)
    return wan


def measure_precisions(flags: argparse.Namespace, baselines: Mapping[str, Baseline]) -> None:
    """Measure every method that the flags name, and print and store the errors after each."""
    if (flags.weights is None) != (flags.text is None) or (flags.weights and len(flags.methods) != 1):
        raise ValueError(
            "--weights are those of one method and go with --text; give both, and one --methods."
        )
    device, size = benchmark_device(flags), SIZES[flags.size]
    height, width = flags.latent or size.latent[2:]
    if device.type == "cuda":
        for precision in flags.precision:
            require_fp8(dtypes_of(baselines[flags.methods[0]], precision).network, device)
    where = device_name(device) if device.type == "cuda" else "cpu, on which fp8 is emulated"
    log.info("%s, torch %s, weights %s", where, torch.__version__, flags.weights or "random")
    found = []
    for method in flags.methods:
        baseline = baselines[method]
        if flags.weights is None:
            generator = torch.Generator().manual_seed(9)
            text = torch.randn(1, size.config.text_len, size.config.text_dim, generator=generator)
            build = partial(random_weights, baseline, size.config, device)
            against = torch.randn(1, *text.shape[1:], generator=generator)
        else:
            encoder = open_text(flags.text, device=device)
            text, against = (encoder.encode(prompts).cpu() for prompts in (flags.prompts, [WAN_NEGATIVE]))
            build = partial(open_model, flags.weights, release=release_of(baseline, flags.weights))
        errors = measure_errors(
            baseline, build, text, latent_shape=(size.latent[0], size.latent[1], height, width),
            precisions=flags.precision, chunks=flags.chunks, negative=against, device=device,
        )  # fmt: skip
        for precision, by_chunk in errors.items():
            said = ", ".join(f"{error:.5f} after chunk {chunk}" for chunk, error in by_chunk.items())
            print(f"{method:<24} {precision:<13} {said}", flush=True)
        found.append({"method": method, "latent": [height, width], "errors": errors})
        rate = matrix_rate(size.matrix, device, torch.bfloat16 if device.type == "cuda" else torch.float32)
        weights = "random" if flags.weights is None else str(flags.weights)
        store(flags, device, rate, {"weights": weights, "precisions": found})


def main(arguments: Sequence[str] | None = None) -> int:
    baselines = load_all(Path(__file__).parents[3] / "baselines")
    parser = bench_parser(__doc__, "results/bench/precision.json")
    parser.add_argument("--methods", nargs="+", choices=sorted(baselines), default=["self_forcing"])
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=get_args(Precision),
        default=["fast", "fp8_linear", "fp8_attention", "fp8"],
    )
    parser.add_argument(
        "--weights", type=Path, help="of the method, as released or converted; default: random"
    )
    parser.add_argument("--text", type=Path, help="the text encoder's file, which goes with --weights")
    parser.add_argument("--prompts", nargs="+", default=[PROMPT])
    parser.add_argument(
        "--latent", nargs=2, type=int, metavar=("HEIGHT", "WIDTH"), help="default: the size's"
    )
    parser.add_argument("--chunks", nargs="+", type=int, help="default: the first and the last")
    return run(parser, arguments, lambda flags: measure_precisions(flags, baselines))


if __name__ == "__main__":
    sys.exit(main())
