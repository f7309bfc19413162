"""Causal initialisation of the students, in two parts.

(a) Teacher forcing: flow matching of noisy chunks on data, with clean data as history. (b) Regression from states of the teacher's
guided trajectories to their endpoints, with clean endpoints as history: one network call then reaches the end of the trajectory.

Legend: B batch, F latent frames, C channels, H, W latent size, N trajectories, L text rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.training.flow_matching import CaptionedClips, euler_grid, euler_sample, mix, to_x0
from models.training.loop import Trainee, finite
from models.training.settings import CausalInitSettings
from models.training.streams import Streams
from models.wan import Wan


@dataclass(frozen=True, slots=True, eq=False)
class Trajectories:
    """The teacher's guided paths. states: [K, N, F, C, H, W] at `timesteps`; endpoints: [N, F, C, H, W]; text: [N, L, text_dim]."""

    states: Tensor
    endpoints: Tensor
    text: Tensor
    timesteps: tuple[float, ...]


def teacher_trajectories(teacher: Wan, text: Tensor, settings: CausalInitSettings, streams: Streams, shape: tuple[int, ...],
                         batch: int, dtype: torch.dtype, said: Callable[[int], None]) -> Trajectories:
    """Guided Euler paths for every text row of `text`, kept in `dtype` on the text's device. said(n): called as paths get done."""
    sigmas = [t / 1000 for t in settings.timesteps]
    grid = euler_grid(settings.euler_steps, 5.0, sigmas)
    states, ends = [], []
    for start in range(0, len(text), batch):
        rows = text[start : start + batch].to(streams.device, torch.float32)
        noise = streams.normal("trajectory", 0, range(start, start + len(rows)), shape)
        end, kept = euler_sample(teacher, rows, noise, scale=settings.guidance, grid=grid, keep=sigmas)
        states.append(torch.stack(kept).to(text.device, dtype))
        ends.append(end.to(text.device, dtype))
        said(start + len(rows))
    return Trajectories(torch.cat(states, dim=1), torch.cat(ends), text, settings.timesteps)


class CausalInit:
    """Recipe: part (a) for the first `forcing_share` of the run, then part (b)."""

    def __init__(self, student: Wan, clips: CaptionedClips, encode: Callable[[Tensor], Tensor], paths: Trajectories,
                 settings: CausalInitSettings, streams: Streams) -> None:
        self.wan, self.clips, self.encode, self.paths = student, clips, encode, paths
        self.settings, self.streams = settings, streams
        self.trainees = [Trainee("student", student, settings.optimizer, ema=settings.ema)]

    def step(self, iteration: int, fraction: float) -> dict[str, float]:
        forcing = fraction < self.settings.forcing_share
        loss = self.forcing_loss(iteration) if forcing else self.endpoint_loss(iteration)
        finite(loss, "teacher-forcing loss" if forcing else "endpoint loss", iteration).backward()
        name = "forcing_loss" if forcing else "endpoint_loss"
        return {name: loss.item(), **self.trainees[0].step(iteration, fraction)}

    def forcing_loss(self, iteration: int) -> Tensor:
        """(a): mean squared velocity error of noisy data chunks, one time per sample, clean data before them."""
        samples, device, home = range(self.settings.batch), self.streams.device, self.clips.latents.device
        which = self.streams.choice("clip", iteration, samples, len(self.clips.latents))[:, 0].to(home)
        wording = self.streams.choice("wording", iteration, samples, self.clips.ids.shape[1])[:, 0].to(home)
        data = self.clips.latents[which].to(device, torch.float32)
        text = self.encode(self.clips.ids[which, wording].to(device, torch.int64))
        t = self.streams.timesteps("time", iteration, samples, shift=self.settings.shift, low=0.001, high=1.0)
        noise = self.streams.normal("noise", iteration, samples, data.shape[1:])
        v = self._velocity(mix(data, noise, t), data, t, text)
        return (v - (noise - data)).square().mean()

    def endpoint_loss(self, iteration: int) -> Tensor:
        """(b): mean squared error of the clean prediction from a state of a trajectory to its endpoint."""
        samples, device, home = range(self.settings.batch), self.streams.device, self.paths.endpoints.device
        which = self.streams.choice("trajectory", iteration, samples, len(self.paths.endpoints))[:, 0].to(home)
        level = self.streams.choice("level", iteration, samples, len(self.paths.timesteps))[:, 0]
        t = torch.tensor(self.paths.timesteps, dtype=torch.float32)[level].to(device)
        noisy = self.paths.states[level.to(home), which].to(device, torch.float32)
        end = self.paths.endpoints[which].to(device, torch.float32)
        text = self.paths.text[which].to(device, torch.float32)
        return (to_x0(noisy, self._velocity(noisy, end, t, text), t) - end).square().mean()

    def _velocity(self, noisy: Tensor, clean: Tensor, t: Tensor, text: Tensor) -> Tensor:
        return self.wan.interleaved(noisy, clean, t[:, None].expand(-1, noisy.shape[1]), self.wan.embed_text(text),
                                    chunks=self.settings.chunks)
