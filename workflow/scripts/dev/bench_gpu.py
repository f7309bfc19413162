"""Time every method at full size with random weights: text, each chunk, decoding, writing, memory, share of
the matrix rate.

Parts are timed apart and together, medians of --repeats after a warm-up; the matrix rate is measured in the
same process and every figure is stored with it. `--size tiny` runs the same code on any CPU, to try it.

Legend: B clips of a batch, F latent frames, C channels, H, W latent size.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor

from baselines.build import Precision, Sampler, build_sampler
from baselines.native import Baseline
from baselines.spec import load_all
from evaluation.clips import ClipShape, write_clip
from evaluation.command import run
from evaluation.records import Prompt
from evaluation.shards import Batch
from models.attention import kernel_name
from models.flops import call_flops, frame_flops, text_flops
from models.full_sequence import FullSequence
from models.graphs import best_runner
from models.noise import DrawnWhole, JointWindow, PortableNoise, SampleKey
from models.plan import AttendPlan
from models.rollout import Finished, NetworkCall, NetworkCalls, Runner, plain_runner
from models.wan import Wan
from workflow.planning.suite_file import read_suite
from workflow.sampling.batches import BatchSampler
from workflow.sampling.benchmark import (
    SIZES,
    Size,
    bench_parser,
    benchmark_device,
    median_time,
    store,
    synchronized_time,
)
from workflow.sampling.benchmark_parts import CLIP_FPS, SharedParts, random_network, whole_batches
from workflow.sampling.machine import device_name, usable_cores
from workflow.sampling.setup import batches_ahead
from workflow.sampling.shard import Cost, Piece, ShardJob, make_shard

log = logging.getLogger("bench_gpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Median seconds of one batch, unless a field says something else."""

    method: str
    """The baseline, or the row of a suite."""
    precision: str
    decoder: str
    """full: the VAE's; tiny: the small one."""
    attention: str
    """The attention kernel."""
    batch: int
    network_calls: int
    text_s: float
    """umT5 alone."""
    network_s: float
    """The rollout alone."""
    chunk_s: tuple[float, ...]
    """From one finished chunk to the next."""
    decode_s: float
    """Decoding alone."""
    together_s: float
    """From prompt embeddings to frames on the host, each chunk decoded as it is finished; one batch alone."""
    stream_s: float
    """The same where batches follow one another, as in sampling."""
    first_latents_s: float
    first_pixels_s: float
    """Until the first chunk's frames."""
    stage_s: float | None
    """The stage itself: from one batch's last file on disk to the next one's, with all that it writes; None
    where that was not asked for, as the next two."""
    write_s: float | None
    """One clip's mp4 alone, on one core."""
    cpus: int
    """Cores that this process may use."""
    fps_network: float
    """Pixel frames a second of all clips together; so too the next three."""
    fps_together: float
    fps_stream: float
    fps_stage: float | None
    tflop: float
    mfu: float
    """Share of the matrix rate that the network's counted operations reach."""
    peak_gib: float
    """GPU memory of network and decoder, without the text encoder."""


def counting(runner: Runner, flops: list[float], tokens: int) -> Runner:
    """The same calls, each of which also notes its operations."""

    def run(wan: Wan, text: Tensor, capacity: int) -> NetworkCalls:
        def counted(network: NetworkCall) -> NetworkCall:
            def call(x: Tensor, t: Tensor, plan: AttendPlan) -> Tensor:
                flops.append(call_flops(wan.config, plan, tokens))
                return network(x, t, plan)

            return call

        return NetworkCalls(*map(counted, runner(wan, text, capacity)))

    return run


