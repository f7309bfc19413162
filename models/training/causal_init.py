"""Causal initialisation of the students, in two parts.

(a) Teacher forcing: flow matching of noisy chunks on data, with clean data as history. (b) Regression from
states of guided paths to their endpoints, so that one network call reaches the end of a path. "causal" paths
are those of (a) itself, each chunk given clean history, so that the map from noise to endpoint is one that
the student can represent (Causal Forcing); "bidirectional" paths are the base model's.

Legend: B batch, F latent frames, C channels, H, W latent size, N paths, K kept timesteps, L tokens of a
prompt.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.schedule import to_x0
from models.training.flow_matching import CaptionedClips, draw_noised, euler_grid, follow, guided_velocity
from models.training.loop import Trainee, finite
from models.training.settings import EndpointSettings, TeacherForcingSettings
from models.training.streams import Streams
from models.wan import Wan

GRID_SHIFT = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class GuidedPaths:
    """Guided paths in half precision; text: prompt embeddings [N, L, text_dim].

    states: [K, N, F, C, H, W] at `timesteps`; endpoints, history: [N, F, C, H, W].
    """

    states: Tensor
    endpoints: Tensor
    history: Tensor
    text: Tensor
    timesteps: tuple[float, ...]


def causal_paths(
    wan: Wan, text: Tensor, history: Tensor, noise: Tensor, settings: EndpointSettings
) -> GuidedPaths:
    """Paths of a teacher-forced causal model, every chunk on its own given the clean chunks before it.

    history, noise: [B, F, C, H, W].
    """
    both = wan.text_kv(wan.embed_text(torch.cat([text, torch.zeros_like(text)])))
    clean = torch.cat([history, history])

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        times = torch.cat([t, t])[:, None].expand(-1, x.shape[1])
        v = wan.interleaved(torch.cat([x, x]), clean, times, both, chunks=settings.chunks)
        with_text, without = v.chunk(2)
        return without + settings.guidance * (with_text - without)

    return _kept(follow(velocity, noise, _grid(settings)), history, text, settings)


def bidirectional_paths(wan: Wan, text: Tensor, noise: Tensor, settings: EndpointSettings) -> GuidedPaths:
    """Paths of the base model on whole clips; the history of a chunk is the endpoint itself."""

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return guided_velocity(wan, x, t, text, settings.guidance)

    states = follow(velocity, noise, _grid(settings))
    return _kept(states, states[0.0], text, settings)


def join_paths(pieces: list[GuidedPaths]) -> GuidedPaths:
    """One pool of several batches."""
    return GuidedPaths(
        torch.cat([p.states for p in pieces], dim=1),
        torch.cat([p.endpoints for p in pieces]),
        torch.cat([p.history for p in pieces]),
        torch.cat([p.text for p in pieces]),
        pieces[0].timesteps,
    )


class TeacherForcing:
    """Recipe (a): velocity loss of noisy data chunks, one time per sample, clean data before them.

    encode: word ids [B, L] -> prompt embeddings; all padding gives zeros.
    """

    def __init__(
        self,
        student: Wan,
        clips: CaptionedClips,
        encode: Callable[[Tensor], Tensor],
        settings: TeacherForcingSettings,
        streams: Streams,
    ) -> None:
        self.wan, self.clips, self.encode = student, clips, encode
        self.settings, self.streams = settings, streams
        self.trainees = [Trainee("student", student, settings.optimizer, ema_decay=settings.ema)]

    def step(self, iteration: int, fraction: float) -> dict[str, float]:
        batch = draw_noised(self.clips, self.streams, iteration, self.settings)
        text = self.wan.embed_text(self.encode(batch.ids))
        v = self.wan.interleaved(batch.noisy, batch.x0, batch.t, text, chunks=self.settings.chunks)
        loss = finite(batch.velocity_loss(v), "teacher-forcing loss", iteration)
        torch.autograd.backward(loss)
        return {"forcing_loss": loss.item(), **self.trainees[0].step(iteration, fraction)}


class EndpointRegression:
    """Recipe (b): mean squared error of the clean prediction from a state of a path to its endpoint."""

    def __init__(
        self, student: Wan, paths: GuidedPaths, settings: EndpointSettings, streams: Streams
    ) -> None:
        self.wan, self.paths, self.settings, self.streams = student, paths, settings, streams
        self.trainees = [Trainee("student", student, settings.optimizer, ema_decay=settings.ema)]

    def step(self, iteration: int, fraction: float) -> dict[str, float]:
        paths, device, home = self.paths, self.streams.device, self.paths.endpoints.device
        samples = range(self.settings.batch)
        which = self.streams.choice("trajectory", iteration, samples, len(paths.endpoints))[:, 0].to(home)
        level = self.streams.choice("level", iteration, samples, len(paths.timesteps))[:, 0].to(home)
        t = torch.tensor(paths.timesteps, dtype=torch.float32, device=home)[level].to(device)
        drawn = (
            paths.states[level, which],
            *(p[which] for p in (paths.endpoints, paths.history, paths.text)),
        )
        noisy, end, history, text = (value.to(device, torch.float32) for value in drawn)
        frames = t[:, None].expand(-1, noisy.shape[1])
        embedded = self.wan.embed_text(text)
        v = self.wan.interleaved(noisy, history, frames, embedded, chunks=self.settings.chunks)
        loss = finite((to_x0(noisy, v, t / 1000) - end).square().mean(), "endpoint loss", iteration)
        torch.autograd.backward(loss)
        return {"endpoint_loss": loss.item(), **self.trainees[0].step(iteration, fraction)}


def _grid(settings: EndpointSettings) -> list[float]:
    return euler_grid(settings.euler_steps, GRID_SHIFT, [t / 1000 for t in settings.timesteps])


def _kept(
    states: dict[float, Tensor], history: Tensor, text: Tensor, settings: EndpointSettings
) -> GuidedPaths:
    kept = torch.stack([states[t / 1000] for t in settings.timesteps])
    return GuidedPaths(kept.half(), states[0.0].half(), history.half(), text.half(), settings.timesteps)
