"""Time one long clip of each method at full size with random weights, as `sample` makes it: chunk after chunk
from noise to mp4. Prints seconds, peak GPU memory and peak host memory, which do not grow with the clip.

Host memory is the largest that this process ever held, so run one method at a time to tell them apart.
"""

from __future__ import annotations

import argparse
import logging
import resource
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from baselines.build import build_sampler
from baselines.native import Baseline
from baselines.spec import load_all
from evaluation.clips import ClipWriter
from evaluation.command import run
from models.graphs import best_runner
from models.rollout import plain_runner
from workflow.sampling.benchmark import SIZES, bench_parser, benchmark_device, store, synchronized_time
from workflow.sampling.benchmark_parts import CLIP_FPS, SharedParts, random_network, whole_batches
from workflow.sampling.machine import device_name
from workflow.sampling.shard import Cost, peak_gpu_mb, peak_mb

log = logging.getLogger("bench_long")


def time_clip(
    baseline: Baseline, frames: int, parts: SharedParts, *, graphs: bool, precision: Any
) -> dict[str, Any]:
    """Seconds and memory of one clip of `frames` latent frames, written to a temporary mp4."""
    size, device = parts.size, parts.device
    longer = baseline.at_length(frames)
    wan = random_network(longer, precision, size.config, device)
    text = torch.randn(1, size.config.text_len, size.config.text_dim, device=device)
    runner = best_runner(device) if graphs else plain_runner
    shape = (frames, *size.latent[1:])
    sampler = build_sampler(longer, wan, latent_shape=shape, precision=precision, runner=runner)
    maker, work = whole_batches(sampler, parts.codec(precision), text)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    started, writer, chunk_ends = synchronized_time(device), None, []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        for wait in maker.start(work):
            made = wait()
            if isinstance(made, Cost):
                cost = made
                continue
            if writer is None:
                height, width = made.frames.shape[2:4]
                path = Path(folder) / "clip.mp4"
                writer = opened.enter_context(ClipWriter(path, height=height, width=width, fps=CLIP_FPS))
            writer.append(made.frames[0])
            chunk_ends.append(synchronized_time(device) - started)
        assert writer is not None, "a clip has a chunk"
        pixel_frames = writer.frames
    return {
        "method": baseline.name,
        "precision": precision,
        "latent_frames": frames,
        "pixel_frames": pixel_frames,
        "video_s": pixel_frames / CLIP_FPS,
        "wall_s": chunk_ends[-1],
        "network_s": cost.sample_s,
        "decode_s": cost.decode_s,
        "first_frames_s": cost.first_frames_s,
        "chunk_ends_s": chunk_ends,
        "peak_gpu_mb": peak_gpu_mb(),
        "peak_host_mb": peak_mb(resource.RUSAGE_SELF),
    }


def time_long(flags: argparse.Namespace, baselines: Mapping[str, Baseline]) -> None:
    """Time a long clip of every method that the flags name, and store the figures after each."""
    device = benchmark_device(flags)
    parts = SharedParts(SIZES[flags.size], device)
    log.info("%s, torch %s", device_name(device), torch.__version__)
    graphs, found = device.type == "cuda" and not flags.no_graphs, []
    for method in flags.methods:
        found.append(
            time_clip(baselines[method], flags.frames, parts, graphs=graphs, precision=flags.precision)
        )
        one = found[-1]
        gpu = "none" if one["peak_gpu_mb"] is None else f"{one['peak_gpu_mb'] / 1024:.1f} GiB"
        print(
            f"{method:<20} {one['video_s']:.1f} s of video in {one['wall_s']:.1f} s (network "
            f"{one['network_s']:.1f}, decoding {one['decode_s']:.1f}), first frames after "
            f"{one['first_frames_s']:.2f} s, peak GPU {gpu}, peak host {one['peak_host_mb'] / 1024:.1f} GiB",
            flush=True,
        )
        store(flags, device, parts.rate, {"graphs": graphs, "clips": found})


def main(arguments: Sequence[str] | None = None) -> int:
    baselines = load_all(Path(__file__).parents[3] / "baselines")
    parser = bench_parser(__doc__, "results/bench/long.json")
    methods = ["longlive", "reward_forcing", "rolling_forcing"]
    parser.add_argument("--methods", nargs="+", choices=sorted(baselines), default=methods)
    parser.add_argument("--frames", type=int, default=240, help="latent frames; 240 are 59.8 s")
    parser.add_argument("--precision", choices=("exact", "fast", "float32"), default="fast")
    parser.add_argument("--no-graphs", action="store_true", help="plain calls instead of CUDA graphs")
    return run(parser, arguments, lambda flags: time_long(flags, baselines))


if __name__ == "__main__":
    sys.exit(main())