def time_method(
    baseline: Baseline,
    precision: Precision,
    batch: int,
    size: Size,
    machine: SharedParts,
    *,
    repeats: int,
    graphs: bool,
    stage: bool = True,
    decoder: str = "full",
    name: str | None = None,
) -> Timing:
    """All figures of one method at one batch size. name: None for the baseline's."""
    device, codec = machine.device, machine.codec(precision, decoder)
    wan = random_network(baseline, precision, size.config, device)
    text = torch.randn(batch, size.config.text_len, size.config.text_dim, device=device)
    noted: list[float] = []
    tokens = size.config.tokens_per_frame(*size.latent[2:])
    build = partial(build_sampler, baseline, wan, latent_shape=size.latent, precision=precision)
    runner = best_runner(device) if graphs else plain_runner
    first_sampler = build(runner=counting(runner, noted, tokens))
    full = first_sampler.rollout if isinstance(first_sampler.rollout, FullSequence) else None
    if full is not None:  # no runner makes its calls, nor graphs of them
        frames_flops = frame_flops(size.config, size.latent[0], size.latent[0], tokens)
        noted += [frames_flops] * full.num_calls
    latents = clip(first_sampler, text)  # counts, and captures the graphs
    operations = batch * (sum(noted) + text_flops(size.config))
    sampler = build(runner=runner)
    if full is None:
        latents = clip(sampler, text)  # the first that replays
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    runs = [chunk_times(sampler, text) for _ in range(repeats)]
    chunks = tuple(statistics.median(run[i] for run in runs) for i in range(len(runs[0])))
    network_s = statistics.median(sum(run) for run in runs)
    decode_s = median_time(lambda: codec.decode_uint8(latents), device, repeats=repeats)
    maker, work = whole_batches(sampler, codec, text)
    shape = made_frames(maker, work)[0]
    alone, first = [], []
    for _ in range(repeats):
        started = synchronized_time(device)
        first.append(made_frames(maker, work)[1].first_frames_s or 0.0)
        alone.append(synchronized_time(device) - started)
    started = synchronized_time(device)
    for batch_pieces in [list(maker.start(work)) for _ in range(repeats + 1)]:
        for wait in batch_pieces:
            wait()
    stream_s, together_s = (synchronized_time(device) - started) / (repeats + 1), statistics.median(alone)
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
    batches = 2 * repeats + 4 if device.type == "cuda" else 2
    stage_s = stage_time(maker, batch, shape, device, batches=batches) if stage else None
    pixels = batch * shape[0]
    return Timing(
        method=name or baseline.name,
        precision=precision,
        decoder=decoder,
        attention=kernel_name(device),
        batch=batch,
        network_calls=len(noted),
        text_s=machine.text_s(batch),
        network_s=network_s,
        chunk_s=chunks,
        decode_s=decode_s,
        together_s=together_s,
        stream_s=stream_s,
        first_latents_s=chunks[0],
        first_pixels_s=statistics.median(first),
        stage_s=stage_s,
        write_s=write_time(shape) if stage else None,
        cpus=usable_cores(),
        fps_network=pixels / network_s,
        fps_together=pixels / together_s,
        fps_stream=pixels / stream_s,
        fps_stage=None if stage_s is None else pixels / stage_s,
        tflop=operations / 1e12,
        mfu=operations / network_s / machine.rate,
        peak_gib=peak,
    )


def clip(sampler: Sampler, text: Tensor) -> Tensor:
    """Latents [B, F, C, H, W] of one batch."""
    chunks = sampler.sample(text, noise_of(sampler, text), negative_of(sampler, text))
    return torch.cat([chunk.latents for chunk in chunks], dim=1)


def negative_of(sampler: Sampler, text: Tensor) -> Tensor | None:
    """An embedding that stands for the negative prompt, where the method has one."""
    return text[:1] if sampler.needs_negative else None


def made_frames(maker: BatchSampler, work: Batch) -> tuple[tuple[int, ...], Cost]:
    """Shape [T, h, w, 3] of the clips of a batch that is made, and what one cost."""
    made = [wait() for wait in maker.start(work)]
    frames = [piece.frames for piece in made if isinstance(piece, Piece)]
    (cost,) = (one for one in made if isinstance(one, Cost))
    return (sum(one.shape[1] for one in frames), *frames[0].shape[2:]), cost


