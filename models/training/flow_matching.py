"""Flow matching of the bidirectional base model, and its guided many-step sampler.

Legend: B batch, F latent frames, C channels, H, W latent size, L text rows. Velocity v = noise - x0, sigma = t / 1000.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from models.text import ToyTextEncoder
from models.training.loop import Trainee, finite
from models.training.settings import BaseSettings
from models.training.streams import Streams
from models.wan import Wan


@dataclass(frozen=True, slots=True, eq=False)
class CaptionedClips:
    """Training clips in memory. latents: [N, F, C, H, W]; ids: word ids [N, V, L], V wordings of each caption."""

    latents: Tensor
    ids: Tensor


def mix(x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Noisy latents (1 - sigma) x0 + sigma noise. t: [B] or [B, F] timesteps."""
    sigma = (t / 1000).reshape(*t.shape, *[1] * (x0.dim() - t.dim()))
    return (1 - sigma) * x0 + sigma * noise


def to_x0(x: Tensor, v: Tensor, t: Tensor) -> Tensor:
    """Clean prediction x - sigma v. t: [B] or [B, F] timesteps."""
    return x - (t / 1000).reshape(*t.shape, *[1] * (x.dim() - t.dim())) * v


def guided_velocity(wan: Wan, x: Tensor, t: Tensor, text: Tensor, scale: float) -> Tensor:
    """v- + scale (v+ - v-) of a bidirectional model, positive and empty prompt in one merged batch. t: [B]."""
    both = wan.embed_text(torch.cat([text, torch.zeros_like(text)]))
    times = t[:, None].expand(-1, x.shape[1])
    with_text, without = wan(torch.cat([x, x]), torch.cat([times, times]), both).chunk(2)
    return without + scale * (with_text - without)


def euler_grid(steps: int, shift: float, through: Sequence[float] = ()) -> list[float]:
    """Falling sigmas from 1 to 0, about `steps` intervals, even in the un-shifted time; every sigma of `through` is on it."""
    stops = sorted({1.0, 0.0, *through}, reverse=True)
    unshifted = [s / (shift - (shift - 1) * s) for s in stops]
    grid = [1.0]
    for high, low, exact in zip(unshifted[:-1], unshifted[1:], stops[1:], strict=True):
        pieces = max(1, round(steps * (high - low)))
        inside = [high + (low - high) * k / pieces for k in range(1, pieces)]
        grid += [shift * u / (1 + (shift - 1) * u) for u in inside] + [exact]
    return grid


@torch.no_grad()
def euler_sample(wan: Wan, text: Tensor, noise: Tensor, *, scale: float, grid: Sequence[float],
                 keep: Sequence[float] = ()) -> tuple[Tensor, list[Tensor]]:
    """Guided Euler integration from noise [B, F, C, H, W] along `grid`: the endpoint, and the states at the sigmas in `keep`."""
    x, kept = noise, {1.0: noise}
    for high, low in zip(grid[:-1], grid[1:], strict=True):
        t = torch.full((x.shape[0],), high * 1000, device=x.device)
        x = x + (low - high) * guided_velocity(wan, x, t, text, scale)
        kept[low] = x
    return x, [kept[sigma] for sigma in keep]


class FlowMatching:
    """Recipe of the base model: velocity loss at shifted uniform times, text dropped now and then, text encoder trained along."""

    def __init__(self, wan: Wan, encoder: ToyTextEncoder, clips: CaptionedClips, settings: BaseSettings, streams: Streams,
                 compiled: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None) -> None:
        self.wan, self.encoder, self.clips, self.settings, self.streams = wan, encoder, clips, settings, streams
        self.velocity = compiled or cast(Callable[[Tensor, Tensor, Tensor], Tensor], wan)
        self.trainees = [Trainee("base", nn.ModuleDict({"wan": wan, "text": encoder}), settings.optimizer, ema=settings.ema)]

    def step(self, iteration: int, fraction: float) -> dict[str, float]:
        samples, settings = range(self.settings.batch), self.settings
        which = self.streams.choice("clip", iteration, samples, len(self.clips.latents))[:, 0]
        wording = self.streams.choice("wording", iteration, samples, self.clips.ids.shape[1])[:, 0]
        dropped = self.streams.uniform("drop", iteration, samples)[:, 0] < settings.text_dropout
        home = self.clips.latents.device
        which, wording, dropped = which.to(home), wording.to(home), dropped.to(self.streams.device)
        x0 = self.clips.latents[which].to(self.streams.device, torch.float32)
        ids = self.clips.ids[which, wording].to(self.streams.device, torch.int64)
        text = self.encoder(ids.masked_fill(dropped[:, None], 0))
        t = self.streams.timesteps("time", iteration, samples, shift=settings.shift, low=0.001, high=1.0)
        noise = self.streams.normal("noise", iteration, samples, x0.shape[1:])
        v = self.velocity(mix(x0, noise, t), t[:, None].expand(-1, x0.shape[1]), self.wan.embed_text(text))
        loss = finite((v - (noise - x0)).square().mean(), "flow-matching loss", iteration)
        loss.backward()
        return {"loss": loss.item(), **self.trainees[0].step(iteration, fraction)}
