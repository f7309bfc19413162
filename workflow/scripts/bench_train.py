"""Time a training step at full size with random weights: rollout, student, fake score and teacher apart, memory, share of the matrix rate.

Forward and backward of one clip of 32,760 tokens, bidirectional and interleaved, with and without checkpointed activations, and the
parts of one RAVEN iteration. The matrix rate is measured in the same process and stored with every figure. `--size tiny` runs the same
code on any CPU, to try it. Started by torchrun, the networks are sharded over its processes, each with a sample of its own; figures
are those of process 0.

Legend: F latent frames, C channels, H, W latent size.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from models.attention import interleaved_blocks
from models.config import WanConfig
from models.training.distributed import World, join, leave, shard
from models.training.flow_matching import guided_velocity
from models.training.raven import Raven
from models.training.settings import CHUNKS, DmdSettings, OptimizerSettings
from models.training.streams import Streams
from models.wan import Wan, cast_parameters, init_weights
from workflow.scripts.bench_gpu import (
    SIZES,
    begin,
    bench_parser,
    device_name,
    matrix_rate,
    median_time,
    store,
)
from workflow.training_job import training_numerics

log = logging.getLogger("bench_train")

TEACHERS = {
    "full": WanConfig(dim=5120, ffn_dim=13824, num_layers=40, num_heads=40),
    "tiny": SIZES["tiny"].config,
}
PASSES_OF_BACKWARD = 2  # a backward pass has twice the operations of the forward pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Median seconds of one part. tflop: operations of the model itself, without recomputation; mfu: share of the matrix rate that
    they reach; peak_gib: GPU memory, all that is held included.
    """

    part: str
    checkpointed: bool
    seconds: float
    tflop: float
    mfu: float
    peak_gib: float


def forward_flops(config: WanConfig, frames: int, tokens_per_frame: int, pairs: int) -> float:
    """Operations of one forward of one clip: matrix products over `frames` frames of tokens, attention over `pairs` of frames that
    see one another, and over the text rows. A multiply-add is two. Source: performance.md C.
    """
    tokens, dim = frames * tokens_per_frame, config.dim
    linear = config.num_layers * (6 * dim * dim + 2 * dim * config.ffn_dim)
    attention = 2 * config.num_layers * dim * (pairs * tokens_per_frame**2 + tokens * config.text_len)
    return 2.0 * (tokens * linear + attention)


def interleaved_pairs(chunks: tuple[int, ...]) -> int:
    """Pairs of frames that see one another in the packed sequence of training-time test, last clean chunk left out."""
    blocks = interleaved_blocks(len(chunks))
    return sum(chunks[b.chunk] * (chunks[b.chunk] + sum(chunks[j] for j in b.sees)) for b in blocks)


class Bench:
    """Measures parts on one device and remembers them."""

    def __init__(self, device: torch.device, rate: float, repeats: int) -> None:
        self.device, self.rate, self.repeats = device, rate, repeats
        self.parts: list[Part] = []

    def time(self, part: str, work: Callable[[], Any], flops: float, *, checkpointed: bool = False) -> None:
        """Time `work`, whose model operations are `flops`. What does not fit into the GPU's memory is said and left out."""
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        try:
            seconds = median_time(work, self.device, repeats=self.repeats)
        except torch.OutOfMemoryError:
            log.warning("%s%s does not fit into memory", part, ", checkpointed" if checkpointed else "")
            return
        peak = torch.cuda.max_memory_allocated(self.device) / 2**30 if on_gpu else 0.0
        self.parts.append(
            Part(
                part=part,
                checkpointed=checkpointed,
                seconds=seconds,
                tflop=flops / 1e12,
                mfu=flops / seconds / self.rate,
                peak_gib=peak,
            )
        )
        log.info("%s", table(self.parts[-1:]).splitlines()[1])


def network(config: WanConfig, device: torch.device, *, trained: bool) -> Wan:
    """Random weights as the trainers hold them: float32 with products in bfloat16 if trained, else bfloat16 with float32 islands."""
    profile = "fast" if device.type == "cuda" else "float32"
    with torch.device(device):
        wan = Wan(config, training_numerics(profile, trained=trained))
    init_weights(wan, torch.Generator(device).manual_seed(0), zero_head=False)
    if not trained and profile == "fast":
        cast_parameters(wan, torch.bfloat16)
    return wan.requires_grad_(trained)


def differentiate(v: Tensor) -> None:
    """A backward pass from a mean of squares."""
    torch.autograd.backward(v.square().mean())


def time_forward_backward(bench: Bench, wan: Wan, latent: tuple[int, int, int, int], text: Tensor) -> None:
    """Forward and backward of one clip, all frames seeing all frames, and packed as in training-time test."""
    frames, tokens = latent[0], wan.config.tokens_per_frame(*latent[2:])
    x, clean = (torch.randn(1, *latent, device=bench.device) for _ in range(2))
    t = torch.full((1, frames), 700.0, device=bench.device)

    def bidirectional() -> Tensor:
        return wan.forward(x, t, wan.embed_text(text))

    def interleaved() -> Tensor:
        return wan.interleaved(x, clean, t, wan.embed_text(text), chunks=CHUNKS)

    def backward(forward: Callable[[], Tensor]) -> Callable[[], None]:
        def work() -> None:
            wan.zero_grad(set_to_none=True)
            differentiate(forward())

        return work

    dense = forward_flops(wan.config, frames, tokens, frames**2)
    packed = forward_flops(wan.config, 2 * frames - CHUNKS[-1], tokens, interleaved_pairs(CHUNKS))
    for recompute in (True, False):
        wan.recompute = recompute
        for name, forward, flops in (
            ("bidirectional fwd+bwd", bidirectional, dense),
            ("interleaved fwd+bwd", interleaved, packed),
        ):
            bench.time(name, backward(forward), (1 + PASSES_OF_BACKWARD) * flops, checkpointed=recompute)
    wan.zero_grad(set_to_none=True)


