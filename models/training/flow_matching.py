"""Flow matching of the bidirectional base model, and its guided many-step sampler.

Legend: B batch, F latent frames, C channels, H, W latent size, L tokens of a prompt. Velocity v = noise - x0,
sigma = t / 1000.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.schedule import add_noise
from models.text import ToyTextEncoder
from models.training.loop import Trainee, finite
from models.training.settings import BaseSettings, TeacherForcingSettings
from models.training.streams import Streams
from models.wan import Wan


@dataclass(frozen=True, slots=True, eq=False)
class CaptionedClips:
    """Training clips in memory. latents: [N, F, C, H, W]; ids: [N, V, L] word ids of V wordings."""

    latents: Tensor
    ids: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class NoisedBatch:
    """Clips on the way to noise. x0, noise, noisy: [B, F, C, H, W]; t: [B, F]; ids: [B, L] word ids."""

    x0: Tensor
    noise: Tensor
    noisy: Tensor
    t: Tensor
    ids: Tensor

    def velocity_loss(self, v: Tensor) -> Tensor:
        """Mean squared error of a predicted velocity [B, F, C, H, W]."""
        return (v - (self.noise - self.x0)).square().mean()


def draw_noised(
    clips: CaptionedClips, streams: Streams, iteration: int, settings: BaseSettings | TeacherForcingSettings
) -> NoisedBatch:
    """A batch of clips, each in a random wording, at a random time; dropped captions are all padding."""
    samples, home = range(settings.batch), clips.latents.device
    which = streams.choice("clip", iteration, samples, len(clips.latents))[:, 0].to(home)
    wording = streams.choice("wording", iteration, samples, clips.ids.shape[1])[:, 0].to(home)
    dropped = (streams.uniform("drop", iteration, samples)[:, 0] < settings.text_dropout).to(home)
    ids = clips.ids[which, wording].to(torch.int64).masked_fill(dropped[:, None], 0)
    x0 = clips.latents[which].to(streams.device, torch.float32)
    t = streams.timesteps("time", iteration, samples, shift=settings.shift, low=0.001, high=1.0)
    noise = streams.normal("noise", iteration, samples, x0.shape[1:])
    frames = t[:, None].expand(-1, x0.shape[1])
    return NoisedBatch(x0, noise, add_noise(x0, noise, t / 1000), frames, ids.to(streams.device))


def guided_velocity(
    wan: Wan, x: Tensor, t: Tensor, text: Tensor, scale: float, negative: Tensor | None = None
) -> Tensor:
    """v- + scale (v+ - v-) of a bidirectional model, positive and negative prompt in one merged batch. t:
    [B].

    negative: prompt embeddings [1, L, text_dim] for all; None for the empty prompt.
    """
    against = torch.zeros_like(text) if negative is None else negative.expand_as(text)
    both = wan.embed_text(torch.cat([text, against]))
    times = t[:, None].expand(-1, x.shape[1])
    with_text, without = wan(torch.cat([x, x]), torch.cat([times, times]), both).chunk(2)
    guided: Tensor = without + scale * (with_text - without)
    return guided


def euler_grid(steps: int, shift: float, through: Sequence[float] = ()) -> list[float]:
    """Falling sigmas from 1 to 0 in about `steps` intervals, even un-shifted, with those of `through`."""
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
    """The state at every sigma of `grid`, by Euler steps of velocity(x, t [B]) from noise [B, F, C, H, W]."""
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
    """Recipe of the base model: velocity loss at shifted uniform times; the text encoder is trained along."""

    def __init__(
        self,
        wan: Wan,
        encoder: ToyTextEncoder,
        clips: CaptionedClips,
        settings: BaseSettings,
        streams: Streams,
    ) -> None:
        self.wan, self.encoder, self.clips = wan, encoder, clips
        self.settings, self.streams = settings, streams
        both = nn.ModuleDict({"wan": wan, "text": encoder})
        self.trainees = [Trainee("base", both, settings.optimizer, ema_decay=settings.ema)]

    def step(self, iteration: int, fraction: float) -> dict[str, float]:
        batch = draw_noised(self.clips, self.streams, iteration, self.settings)
        v = self.wan(batch.noisy, batch.t, self.wan.embed_text(self.encoder(batch.ids)))
        loss = finite(batch.velocity_loss(v), "flow-matching loss", iteration)
        torch.autograd.backward(loss)
        return {"loss": loss.item(), **self.trainees[0].step(iteration, fraction)}
