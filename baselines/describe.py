"""What a native baseline's file means, in words: schedule, what each call reads, draws and network calls.

The rollout itself runs, on tensors without values and without a network, so that nothing here is a second
account of it.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from baselines.build import draw_order, full_sequence_of, rollout_of, schedules_of
from baselines.native import Baseline, SolverSettings
from models.config import WanConfig
from models.flops import call_flops, frame_flops
from models.noise import DrawOrder, LatentShape, UpstreamNoise
from models.plan import AttendPlan
from models.rollout import ContextPass, Denoised, Finished, NetworkCalls

CHANNELS, HEIGHT, WIDTH = 16, 60, 104
"""Of the latents of a clip of 480 x 832 pixels."""
TOKENS_PER_FRAME = HEIGHT * WIDTH // 4
META = torch.device("meta")


class DescribedCall(NamedTuple):
    """One network call, in latent frames. steps: index of each of its frames, none in a context pass.

    keys, key_positions: the frames attended to, in order, and their rotary positions. blended: frames that
    were averaged into the sink before, in order.
    """

    start: int
    frames: int
    steps: tuple[int, ...]
    keys: tuple[int, ...]
    key_positions: tuple[int, ...]
    query_position: int
    blended: tuple[int, ...]
    flops: float


class DescribedDraw(NamedTuple):
    """One draw of the released code: the seed of its generator for item 0, and its shape."""

    seed: int
    shape: tuple[int, ...]


class DescribedClip(NamedTuple):
    """What one clip takes."""

    calls: tuple[DescribedCall, ...]
    draws: tuple[DescribedDraw, ...]

    @property
    def denoising(self) -> int:
        return sum(bool(call.steps) for call in self.calls)

    @property
    def context(self) -> int:
        return len(self.calls) - self.denoising

    @property
    def flops(self) -> float:
        return sum(call.flops for call in self.calls)


class _LoggedDraws(UpstreamNoise):
    """Draws without values, as a list."""

    def __init__(self, order: DrawOrder, shape: LatentShape) -> None:
        self.log: list[DescribedDraw] = []
        super().__init__(order, [0], shape, device=META)

    def _seeded(self, seed: int, device: torch.device) -> Any:
        def draw(shape: tuple[int, ...]) -> Tensor:
            self.log.append(DescribedDraw(seed, shape))
            return torch.empty(shape, device=device)

        return draw


class _CacheContents:
    """Which frame lies in which slot of a cache, and at what position if it is rotated already."""

    def __init__(self) -> None:
        self.slots: dict[int, tuple[int, int | None]] = {}
        self.blended: tuple[int, ...] = ()

    def reads(self, plan: AttendPlan, start: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Frames and positions that a call on frames from `start` on reads; does what it plans."""
        if plan.absorb is not None:
            leaving = range(plan.absorb.src, plan.absorb.src + plan.absorb.length)
            self.blended += tuple(self.slots[slot][0] for slot in leaving)
        for move in plan.moves:
            moved = [self.slots[move.src + place] for place in range(move.length)]
            self.slots.update(enumerate(moved, move.dst))
        if plan.write is not None:
            first, rotated = plan.write.offset, plan.write.form == "rotated"
            for place in range(plan.write.length):
                at = plan.q_rotary_start + first + place if rotated else None
                self.slots[plan.write.slot + place] = start + first + place, at
        keys, positions = [], []
        for read in plan.reads:
            for place in range(read.start, read.start + read.length):
                frame, stored = self.slots[place] if read.source == "cache" else (start + place, None)
                position = stored if read.rotary is None else read.rotary + place - read.start
                assert position is not None, f"frame {frame} is read without a position"
                keys.append(frame)
                positions.append(position)
        return tuple(keys), tuple(positions)


def described_clip(baseline: Baseline) -> DescribedClip:
    """Every network call and draw of one clip of the baseline's own length at 480 x 832.

    Raises ValueError where the rollout does: a cache without room, for example.
    """
    frames = baseline.rollout.frames
    if isinstance(baseline.schedule, SolverSettings):
        return _full_clip(baseline, baseline.schedule)
    rollout = rollout_of(baseline, frames, "exact")
    noise = _LoggedDraws(draw_order(baseline), (frames, CHANNELS, HEIGHT, WIDTH))
    plans: list[AttendPlan] = []

    def without_network(*_: Any) -> NetworkCalls:
        def call(x: Tensor, t: Tensor, plan: AttendPlan) -> Tensor:  # noqa: ARG001 (as every network call)
            plans.append(plan)
            return torch.empty_like(x)

        return NetworkCalls(call, call)

    nothing: Any = None
    records = list(rollout.run(nothing, torch.empty(1, 1, 1), noise, runner=without_network))
    contents, calls, config = _CacheContents(), [], WanConfig()
    made = (record for record in records if isinstance(record, Denoised | ContextPass))
    assert sum(not isinstance(record, Finished) for record in records) == len(plans)
    for record, plan in zip(made, plans, strict=True):
        keys, positions = contents.reads(plan, record.start)
        steps = record.steps if isinstance(record, Denoised) else ()
        flops = call_flops(config, plan, TOKENS_PER_FRAME)
        calls.append(
            DescribedCall(
                record.start,
                record.frames,
                steps,
                keys,
                positions,
                plan.q_rotary_start,
                contents.blended,
                flops,
            )
        )
    return DescribedClip(tuple(calls), tuple(noise.log))


