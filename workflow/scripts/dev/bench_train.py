"""Time a training step at full size with random weights: parts apart, memory, share of the matrix rate.

Forward and backward of one clip of 32,760 tokens, bidirectional, block-causal and interleaved, with and
without activation checkpointing, and the parts of a CM-GRPO and of a RAVEN iteration. The matrix rate is
measured in the same process and stored with every figure. `--size tiny` runs the same code on any CPU, to try
it. Started by torchrun, the networks are sharded over its processes, each with a sample of its own; figures
are those of process 0.

Legend: F latent frames, C channels, H, W latent size.
"""

import itertools
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from torch import Tensor

from models.attention import interleaved_blocks
from models.checkpoints.lora import LoraSettings, add_lora, inner_wan
from models.config import WanConfig
from models.training.cm_grpo import CmGrpo
from models.training.distributed import Processes, join, leave, shard
from models.training.flow_matching import guided_velocity
from models.training.raven import Raven
from models.training.settings import CHUNKS, CmGrpoSettings, DmdSettings, OptimizerSettings
from models.training.streams import Streams
from models.wan import Wan, cast_parameters, init_weights
from workflow.sampling.benchmark import SIZES, begin_benchmark, bench_parser, matrix_rate, median_time, store
from workflow.sampling.machine import device_name
from workflow.training.job import training_dtypes

log = logging.getLogger("bench_train")

TEACHERS = {
    "full": WanConfig(dim=5120, ffn_dim=13824, num_layers=40, num_heads=40),
    "tiny": SIZES["tiny"].config,
}
PASSES_OF_BACKWARD = 2  # a backward pass has twice the operations of the forward pass
LORA_RANK = 256

Latent = tuple[int, int, int, int]
"""(F, C, H, W) of a clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Median seconds of one part of a step.

    tflop: operations of the model itself, without recomputation; mfu: share of the matrix rate that they
    reach; peak_gib: GPU memory, all that is held included.
    """

    part: str
    checkpointed: bool
    seconds: float
    tflop: float
    mfu: float
    peak_gib: float


class Flops(NamedTuple):
    """Operations of one forward, a multiply-add being two.

    products: with weights; attention: self and to the text; adapters: LoRA's own.
    """

    products: float
    attention: float
    adapters: float

    @property
    def forward(self) -> float:
        return sum(self)

    @property
    def trained(self) -> float:
        """Forward and backward where all weights are trained."""
        return (1 + PASSES_OF_BACKWARD) * self.forward

    @property
    def adapted(self) -> float:
        """Forward and backward of adapters: other weights need no gradients of their own."""
        return 2 * self.products + (1 + PASSES_OF_BACKWARD) * (self.attention + self.adapters)


def forward_flops(
    config: WanConfig, frames: int, tokens_per_frame: int, pairs: int, *, rank: int = 0
) -> Flops:
    """One clip: products over `frames` frames, attention over `pairs` of frames that see one another, and
    text.

    rank: of adapters on every product. Source: models/backbone.md#operation-counts.
    """
    tokens, dim, ffn, layers = frames * tokens_per_frame, config.dim, config.ffn_dim, config.num_layers
    attention = 2 * layers * dim * (pairs * tokens_per_frame**2 + tokens * config.text_len)
    return Flops(
        products=2.0 * tokens * layers * (6 * dim * dim + 2 * dim * ffn),
        attention=2.0 * attention,
        adapters=2.0 * tokens * layers * rank * (6 * 2 * dim + 2 * (dim + ffn)),
    )


def dense_flops(config: WanConfig, latent: Latent) -> Flops:
    """All frames of a clip seeing one another."""
    return forward_flops(config, latent[0], config.tokens_per_frame(*latent[2:]), latent[0] ** 2)


def causal_flops(config: WanConfig, latent: Latent) -> Flops:
    """Every chunk of a clip seeing itself and those before it."""
    pairs = sum(c * end for c, end in zip(CHUNKS, itertools.accumulate(CHUNKS), strict=True))
    return forward_flops(config, latent[0], config.tokens_per_frame(*latent[2:]), pairs)


def packed_flops(config: WanConfig, latent: Latent, *, rank: int = 0) -> Flops:
    """A clip packed with its clean history."""
    frames = 2 * latent[0] - CHUNKS[-1]
    tokens = config.tokens_per_frame(*latent[2:])
    return forward_flops(config, frames, tokens, interleaved_pairs(CHUNKS), rank=rank)


def rollout_flops(config: WanConfig, latent: Latent, steps: int, *, rank: int = 0) -> float:
    """All steps of every chunk and a clean pass after each but the last."""
    tokens = config.tokens_per_frame(*latent[2:])
    ends = itertools.accumulate(CHUNKS)
    calls = [
        forward_flops(config, c, tokens, c * end, rank=rank).forward
        for c, end in zip(CHUNKS, ends, strict=True)
    ]
    return (steps + 1) * sum(calls) - calls[-1]