def time_raven(
    bench: Bench,
    student: Wan,
    fake: Wan,
    teacher: Wan,
    latent: tuple[int, int, int, int],
    text: Tensor,
    world: World,
) -> None:
    """The parts of one RAVEN iteration with one sample a process, and the whole of it."""
    optimizer = OptimizerSettings(lr=2e-6)
    settings = DmdSettings(
        iterations=100,
        batch=world.size,
        slices=world.size,
        seed=0,
        student=optimizer,
        fake=optimizer,
        fake_updates=1,
        chunks=CHUNKS,
    )
    student.recompute = fake.recompute = True
    streams = Streams(seed=0, device=bench.device)
    recipe = Raven(student, fake, teacher, text.float(), latent, settings, streams, world)
    rows, one = text.float(), world.share(settings.batch, settings.slices)[0]
    frames, tokens = latent[0], student.config.tokens_per_frame(*latent[2:])
    dense = forward_flops(student.config, frames, tokens, frames**2)
    packed = forward_flops(student.config, 2 * frames - CHUNKS[-1], tokens, interleaved_pairs(CHUNKS))
    ends = [sum(CHUNKS[: k + 1]) for k in range(len(CHUNKS))]
    calls = [forward_flops(student.config, c, tokens, c * end) for c, end in zip(CHUNKS, ends, strict=True)]
    steps = len(settings.timesteps)
    rollout = (steps + 1) * sum(calls) - calls[-1]
    asked = forward_flops(teacher.config, frames, tokens, frames**2)
    rolled = recipe.roll_out(0, one, rows)
    x, t = rolled.endpoints, torch.full((1,), 700.0, device=bench.device)

    def student_pass() -> None:
        differentiate(recipe.predict(0, one, rolled, rows))

    def optimizer_step(gradients: list[Tensor]) -> None:
        for parameter, gradient in zip(recipe.student.parameters.values(), gradients, strict=True):
            parameter.grad = gradient
        recipe.student.step(0, 0.0)

    def teacher_pass() -> None:
        with torch.no_grad():
            guided_velocity(teacher, x, t, rows, settings.guidance)

    bench.time("rollout", lambda: recipe.roll_out(0, one, rows), rollout)
    bench.time("student fwd+bwd", student_pass, (1 + PASSES_OF_BACKWARD) * packed, checkpointed=True)
    recipe.student.clear()
    gradients = [torch.randn_like(value) for value in recipe.student.parameters.values()]
    bench.time("student optimizer step", partial(optimizer_step, gradients), 0.0)
    gradients.clear()
    bench.time("teacher, guided", teacher_pass, 2 * asked)
    bench.time(
        "fake-score update",
        lambda: recipe.scores.train_fake(0, 0.0, [one], rolled.endpoints, rows),
        (1 + PASSES_OF_BACKWARD) * dense,
        checkpointed=True,
    )
    whole = rollout + (1 + PASSES_OF_BACKWARD) * (packed + dense) + 2 * asked + dense
    bench.time("whole iteration", lambda: recipe.step(0, 0.0), whole, checkpointed=True)


def table(parts: list[Part]) -> str:
    """The figures for people."""
    header = f"{'part':<28} {'checkpointed':<12} {'s':>8} {'TFLOP':>8} {'MFU':>6} {'GiB':>6}"
    lines = [
        f"{p.part:<28} {'yes' if p.checkpointed else 'no':<12} {p.seconds:>8.3f} {p.tflop:>8.1f} {p.mfu:>6.1%} {p.peak_gib:>6.1f}"
        for p in parts
    ]
    return "\n".join([header, *lines])


def main() -> None:
    parser = bench_parser(__doc__, "results/bench/train.json")
    parser.add_argument(
        "--teacher", choices=("14b", "student"), default="14b", help="size of RAVEN's teacher"
    )
    parser.add_argument("--parts", nargs="+", choices=("passes", "raven"), default=["passes", "raven"])
    flags, device = begin(parser)
    world = join(device)
    log.setLevel(logging.INFO if world.rank == 0 else logging.WARNING)
    size = SIZES[flags.size]
    rate = matrix_rate(size.matrix, device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    log.info("%s, torch %s, matrix product %.1f TFLOP/s", device_name(device), torch.__version__, rate / 1e12)
    bench = Bench(device, rate, flags.repeats)
    text = torch.randn(1, size.config.text_len, size.config.text_dim, device=device)
    student = shard(network(size.config, device, trained=True), world)
    if "passes" in flags.parts:
        time_forward_backward(bench, student, size.latent, text)
    if "raven" in flags.parts:
        fake = shard(network(size.config, device, trained=True), world)
        asked = TEACHERS[flags.size] if flags.teacher == "14b" else size.config
        teacher = shard(network(asked, device, trained=False), world)
        time_raven(bench, student, fake, teacher, size.latent, text, world)
    if world.rank == 0:
        figures = {
            "processes": world.size,
            "teacher": flags.teacher,
            "parts": [asdict(part) for part in bench.parts],
        }
        store(flags, device, rate, figures)
        print(table(bench.parts))
    leave(world)


if __name__ == "__main__":
    main()
