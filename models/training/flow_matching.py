"""Flow matching of the bidirectional base model, and its guided many-step sampler.

Legend: B batch, F latent frames, C channels, H, W latent size, L text rows. Velocity v = noise - x0, sigma =
t / 1000.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.text import ToyTextEncoder
from models.training.loop import Trainee, finite
from models.training.settings import BaseSettings
from models.training.streams import Streams
from models.wan import Wan


@dataclass(frozen=True, slots=True, eq=False)
class CaptionedClips:
    """Training clips in memory. latents: [N, F, C, H, W]; ids: word ids [N, V, L], V wordings of each
    caption.
    """

    latents: Tensor
    ids: Tensor


def draw_clips(
    clips: CaptionedClips, streams: Streams, iteration: int, batch: int, dropout: float
) -> tuple[Tensor, Tensor]:
    """A batch of clips [B, F, C, H, W] and word ids [B, L], one random wording each; dropped captions are all
    padding.
    """
    samples, home = range(batch), clips.latents.device
    which = streams.choice("clip", iteration, samples, len(clips.latents))[:, 0].to(home)
    wording = streams.choice("wording", iteration, samples, clips.ids.shape[1])[:, 0].to(home)
    dropped = (streams.uniform("drop", iteration, samples)[:, 0] < dropout).to(home)
    ids = clips.ids[which, wording].to(torch.int64).masked_fill(dropped[:, None], 0)
    return clips.latents[which].to(streams.device, torch.float32), ids.to(streams.device)


def mix(x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Noisy latents (1 - sigma) x0 + sigma noise. t: [B] or [B, F] timesteps."""
    sigma = (t / 1000).reshape(*t.shape, *[1] * (x0.dim() - t.dim()))
    return (1 - sigma) * x0 + sigma * noise


def to_x0(x: Tensor, v: Tensor, t: Tensor) -> Tensor:
    """Clean prediction x - sigma v. t: [B] or [B, F] timesteps."""
    return x - (t / 1000).reshape(*t.shape, *[1] * (x.dim() - t.dim())) * v


def guided_velocity(
    wan: Wan, x: Tensor, t: Tensor, text: Tensor, scale: float, negative: Tensor | None = None
) -> Tensor:
    """v- + scale (v+ - v-) of a bidirectional model, positive and negative prompt in one merged batch. t:
    [B].

    negative: text rows [1, L, text_dim] for all; None for the empty prompt.
    """
    against = torch.zeros_like(text) if negative is None else negative.expand_as(text)
    both = wan.embed_text(torch.cat([text, against]))
    times = t[:, None].expand(-1, x.shape[1])
    with_text, without = wan(torch.cat([x, x]), torch.cat([times, times]), both).chunk(2)
    return without + scale * (with_text - without)


def euler_grid(steps: int, shift: float, through: Sequence[float] = ()) -> list[float]:
    """Falling sigmas from 1 to 0, about `steps` intervals, even in the un-shifted time; every sigma of
    `through` is on it.
    """
    stops = sorted({1.0, 0.0, *through}, reverse=True)
    unshifted = [s / (shift - (shift - 1) * s) for s in stops]
    grid = [1.0]
    for high, low, exact in zip(unshifted[:-1], unshifted[1:], stops[1:], strict=True):
        pieces = max(1, round(steps * (high - low)))
        inside = [high + (low - high) * k / pieces for k in range(1, pieces)]
        grid += [shift * u / (1 + (shift - 1) * u) for u in inside] + [exact]
    return grid


@torch.no_grad()
def follow(
    velocity: Callable[[Tensor, Tensor], Tensor], noise: Tensor, grid: Sequence[float]
) -> dict[float, Tensor]:
    """Euler integration of velocity(x, t [B]) from noise [B, F, C, H, W] along falling sigmas: the state at
    every sigma of `grid`.
    """
    x, states = noise, {grid[0]: noise}
    for high, low in itertools.pairwise(grid):
        x = x + (low - high) * velocity(x, torch.full((x.shape[0],), high * 1000, device=x.device))
        states[low] = x
    return states


def euler_sample(wan: Wan, text: Tensor, noise: Tensor, *, scale: float, steps: int, shift: float) -> Tensor:
    """The base model's sampler: `steps` guided Euler steps from noise [B, F, C, H, W] to clean latents."""

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return guided_velocity(wan, x, t, text, scale)

    return follow(velocity, noise, euler_grid(steps, shift))[0.0]


class FlowMatching:
    """Recipe of the base model: velocity loss at shifted uniform times, text dropped now and then, text
    encoder trained along.
    """

    def __init__(
        self,
        wan: Wan,
        encoder: ToyTextEncoder,
        clips: CaptionedClips,
        settings: BaseSettings,
        streams: Streams,
    ) -> None:
        self.wan, self.encoder, self.clips, self.settings, self.streams = (
            wan,
            encoder,
            clips,
            settings,
            streams,
        )
        self.trainees = [
            Trainee(
                "base", nn.ModuleDict({"wan": wan, "text": encoder}), settings.optimizer, ema=settings.ema
            )
        ]

    def step(self, iteration: int, fraction: float) -> dict[str, float]:
        settings = self.settings
        x0, ids = draw_clips(self.clips, self.streams, iteration, settings.batch, settings.text_dropout)
        samples = range(settings.batch)
        t = self.streams.timesteps("time", iteration, samples, shift=settings.shift, low=0.001, high=1.0)
        noise = self.streams.normal("noise", iteration, samples, x0.shape[1:])
        text = self.wan.embed_text(self.encoder(ids))
        v = self.wan(mix(x0, noise, t), t[:, None].expand(-1, x0.shape[1]), text)
        loss = finite((v - (noise - x0)).square().mean(), "flow-matching loss", iteration)
        loss.backward()
        return {"loss": loss.item(), **self.trainees[0].step(iteration, fraction)}