def interleaved_pairs(chunks: tuple[int, ...]) -> int:
    """Pairs of frames that see one another in the packed sequence of training-time test."""
    blocks = interleaved_blocks(len(chunks))
    return sum(chunks[b.chunk] * (chunks[b.chunk] + sum(chunks[j] for j in b.sees)) for b in blocks)


class StepBench:
    """Measures parts on one device and remembers them."""

    def __init__(self, device: torch.device, rate: float, repeats: int) -> None:
        self.device, self.rate, self.repeats = device, rate, repeats
        self.parts: list[Part] = []

    def time(self, part: str, work: Callable[[], Any], flops: float, *, checkpointed: bool = False) -> None:
        """Time `work` of so many operations; what does not fit into the GPU's memory is said and left out."""
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        try:
            seconds = median_time(work, self.device, repeats=self.repeats)
        except torch.OutOfMemoryError:
            log.warning("%s%s does not fit into memory", part, ", checkpointed" if checkpointed else "")
            return
        peak = torch.cuda.max_memory_allocated(self.device) / 2**30 if on_gpu else 0.0
        mfu, tflop = flops / seconds / self.rate, flops / 1e12
        made = Part(
            part=part, checkpointed=checkpointed, seconds=seconds, tflop=tflop, mfu=mfu, peak_gib=peak
        )
        self.parts.append(made)
        log.info("%s", parts_table(self.parts[-1:]).splitlines()[1])


def network(config: WanConfig, device: torch.device, *, trained: bool) -> Wan:
    """Random weights as the trainers hold them (models/backbone.md#precision)."""
    precision = "fast" if device.type == "cuda" else "float32"
    with torch.device(device):
        wan = Wan(config, training_dtypes(precision, trained=trained))
    init_weights(wan, torch.Generator(device).manual_seed(0), zero_head=False)
    if not trained and precision == "fast":
        cast_parameters(wan, torch.bfloat16)
    return wan.requires_grad_(trained)


def differentiate(v: Tensor) -> None:
    """A backward pass from a mean of squares."""
    torch.autograd.backward(v.square().mean())


def time_forward_backward(bench: StepBench, wan: Wan, latent: Latent, text: Tensor) -> None:
    """Forward and backward of one clip: bidirectional, block-causal, and packed as in training-time test."""
    x, clean = (torch.randn(1, *latent, device=bench.device) for _ in range(2))
    t = torch.full((1, latent[0]), 700.0, device=bench.device)

    def bidirectional() -> Tensor:
        return wan.forward(x, t, wan.embed_text(text))

    def block_causal() -> Tensor:
        return wan.block_causal(x, t, wan.embed_text(text), chunks=CHUNKS)

    def interleaved() -> Tensor:
        return wan.interleaved(x, clean, t, wan.embed_text(text), chunks=CHUNKS)

    def backward(forward: Callable[[], Tensor]) -> Callable[[], None]:
        def work() -> None:
            wan.zero_grad(set_to_none=True)
            differentiate(forward())

        return work

    for checkpointed in (True, False):
        wan.activation_checkpointing = checkpointed
        for name, forward, flops in (
            ("bidirectional fwd+bwd", bidirectional, dense_flops(wan.config, latent)),
            ("block-causal fwd+bwd", block_causal, causal_flops(wan.config, latent)),
            ("interleaved fwd+bwd", interleaved, packed_flops(wan.config, latent)),
        ):
            bench.time(name, backward(forward), flops.trained, checkpointed=checkpointed)
    wan.zero_grad(set_to_none=True)


def time_raven(
    bench: StepBench,
    student: Wan,
    fake: Wan,
    teacher: Wan,
    latent: Latent,
    text: Tensor,
    processes: Processes,
) -> None:
    """The parts of one RAVEN iteration with one sample a process, and the whole of it."""
    optimizer = OptimizerSettings(lr=2e-6)
    settings = DmdSettings(
        iterations=100,
        batch=processes.size,
        micro_batches=processes.size,
        seed=0,
        student=optimizer,
        fake=optimizer,
        fake_updates=1,
        chunks=CHUNKS,
    )
    student.activation_checkpointing = fake.activation_checkpointing = True
    streams = Streams(seed=0, device=bench.device)
    recipe = Raven(student, fake, teacher, text.float(), latent, settings, streams, processes)
    rows, one = text.float(), processes.split(settings.batch, settings.micro_batches)[0]
    dense, packed = dense_flops(student.config, latent), packed_flops(student.config, latent)
    rollout = rollout_flops(student.config, latent, len(settings.timesteps))
    asked = dense_flops(teacher.config, latent).forward
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
    bench.time("student fwd+bwd", student_pass, packed.trained, checkpointed=True)
    recipe.student.clear()
    gradients = [torch.randn_like(value) for value in recipe.student.parameters.values()]
    bench.time("student optimizer step", partial(optimizer_step, gradients), 0.0)
    gradients.clear()
    bench.time("teacher, guided", teacher_pass, 2 * asked)
    bench.time(
        "fake-score update",
        lambda: recipe.scores.train_fake(0, 0.0, [one], rolled.endpoints, rows),
        dense.trained,
        checkpointed=True,
    )
    whole = rollout + packed.trained + dense.trained + 2 * asked + dense.forward
    bench.time("whole iteration", lambda: recipe.step(0, 0.0), whole, checkpointed=True)


