"""What training takes from a rollout of the network that is being trained, and RAVEN's own rollout.

Legend: B batch, F latent frames, C channels, H, W latent size, S steps.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.plan import AbsolutePolicy
from models.rollout import Denoised, Finished, Rollout, RolloutRecord, context_pass, plain_runner
from models.schedule import CPU, Schedule, Step, to_x0
from models.training.settings import CmGrpoSettings, DmdSettings
from models.wan import Wan


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """A finished chunked rollout, without gradient.

    states, x0: [S, B, F, C, H, W], input and clean prediction of each step. endpoints: [B, F, C, H, W], what
    the rollout made: x0[-1], unless the sampler adds noise after its last step too.
    """

    states: Tensor
    x0: Tensor
    endpoints: Tensor


def trajectory(records: Iterable[RolloutRecord], num_steps: int) -> Trajectory:
    """Collect a chunked rollout that ran all its steps."""
    calls, made = [], []
    for record in records:
        if isinstance(record, Denoised):
            calls.append(record)
        elif isinstance(record, Finished):
            made.append(record.latents)
    by_step = [[call for call in calls if call.step == step] for step in range(num_steps)]
    states = torch.stack([torch.cat([call.x_t for call in row], dim=1) for row in by_step])
    x0 = torch.stack([torch.cat([call.x0 for call in row], dim=1) for row in by_step])
    return Trajectory(states.detach(), x0.detach(), torch.cat(made, dim=1).detach())


def endpoints(records: Iterable[RolloutRecord]) -> Tensor:
    """[B, F, C, H, W]: the finished latents of any rollout, without gradient."""
    return torch.cat([record.latents for record in records if isinstance(record, Finished)], dim=1).detach()


def predictions_with_gradient(records: Iterable[RolloutRecord]) -> Tensor:
    """[B, F, C, H, W]: clean predictions of the calls that kept a gradient, which cover the clip once."""
    calls = sorted(
        (call for call in records if isinstance(call, Denoised) and call.x0.requires_grad),
        key=lambda call: call.start,
    )
    ends = [call.start + call.frames for call in calls]
    assert [call.start for call in calls] == [0, *ends[:-1]], f"calls with gradient cover frames {calls}"
    return torch.cat([call.x0 for call in calls], dim=1)


def replay(
    wan: Wan, noisy: Tensor, clean: Tensor, t: Tensor, text: Tensor, settings: DmdSettings | CmGrpoSettings
) -> Tensor:
    """Clean predictions of chunks, given the clean ones before. noisy, clean: [B, F, C, H, W]; t: [B]."""
    frames, embedded = t[:, None].expand(-1, noisy.shape[1]), wan.embed_text(text)
    chunks, sink, window = settings.chunks, settings.sink, settings.window
    v = wan.interleaved(noisy, clean, frames, embedded, chunks=chunks, sink=sink, window=window)
    return to_x0(noisy, v, t / 1000)


def replay_cached(wan: Wan, noisy: Tensor, t: Tensor, text: Tensor, rollout: Rollout) -> Tensor:
    """Clean predictions of every chunk given those of the chunks before it, through a cache (self forcing).

    noisy: [B, F, C, H, W]; t: [B]. The history is written without gradient, so a chunk's loss reaches that
    chunk's own call alone; and it is what was predicted at t, not what the rollout ended in. No activations
    are recomputed: the cache changes after each call.
    """
    chunk = rollout.even_chunk
    calls = plain_runner(wan, text, rollout.policy.num_slots(rollout.frames, chunk))
    planner, made = rollout.policy.planner(), []
    for start in range(0, rollout.frames, chunk):
        x = noisy[:, start : start + chunk]
        plan = planner.plan(start, chunk, "denoise")
        made.append(to_x0(x, calls.denoise(x, t[:, None].expand(-1, chunk), plan), t / 1000))
        if start + chunk < rollout.frames:
            context_pass(calls.context, planner, made[-1].detach(), start)
    return torch.cat(made, dim=1)


def consistency_rollout(
    timesteps: Sequence[float], chunks: Sequence[int], *, sink: int = 0, window: int | None = None
) -> Rollout:
    """RAVEN's own sampler (models/backbone.md#consistency-sampler): sigma is timestep / 1000, in float32.

    The cache is written in context passes at t = 0 only. chunks: equal frame counts; sink, window: in chunks.
    Raises ValueError if the chunks differ.
    """
    if len(set(chunks)) != 1:
        raise ValueError(f"Chunks {tuple(chunks)} differ in length; the rollout takes equal chunks.")
    chunk = chunks[0]
    steps = tuple(Step(timestep=float(t), sigma=float(torch.tensor(t, device=CPU) / 1000)) for t in timesteps)
    schedule = Schedule(steps=steps, x0_dtype=torch.float32, add_noise_dtype=torch.float32)
    policy = AbsolutePolicy(
        window=None if window is None else window * chunk,
        sink=sink * chunk,
        counting="history_only",
        denoise_writes=False,
    )
    return Rollout(schedules=(schedule,), policy=policy, chunk=chunk, frames=sum(chunks))