def stage_time(
    maker: BatchSampler, batch: int, shape: tuple[int, ...], device: torch.device, *, batches: int
) -> float:
    """Seconds a batch of the `sample` stage's own loop with its files on disk, once the first is there."""
    prompt = Prompt(
        id="bench", prompt="bench", extended="bench", dimensions=("color",), samples=batch * batches, facts={}
    )
    with tempfile.TemporaryDirectory() as folder:
        job = ShardJob(
            row="bench",
            shard="0-of-1",
            prompts=[prompt],
            folder=Path(folder),
            shape=ClipShape(pixel_frames=shape[0], height=shape[1], width=shape[2], fps=CLIP_FPS),
            batch_size=batch,
            noise="portable:bench",
            weights_sha256=None,
            settings={},
            depends_on={},
            whole_list=False,
            device=device_name(device),
            ahead=batches_ahead(device),
        )
        entries = make_shard(job, maker.start)
        written = [(job.folder / entry.clip.file).stat().st_mtime_ns / 1e9 for entry in entries]
    return (max(written) - max(written[:batch])) / (batches - 1)


@lru_cache
def write_time(shape: tuple[int, ...]) -> float:
    """Seconds to write one clip [T, h, w, 3] of a smooth moving picture."""
    t, y, x = (torch.arange(n, dtype=torch.float32) for n in shape[:3])
    waves = [
        torch.sin((y[:, None] / (9 + i) + x / (13 - i))[None] + t[:, None, None] / (4 + i)) for i in range(3)
    ]
    frames = (torch.stack(waves, dim=-1) * 100 + 128).to(torch.uint8).numpy()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        return median_time(lambda: write_clip(path, frames, fps=CLIP_FPS), torch.device("cpu"), repeats=1)


def noise_of(sampler: Sampler, text: Tensor) -> PortableNoise:
    return sampler.portable_noise("bench", [SampleKey("clip", i) for i in range(len(text))])


def chunk_times(sampler: Sampler, text: Tensor) -> list[float]:
    """Seconds from one finished chunk to the next, text keys and values in the first; the context pass after
    a chunk counts with the next one. Drawing the first noise is not counted.
    """
    noise = PredrawnNoise(noise_of(sampler, text))
    last = synchronized_time(sampler.device)
    seconds = []
    for record in sampler.records(text, noise, negative_of(sampler, text)):
        if isinstance(record, Finished):
            moment = synchronized_time(sampler.device)
            seconds.append(moment - last)
            last = moment
    return seconds


class PredrawnNoise(DrawnWhole):
    """Noise whose first draw is made beforehand; later ones are drawn when asked, as in sampling."""

    def __init__(self, source: PortableNoise) -> None:
        self.source, self.start = source, source.initial()

    def initial(self) -> Tensor:
        return self.start

    def draw_renoise(self, chunk: int, step: int, frames: int, window: JointWindow | None) -> Tensor:
        return self.source.draw_renoise(chunk, step, frames, window)


def _or_dash(value: float | None, width: int, digits: int) -> str:
    return f"{'-' if value is None else f'{value:.{digits}f}':>{width}}"