def time_cm_grpo(
    bench: StepBench, policy: PeftModel, latent: Latent, text: Tensor, processes: Processes
) -> None:
    """The parts of a CM-GRPO iteration that grow with its rollouts, one a process, without rewards."""
    settings = CmGrpoSettings(
        iterations=100,
        prompts=1,
        group=2 * processes.size,
        micro_batches=2 * processes.size,
        seed=0,
        optimizer=OptimizerSettings(lr=5e-6),
        rewards={"level": 1.0},
        chunks=CHUNKS,
    )
    streams, rows = Streams(seed=0, device=bench.device), text.float()
    recipe = CmGrpo(
        policy, rows, lambda x, _: {"level": x.mean((1, 2, 3, 4))}, latent, settings, streams, processes
    )
    recipe.wan.activation_checkpointing = True
    samples, config = processes.split(settings.samples, settings.micro_batches)[0], recipe.wan.config
    rolled, gain = recipe.roll_out(0, samples, rows), torch.ones(1, device=bench.device)
    pairs = recipe.pairs(0, samples)

    def policy_pass() -> None:
        torch.autograd.backward(recipe.policy(rolled, pairs, rows, gain).loss)

    made = rollout_flops(config, latent, len(settings.timesteps), rank=LORA_RANK)
    bench.time("CM-GRPO rollout", lambda: recipe.roll_out(0, samples, rows), made)
    packed = packed_flops(config, latent, rank=LORA_RANK)
    bench.time("CM-GRPO policy fwd+bwd", policy_pass, packed.adapted, checkpointed=True)
    recipe.student.clear()


def parts_table(parts: list[Part]) -> str:
    """The figures for people."""
    header = f"{'part':<28} {'checkpointed':<12} {'s':>8} {'TFLOP':>8} {'MFU':>6} {'GiB':>6}"
    lines = [
        f"{p.part:<28} {'yes' if p.checkpointed else 'no':<12} {p.seconds:>8.3f} {p.tflop:>8.1f} "
        f"{p.mfu:>6.1%} {p.peak_gib:>6.1f}"
        for p in parts
    ]
    return "\n".join([header, *lines])


def main() -> None:
    parser = bench_parser(__doc__, "results/bench/train.json")
    parser.add_argument(
        "--teacher", choices=("14b", "student"), default="14b", help="size of RAVEN's teacher"
    )
    parts = ("passes", "cm_grpo", "raven")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    flags, device = begin_benchmark(parser)
    processes = join(device)
    log.setLevel(logging.INFO if processes.rank == 0 else logging.WARNING)
    size = SIZES[flags.size]
    rate = matrix_rate(size.matrix, device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    log.info("%s, torch %s, matrix product %.1f TFLOP/s", device_name(device), torch.__version__, rate / 1e12)
    bench = StepBench(device, rate, flags.repeats)
    text = torch.randn(1, size.config.text_len, size.config.text_dim, device=device)
    student = shard(network(size.config, device, trained=True), processes)
    if "passes" in flags.parts:
        time_forward_backward(bench, student, size.latent, text)
    if "cm_grpo" in flags.parts:
        policy = add_lora(
            network(size.config, device, trained=True), LoraSettings(rank=LORA_RANK, alpha=LORA_RANK), seed=0
        )
        shard(inner_wan(policy), processes)
        time_cm_grpo(bench, policy, size.latent, text, processes)
        del policy
    if "raven" in flags.parts:
        fake = shard(network(size.config, device, trained=True), processes)
        asked = TEACHERS[flags.size] if flags.teacher == "14b" else size.config
        teacher = shard(network(asked, device, trained=False), processes)
        time_raven(bench, student, fake, teacher, size.latent, text, processes)
    if processes.rank == 0:
        figures = {
            "processes": processes.size,
            "teacher": flags.teacher,
            "parts": [asdict(part) for part in bench.parts],
        }
        store(flags, device, rate, figures)
        print(parts_table(bench.parts))
    leave(processes)


if __name__ == "__main__":
    main()
