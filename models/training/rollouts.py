"""Rollouts inside training: a schedule, a cache policy and a way of rolling, run with the network that is being trained.

Legend: B batch, F latent frames, C channels, H, W latent size, S steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.cache import KVCache
from models.noise import NoiseSource
from models.plan import AbsolutePolicy, AttendPlan, Policy
from models.rollout import Denoised, Finished, Record, chunked, rolling
from models.schedule import Schedule, Step
from models.wan import Wan


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How a student samples: chunk by chunk, or (joint) a rolling window of blocks. frames: latent frames of a clip."""

    schedule: Schedule
    policy: Policy
    chunk: int
    frames: int
    joint: bool = False

    @property
    def num_steps(self) -> int:
        return self.schedule.num_steps

    def run(
        self, wan: Wan, text: Tensor, noise: NoiseSource, *, grad_at: int | None = None
    ) -> Iterator[Record]:
        """Records of one rollout of `wan` on text rows [B, L, text_dim].

        grad_at: exit step of a chunked rollout, or window offset of a rolling one, where gradients are kept; None for no gradient.
        """
        with torch.set_grad_enabled(grad_at is not None):
            text_kv = wan.text_kv(wan.embed_text(text))
        initial = _Asked(noise, noise.initial())
        height, width = initial.start.shape[-2:]
        cache = KVCache(
            wan.config, batch=text.shape[0], capacity=self.policy.num_slots(self.frames, self.chunk),
            tokens_per_frame=wan.config.tokens_per_frame(height, width), device=text.device, dtype=text_kv.values[0].dtype,
        )  # fmt: skip

        def network(x: Tensor, t: Tensor, plan: AttendPlan) -> Tensor:
            return wan.cached(x, t, text_kv, cache, plan)

        planner = self.policy.planner()
        if self.joint:
            return rolling(network, self.schedule, planner, initial, chunk=self.chunk, grad_offset=grad_at)
        return chunked(network, self.schedule, planner, initial, chunk=self.chunk, exit_step=grad_at)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A noise source whose first draw was taken already, to learn the clip's size."""

    source: NoiseSource
    start: Tensor

    def initial(self) -> Tensor:
        return self.start

    def renoise(self, chunk: int, step: int, frames: int, window: object) -> Tensor:
        return self.source.renoise(chunk, step, frames, window)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """A finished chunked rollout, without gradient. states, x0: [S, B, F, C, H, W] inputs and clean predictions of each step."""

    states: Tensor
    x0: Tensor

    @property
    def endpoints(self) -> Tensor:
        """[B, F, C, H, W]: what the rollout made."""
        return self.x0[-1]


def trajectory(records: Iterable[Record], num_steps: int) -> Trajectory:
    """Collect a chunked rollout that ran all its steps."""
    calls = [record for record in records if isinstance(record, Denoised)]
    by_step = [[call for call in calls if call.step == step] for step in range(num_steps)]
    states = torch.stack([torch.cat([call.x_t for call in row], dim=1) for row in by_step])
    x0 = torch.stack([torch.cat([call.x0 for call in row], dim=1) for row in by_step])
    return Trajectory(states.detach(), x0.detach())


def endpoints(records: Iterable[Record]) -> Tensor:
    """[B, F, C, H, W]: the finished latents of any rollout, without gradient."""
    return torch.cat([record.latents for record in records if isinstance(record, Finished)], dim=1).detach()


def predictions_with_gradient(records: Iterable[Record]) -> Tensor:
    """[B, F, C, H, W]: clean predictions of the calls that kept a gradient, ordered by frame; they cover the clip once."""
    calls = sorted(
        (call for call in records if isinstance(call, Denoised) and call.x0.requires_grad),
        key=lambda call: call.start,
    )
    ends = [call.start + call.frames for call in calls]
    assert [call.start for call in calls] == [0, *ends[:-1]], f"calls with gradient cover frames {calls}"
    return torch.cat([call.x0 for call in calls], dim=1)


def consistency_rollout(
    timesteps: Sequence[float], chunks: Sequence[int], *, sink: int = 0, window: int | None = None
) -> Rollout:
    """RAVEN's own sampler: sigma is timestep / 1000, arithmetic in float32, the cache written in clean passes only.

    chunks: equal frame counts; sink, window: in chunks (raven.md 4.7, 5). Raises ValueError if the chunks differ.
    """
    if len(set(chunks)) != 1:
        raise ValueError(f"Chunks {tuple(chunks)} differ in length; the rollout takes equal chunks.")
    chunk = chunks[0]
    steps = tuple(
        Step(timestep=float(t), sigma=float(torch.tensor(t) / 1000), table_index=None) for t in timesteps
    )
    schedule = Schedule(steps=steps, x0_dtype=torch.float32, renoise_dtype=torch.float32)
    policy = AbsolutePolicy(
        window=None if window is None else window * chunk,
        sink=sink * chunk,
        counting="history_only",
        denoise_writes=False,
    )
    return Rollout(schedule=schedule, policy=policy, chunk=chunk, frames=sum(chunks))
