"""Time a training step at full size with random weights: parts apart, memory, share of the matrix rate.

Forward and backward of one clip of 32,760 tokens, bidirectional, block-causal and interleaved, with and
without activation checkpointing, and the parts of a CM-GRPO and of a RAVEN iteration. The matrix rate is
measured in the same process and stored with every figure. `--size tiny` runs the same code on any CPU, to try
it. Started by torchrun, the networks are sharded over its processes, each with a sample of its own; figures
are those of process 0.

Legend: F latent frames, C channels, H, W latent size.
"""

import argparse
import itertools
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from evaluation.command import run
from models.attention import interleaved_blocks
from models.checkpoints.lora import LoraSettings, add_lora, inner_wan
from models.config import WanConfig
from models.flops import frame_flops, weight_flops
from models.graphs import best_runner
from models.rollout import plain_runner
from models.training.cm_grpo import CmGrpo
from models.training.distributed import Processes, join, leave, shard
from models.training.flow_matching import guided_velocity
from models.training.raven import Raven
from models.training.rollouts import Trajectory
from models.training.settings import CHUNKS, CmGrpoSettings, DmdSettings, OptimizerSettings
from models.training.streams import Streams
from models.wan import Wan, cast_parameters, init_weights
from workflow.sampling.benchmark import SIZES, bench_parser, benchmark_device, matrix_rate, median_time, store
from workflow.sampling.machine import device_name
from workflow.training.job import training_dtypes

log = logging.getLogger("bench_train")

TEACHERS = {
    "full": WanConfig(dim=5120, ffn_dim=13824, num_layers=40, num_heads=40),
    "tiny": SIZES["tiny"].config,
}
TRAINED = 3  # forward and backward: a backward pass has twice the operations of the forward pass
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


def dense_flops(config: WanConfig, latent: Latent) -> float:
    """A forward in which all frames of a clip see one another."""
    return frame_flops(config, latent[0], latent[0], config.tokens_per_frame(*latent[2:]))


def causal_calls(config: WanConfig, latent: Latent) -> list[float]:
    """Every chunk of a clip seeing itself and those before it."""
    tokens, ends = config.tokens_per_frame(*latent[2:]), itertools.accumulate(CHUNKS)
    return [frame_flops(config, c, end, tokens) for c, end in zip(CHUNKS, ends, strict=True)]


def packed_flops(config: WanConfig, latent: Latent) -> float:
    """A forward of a clip packed with its clean history."""
    tokens = config.tokens_per_frame(*latent[2:])
    return sum(
        frame_flops(config, CHUNKS[one.chunk], sum(CHUNKS[j] for j in (one.chunk, *one.sees)), tokens)
        for one in interleaved_blocks(len(CHUNKS))
    )


def rollout_flops(config: WanConfig, latent: Latent, steps: int) -> float:
    """All steps of every chunk and a clean pass after each but the last."""
    calls = causal_calls(config, latent)
    return (steps + 1) * sum(calls) - calls[-1]


def adapter_flops(config: WanConfig) -> float:
    """Operations of a token with adapters on every product of the blocks."""
    return 2.0 * config.num_layers * LORA_RANK * (6 * 2 * config.dim + 2 * (config.dim + config.ffn_dim))


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
            ("block-causal fwd+bwd", block_causal, sum(causal_calls(wan.config, latent))),
            ("interleaved fwd+bwd", interleaved, packed_flops(wan.config, latent)),
        ):
            bench.time(name, backward(forward), TRAINED * flops, checkpointed=checkpointed)
    wan.zero_grad(set_to_none=True)


def time_rollouts(
    bench: StepBench, part: str, recipe: Raven | CmGrpo, samples: range, text: Tensor, flops: float
) -> Trajectory:
    """Rollouts by plain calls and, on a GPU that holds all weights, as CUDA graphs, with which the recipe
    goes on. Raises ValueError if these are not the same bits.
    """
    plain, graphs = plain_runner, best_runner(bench.device)
    recipe.runner = plain
    bench.time(f"{part}, eager", lambda: recipe.roll_out(0, samples, text), flops)
    rolled = recipe.roll_out(0, samples, text)
    if graphs is plain or recipe.processes.mesh is not None:
        return rolled
    recipe.runner = graphs
    bench.time(f"{part}, graphs", lambda: recipe.roll_out(0, samples, text), flops)
    replayed = recipe.roll_out(0, samples, text)
    if not torch.equal(rolled.states, replayed.states) or not torch.equal(rolled.x0, replayed.x0):
        raise ValueError(
            f"The {part} replayed as graphs is not the eager one; report this with the GPU's name."
        )
    return replayed


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
    asked = dense_flops(teacher.config, latent)
    rolled = time_rollouts(bench, "rollout", recipe, one, rows, rollout)
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

    bench.time("student fwd+bwd", student_pass, TRAINED * packed, checkpointed=True)
    recipe.student.clear()
    gradients = [torch.randn_like(value) for value in recipe.student.parameters.values()]
    bench.time("student optimizer step", partial(optimizer_step, gradients), 0.0)
    gradients.clear()
    bench.time("teacher, guided", teacher_pass, 2 * asked)
    bench.time(
        "fake-score update",
        lambda: recipe.scores.train_fake(0, 0.0, [one], rolled.endpoints, rows),
        TRAINED * dense,
        checkpointed=True,
    )
    whole = rollout + TRAINED * (packed + dense) + 2 * asked + dense
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
    frame, steps = config.tokens_per_frame(*latent[2:]), len(settings.timesteps)
    rolled_tokens = frame * ((steps + 1) * latent[0] - CHUNKS[-1])
    made = rollout_flops(config, latent, steps) + rolled_tokens * adapter_flops(config)
    rolled = time_rollouts(bench, "CM-GRPO rollout", recipe, samples, rows, made)
    gain, pairs = torch.ones(1, device=bench.device), recipe.pairs(0, samples)

    def policy_pass() -> None:
        torch.autograd.backward(recipe.policy(rolled, pairs, rows, gain).loss)

    # weights that are not trained need no gradients of their own
    tokens = frame * (2 * latent[0] - CHUNKS[-1])
    frozen = tokens * (weight_flops(config) - TRAINED * adapter_flops(config))
    packed = TRAINED * packed_flops(config, latent) - frozen
    bench.time("CM-GRPO policy fwd+bwd", policy_pass, packed, checkpointed=True)
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


def main(arguments: Sequence[str] | None = None) -> int:
    parser = bench_parser(__doc__, "results/bench/train.json")
    parser.add_argument(
        "--teacher", choices=("14b", "student"), default="14b", help="size of RAVEN's teacher"
    )
    parts = ("passes", "cm_grpo", "raven")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    return run(parser, arguments, time_parts)


def time_parts(flags: argparse.Namespace) -> None:
    """Time every part that the flags ask for, and store the figures."""
    device = benchmark_device(flags)
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
    sys.exit(main())
