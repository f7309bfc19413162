"""The two few-step rollouts: chunk by chunk, and a rolling window of blocks at falling noise levels.

Both are generators of frozen records, one per network call and one per finished chunk, so that callers
stream, time, decode or record trajectories without the loop knowing. A rollout knows no baseline: schedule,
cache policy, noise and network come in. Legend: B batch, F latent frames of the clip, f frames of one call, C
channels, H, W latent size, L rows of a prompt's embedding; S steps.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from models.cache import KVCache
from models.noise import JointWindow, NoiseSource
from models.plan import AttendPlan, CachePolicy, Planner, chunk_sizes
from models.schedule import Schedule
from models.wan import Wan

NetworkCall = Callable[[Tensor, Tensor, AttendPlan], Tensor]
"""(x [B, f, C, H, W], timesteps [B, f], plan) -> velocity [B, f, C, H, W], the plan done on the cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Denoised:
    """One denoising call. x_t, v, x0: [B, f, C, H, W], with gradient only where asked for."""

    start: int
    frames: int
    steps: tuple[int, ...]
    """Step index of each frame."""
    x_t: Tensor
    v: Tensor
    x0: Tensor
    calls: int = 1
    """Network calls that it took: two with guidance."""

    @property
    def step(self) -> int:
        """The step index, where all frames share one (always so in a chunked rollout)."""
        assert len(set(self.steps)) == 1, f"frames stand at steps {self.steps}"
        return self.steps[0]


@dataclass(frozen=True, slots=True)
class ContextPass:
    """One context pass, the KV-cache update at t = 0: the keys and values of these frames are final."""

    start: int
    frames: int


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """A chunk's final clean latents [B, f, C, H, W], in order of frames. They never change afterwards."""

    start: int
    latents: Tensor


RolloutRecord = Denoised | ContextPass | Finished


class NetworkCalls(NamedTuple):
    """The calls of one rollout, on one cache."""

    denoise: NetworkCall
    context: NetworkCall
    """Of context passes: the same, unless the network has other weights for them (`Wan.memory`)."""


Runner = Callable[[Wan, Tensor, int], NetworkCalls]
"""(network, prompt embeddings [B, L, text_dim], cache capacity in frames) -> network calls on them."""