def _full_clip(baseline: Baseline, settings: SolverSettings) -> DescribedClip:
    """Calls on the negative prompt count as calls of their own; there is no context pass."""
    frames = baseline.rollout.frames
    noise = _LoggedDraws(draw_order(baseline), (frames, CHANNELS, HEIGHT, WIDTH))
    every, made = tuple(range(frames)), 0

    def network(x: Tensor, t: Tensor, against: bool) -> Tensor:  # noqa: ARG001 (as every network call)
        nonlocal made
        made += 1
        return torch.empty_like(x)

    calls: list[DescribedCall] = []
    flops = frame_flops(WanConfig(), frames, frames, TOKENS_PER_FRAME)
    for record in full_sequence_of(settings, frames).denoised(network, noise):
        if isinstance(record, Denoised):
            call = DescribedCall(0, frames, record.steps, every, every, 0, (), flops)
            calls += [call] * (made - len(calls))
    return DescribedClip(tuple(calls), tuple(noise.log))


def frame_ranges(frames: Sequence[int]) -> str:
    """`0-2, 6-14` of frames in order; a dash for none."""
    runs: list[list[int]] = []
    for frame in frames:
        if runs and frame == runs[-1][-1] + 1:
            runs[-1].append(frame)
        else:
            runs.append([frame])
    return ", ".join(f"{run[0]}-{run[-1]}" if run[1:] else str(run[0]) for run in runs) or "-"


def described(baseline: Baseline, clip: DescribedClip) -> list[str]:
    """Lines that say what a baseline's file means. clip: of `described_clip`."""
    rollout = baseline.rollout
    return [
        f"{baseline.name}: {baseline.title}, {rollout.kind}, {rollout.frames} latent frames",
        "",
        "schedule: what the network is told, and the noise level of the latents",
        *_schedule_lines(baseline),
        "",
        f"network calls of a clip: {clip.denoising} denoising"
        f"{' (joint windows)' if rollout.kind == 'rolling' else ''} + {clip.context} context"
        f"{', by a second set of weights' if baseline.weights.memory else ''}",
        "",
        *(
            _solver_lines(baseline.schedule)
            if isinstance(baseline.schedule, SolverSettings)
            else _call_lines(baseline, clip.calls)
        ),
        "",
        *_draw_lines(baseline, clip.draws),
    ]


def _solver_lines(settings: SolverSettings) -> list[str]:
    """What a full rollout is beside its levels."""
    solver = "UniPC of order" if settings.solver == "unipc" else "Euler"
    order = "" if settings.order is None else f" {settings.order}"
    guided = settings.guidance != 1
    return [
        "  every call sees all frames of the clip at one noise level; there is no cache",
        f"  {solver}{order}, {settings.steps} steps, "
        + (
            f"guidance {settings.guidance:g}: two calls a step, of the prompt and of "
            f"{settings.negative}'s negative prompt"
            if guided
            else "no guidance: one call a step"
        ),
        "  nothing is shown before the last step, so the first frame comes when the clip is done",
    ]


def _schedule_lines(baseline: Baseline) -> list[str]:
    if isinstance(baseline.schedule, SolverSettings):
        solver = full_sequence_of(baseline.schedule, baseline.rollout.frames).solver
        shown = [*range(min(4, solver.num_steps)), *range(max(4, solver.num_steps - 3), solver.num_steps)]
        gap = ["..."] if solver.num_steps > 7 else []
        told, levels = (
            ", ".join([*texts[:4], *gap, *texts[4:]])
            for texts in (
                [f"{solver.timesteps[i]:.6g}" for i in shown],
                [f"{solver.sigmas[i]:.6g}" for i in shown],
            )
        )
        return [f"  all frames: {told} at {levels}"]
    schedules = schedules_of(baseline)
    lines = []
    for number, one in enumerate(schedules):
        last = number == len(schedules) - 1
        which = "all chunks" if not number and last else f"chunk {number}{' on' if last else ''}"
        told = ", ".join(f"{timestep:.6g}" for timestep in one.timesteps)
        levels = ", ".join(f"{sigma:.6g}" for sigma in one.sigmas)
        lines.append(f"  {which}: {told} at {levels}")
    return lines


def _call_lines(baseline: Baseline, calls: Sequence[DescribedCall]) -> list[str]:
    """A table of calls: one line for the steps of a chunk, or for a rolling window."""
    rolling = baseline.rollout.kind == "rolling"
    heads = (
        "window" if rolling else "chunk",
        "frames",
        "steps",
        "reads frames",
        "at positions",
        "queries at",
    )
    rows = [[*heads, "context pass reads"]]
    for call in calls:
        end = call.start + call.frames
        frames = frame_ranges(range(call.start, end))
        if not call.steps:  # follows the call that finished its frames
            rows[-1][-1] = frame_ranges(call.keys)
        elif rows[-1][1] == frames:
            rows[-1][2] += f",{call.steps[0]}"
        else:
            steps = ",".join(map(str, dict.fromkeys(call.steps)))
            read = frame_ranges(call.keys) + _blended(call)
            context = "-" if rolling or end == baseline.rollout.frames else "none, the last step's stay"
            at = (frame_ranges(call.key_positions), str(call.query_position))
            rows.append([str(len(rows) - 1), frames, steps, read, *at, context])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _blended(call: DescribedCall) -> str:
    return f" ({frame_ranges(call.blended)} blended into the sink)" if call.blended else ""


def _draw_lines(baseline: Baseline, draws: Sequence[DescribedDraw]) -> list[str]:
    first, *later = draws
    settings = baseline.noise
    item = "the sample's number" if settings.seed_rule == "sample" else "the clip's place in the list"
    shapes = ", ".join(
        f"{len(list(same))} of {list(shape)}"
        for shape, same in itertools.groupby(draw.shape for draw in later)
    )
    second = ", from a second generator" if settings.renoise_generator == "forked" else ""
    return [
        f"draws of the released code, {settings.dtype} (portable noise, the default, ignores all of it):",
        f"  first {list(first.shape)}, seeded with {settings.seed} + {item}",
        f"  later {shapes or 'none'}{second}",
    ]