def timing_table(timings: Sequence[Timing]) -> str:
    """The figures for people."""
    header = (
        f"{'method':<28} {'precision':<13} {'decoder':<7} {'B':>2} {'calls':>5} {'text s':>7} {'DiT s':>7} "
        f"{'VAE s':>7} {'both s':>7} {'in a row':>8} {'stage s':>7} {'FPS DiT':>8} {'FPS row':>8} {'FPS':>7} "
        f"{'1st lat':>8} {'1st pix':>8} {'write s':>8} {'MFU':>6} {'GiB':>6}"
    )
    lines = [
        f"{t.method:<28} {t.precision:<13} {t.decoder:<7} {t.batch:>2} {t.network_calls:>5} {t.text_s:>7.3f} "
        f"{t.network_s:>7.3f} {t.decode_s:>7.3f} {t.together_s:>7.3f} {t.stream_s:>8.3f} "
        f"{_or_dash(t.stage_s, 7, 3)} {t.fps_network:>8.1f} {t.fps_stream:>8.1f} "
        f"{_or_dash(t.fps_stage, 7, 1)} {t.first_latents_s:>8.3f} {t.first_pixels_s:>8.3f} "
        f"{_or_dash(t.write_s, 8, 3)} {t.mfu:>6.1%} {t.peak_gib:>6.1f}"
        for t in timings
    ]
    return "\n".join([header, *lines])


def main(arguments: Sequence[str] | None = None) -> int:
    baselines = load_all(Path(__file__).parents[3] / "baselines")
    parser = bench_parser(__doc__, "results/bench/gpu.json")
    parser.add_argument("--methods", nargs="+", choices=sorted(baselines), default=sorted(baselines))
    parser.add_argument("--precision", nargs="+", choices=get_args(Precision), default=["fast"])
    parser.add_argument("--decoders", nargs="+", choices=("full", "tiny"), default=["full"])
    parser.add_argument(
        "--config", metavar="FILE", help="the native rows of a suite instead (raven-bench: --suite NAME too)"
    )
    parser.add_argument("--batches", nargs="+", type=int, default=[1])
    parser.add_argument("--loop-only", action="store_true", help="leave out the stage, which writes files")
    parser.add_argument("--no-graphs", action="store_true", help="plain calls instead of CUDA graphs")
    return run(parser, arguments, lambda flags: time_methods(flags, baselines))


class TimedRow(NamedTuple):
    """What is sampled how."""

    name: str
    baseline: Baseline
    precision: Precision
    decoder: str


def rows_to_time(flags: argparse.Namespace, baselines: Mapping[str, Baseline]) -> list[TimedRow]:
    """Every native row of the suite that the flags name, or every method in every way that they ask for."""
    if flags.config is None:
        return [
            TimedRow(method, baselines[method], precision, decoder)
            for precision, decoder, method in product(flags.precision, flags.decoders, flags.methods)
        ]
    suite = read_suite(Path(flags.config), Path(__file__).parents[3])
    found = []
    for row in suite.baselines:
        if suite.has_weights(row):
            tiny = suite.codec_of(row) == suite.model.tiny_decoder
            precision: Any = suite.precision_of(row)
            method = baselines[suite.baseline_of(row)]
            found.append(TimedRow(row, method, precision, "tiny" if tiny else "full"))
    return found


def time_methods(flags: argparse.Namespace, baselines: Mapping[str, Baseline]) -> None:
    """Time every method that the flags ask for, and store the figures after each."""
    device = benchmark_device(flags)
    size = SIZES[flags.size]
    machine = SharedParts(size, device)
    name, rate = device_name(device), machine.rate / 1e12
    kernel = (torch.__version__, kernel_name(device), machine.dtype, rate)
    log.info("%s, torch %s, attention %s, %s matrix product %.1f TFLOP/s", name, *kernel)
    graphs = device.type == "cuda" and not flags.no_graphs
    timings: list[Timing] = []
    for row, batch in product(rows_to_time(flags, baselines), flags.batches):
        timing = time_method(
            row.baseline, row.precision, batch, size, machine,
            repeats=flags.repeats, graphs=graphs, stage=not flags.loop_only, decoder=row.decoder,
            name=row.name,
        )  # fmt: skip
        timings.append(timing)
        log.info("%s", timing_table([timing]).splitlines()[1])
        found = {"graphs": graphs, "timings": [asdict(one) for one in timings]}
        store(flags, device, machine.rate, found)
    print(timing_table(timings))


if __name__ == "__main__":
    sys.exit(main())