def plain_runner(wan: Wan, text: Tensor, capacity: int) -> NetworkCalls:
    """Plain calls with a cache of their own, made at the first call, which shows a latent frame's size."""
    caches: list[KVCache] = []

    def calls_of(one: Wan) -> NetworkCall:
        text_kv = one.text_kv(one.embed_text(text))

        def network(x: Tensor, t: Tensor, plan: AttendPlan) -> Tensor:
            if not caches:
                caches.append(one.cache_for(x, plan, capacity, text_kv.values[0].dtype))
            return one.cached(x, t, text_kv, caches[0], plan)

        return network

    made = [calls_of(one) for one in wan.weight_sets]
    return NetworkCalls(denoise=made[0], context=made[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How a method samples, and how training runs the network that it trains."""

    schedules: tuple[Schedule, ...]
    """Of chunks 0, 1, ..., the last for all that follow."""
    policy: CachePolicy
    chunk: int | tuple[int, ...]
    """Latent frames of a chunk or block; or of chunks 0, 1, ..., of which the last size repeats."""
    frames: int
    """Latent frames of a clip."""
    joint: bool = False
    """A rolling window of blocks (`rolling`) in place of chunk by chunk (`chunked`)."""
    draw_last: bool = False
    """See `chunked`."""
    last_call_from: int | None = None
    """See `chunked`."""

    @property
    def schedule(self) -> Schedule:
        """Of all chunks. Raises ValueError if they have several, as no training can."""
        if len(self.schedules) > 1:
            raise ValueError(
                "The chunks of this rollout take different steps, which cannot be trained; name a baseline "
                "with one list of steps."
            )
        return self.schedules[0]

    @property
    def num_steps(self) -> int:
        return self.schedule.num_steps

    @property
    def even_chunk(self) -> int:
        """Frames of every chunk. Raises ValueError if they differ, as no training can."""
        (size, *others) = sorted(set(chunk_sizes(self.chunk, self.frames)))
        if others:
            raise ValueError(
                f"The chunks of this rollout have {size} to {others[-1]} latent frames, which cannot be "
                "trained; name a baseline with chunks of one size."
            )
        return size

    def run(
        self,
        wan: Wan,
        text: Tensor,
        noise: NoiseSource,
        *,
        grad_at: int | None = None,
        runner: Runner = plain_runner,
    ) -> Iterator[RolloutRecord]:
        """Records of one rollout of `wan` on prompt embeddings [B, L, text_dim].

        grad_at: exit step of a chunked rollout, or window offset of a rolling one, where gradients are kept;
        None for no gradient anywhere. runner: how calls are made; `plain_runner` keeps nothing afterwards.
        Raises ValueError if noise and text are of different batches.
        """
        capacity = self.policy.num_slots(self.frames, max(chunk_sizes(self.chunk, self.frames)))
        with torch.set_grad_enabled(grad_at is not None):
            calls = runner(wan, text, capacity)

        def network(x: Tensor, t: Tensor, plan: AttendPlan) -> Tensor:
            if x.shape[0] != text.shape[0]:
                raise ValueError(
                    f"The noise is for {x.shape[0]} clips, but there are prompt embeddings for "
                    f"{text.shape[0]}; make noise and text agree."
                )
            return calls.denoise(x, t, plan)

        planner = self.policy.planner()
        if self.joint:
            return rolling(
                network, self.schedule, planner, noise,
                total=self.frames, chunk=self.even_chunk, grad_offset=grad_at,
            )  # fmt: skip
        return chunked(
            network, self.schedules, planner, noise,
            total=self.frames, chunk=self.chunk, exit_step=grad_at, draw_last=self.draw_last,
            last_call_from=self.last_call_from, context=calls.context,
        )  # fmt: skip


def chunked(
    network: NetworkCall,
    schedules: Schedule | Sequence[Schedule],
    planner: Planner,
    noise: NoiseSource,
    *,
    total: int,
    chunk: int | Sequence[int],
    exit_step: int | None = None,
    draw_last: bool = False,
    last_call_from: int | None = None,
    context: NetworkCall | None = None,
) -> Iterator[RolloutRecord]:
    """Denoise one chunk after another, each given the clean chunks before it
    (baselines/methods.md#chunked-rollout).

    total: latent frames of the clip. schedules: of chunks 0, 1, ..., the last for all that follow (Causal
    Forcing++, Causal-rCM); the step indices of a record count in its chunk's. chunk: latent frames, or
    those of chunks 0, 1, ..., of which the last size repeats. exit_step: stop every chunk at this step
    index and let gradients into that call alone; the history stays detached (self forcing). draw_last:
    also draw, and discard, noise after the last step, as RAVEN's generator does. last_call_from: from
    this chunk on the cache keeps the keys and values of a chunk's last denoising call, on its noisy
    latents, in place of a context pass (Causal-rCM's noisy context). context: the call of context passes,
    None for `network`. The last chunk gets no context pass, which nobody would read. Raises ValueError if
    the chunks do not end with the clip, exit_step is no step, or is asked for where chunks differ in steps
    or context.
    """
    each = [schedules] if isinstance(schedules, Schedule) else schedules
    last_step = each[-1].num_steps - 1
    sizes = chunk_sizes(chunk, total)
    starts = noise.initial_pieces(sizes)
    if exit_step is not None and not 0 <= exit_step <= last_step:
        raise ValueError(
            f"Exit step {exit_step} is not one of the steps 0..{last_step}; choose one of these."
        )
    if exit_step is not None and (len(each) > 1 or last_call_from is not None):
        raise ValueError(
            f"Exit step {exit_step} means another call in some chunks, which have steps or a context of "
            "their own; train a baseline whose chunks are alike."
        )
    start = 0
    for c, frames in enumerate(sizes):
        here = each[min(c, len(each) - 1)]
        stop = here.num_steps - 1 if exit_step is None else exit_step
        keeps_last = last_call_from is not None and c >= last_call_from
        window = JointWindow(total, start)
        x = here.start(next(starts))
        for step in range(stop + 1):
            plan = planner.plan(start, frames, "context" if keeps_last and step == stop else "denoise")
            record = denoise(
                network, here, plan, x, start=start, steps=(step,) * frames, grad=step == exit_step
            )
            yield record
            made = record.x0
            if step < stop:
                x = here.advance(record.x_t, record.x0, noise.draw_renoise(c, step, frames, window), step)
            elif here.noisy_end and step == here.num_steps - 1:
                made = here.advance(record.x_t, record.x0, noise.draw_renoise(c, step, frames, window), step)
            elif draw_last and step == here.num_steps - 1:
                noise.draw_renoise(c, step, frames, window)
        yield Finished(start, made)
        if start + frames < total and not keeps_last:
            yield context_pass(context or network, planner, made, start)
        start += frames


def rolling(
    network: NetworkCall,
    schedule: Schedule,
    planner: Planner,
    noise: NoiseSource,
    *,
    total: int,
    chunk: int,
    grad_offset: int | None = None,
) -> Iterator[RolloutRecord]:
    """Denoise up to S neighbouring blocks in one call, the oldest cleanest; each call finishes one block
    (baselines/methods.md#rolling-forcing).

    total: latent frames of the clip; chunk: of a block. Block j has step index w - j in window w.
    grad_offset: let gradients into windows w = grad_offset mod S; their clean predictions cover every
    block exactly once (Rolling Forcing's training). Context passes on a block that is not finished, and
    the one after the last block, would change nothing and are skipped. Raises ValueError if the blocks do
    not divide the clip, are fewer than S, or grad_offset is no step.
    """
    num_steps = schedule.num_steps
    num_blocks = total // chunk
    if total % chunk or num_blocks < num_steps:
        raise ValueError(
            f"A rolling rollout of {num_steps} steps needs a whole number of blocks, at least {num_steps}; "
            f"{total} latent frames hold {total / chunk:g} blocks of {chunk}. Sample more frames or use "
            "fewer steps."
        )
    if grad_offset is not None and not 0 <= grad_offset < num_steps:
        raise ValueError(
            f"Gradient offset {grad_offset} is not one of 0..{num_steps - 1}; choose one of these."
        )
    starts = noise.initial_pieces([chunk] * num_blocks)
    noisy: dict[int, Tensor] = {}  # of each block in the window
    for w in range(num_blocks + num_steps - 1):
        blocks = range(max(0, w - num_steps + 1), min(num_blocks - 1, w) + 1)
        start, frames = blocks[0] * chunk, len(blocks) * chunk
        if w < num_blocks:
            noisy[w] = schedule.start(next(starts))
        steps = tuple(w - j for j in blocks for _ in range(chunk))
        x = torch.cat([noisy[j] for j in blocks], dim=1)
        plan = planner.plan(start, frames, "denoise")
        grad = grad_offset is not None and w % num_steps == grad_offset
        record = denoise(network, schedule, plan, x, start=start, steps=steps, grad=grad)
        yield record
        clean = dict(zip(blocks, torch.split(record.x0.detach(), chunk, dim=1), strict=True))
        for position, j in enumerate(blocks):
            step = w - j
            if step < num_steps - 1:
                eps = noise.draw_renoise(j, step, chunk, JointWindow(frames, position * chunk))
                noisy[j] = schedule.add_noise(clean[j], eps, step + 1)
        if w >= num_steps - 1:
            del noisy[blocks[0]]
            yield Finished(start, record.x0[:, :chunk])
            if start + chunk < total:
                yield context_pass(network, planner, clean[blocks[0]], start)


def denoise(
    network: NetworkCall,
    schedule: Schedule,
    plan: AttendPlan,
    x: Tensor,
    *,
    start: int,
    steps: tuple[int, ...],
    grad: bool,
) -> Denoised:
    """One network call and its clean prediction. The gradient mode never lasts across a yield."""
    with torch.set_grad_enabled(grad):
        v = network(x, schedule.frame_timesteps(steps, x.shape[0], x.device), plan)
        x0 = schedule.to_x0(x, v, steps)
    return Denoised(start, x.shape[1], steps, x, v, x0)


def context_pass(network: NetworkCall, planner: Planner, x0: Tensor, start: int) -> ContextPass:
    """The network on finished latents at timestep 0, for its keys and values alone."""
    batch, frames = x0.shape[:2]
    plan = planner.plan(start, frames, "context")
    with torch.no_grad():
        network(x0, torch.zeros(batch, frames, device=x0.device), plan)
    return ContextPass(start, frames)
