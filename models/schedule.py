"""Few-step flow-matching schedules: which timesteps the network sees, and how latents move between them.

Noise level sigma: x_t = (1 - sigma) * x0 + sigma * noise, velocity v = noise - x0, timestep about 1000 *
sigma. Steps are carried as indices 0..num_steps - 1 and never recovered from float timesteps. Legend: B
batch, F latent frames, C channels, H, W latent size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

NUM_TRAIN_STEPS = 1000
CPU = torch.device("cpu")
"""Where schedules are computed: a GPU divides by 1000 otherwise (833 / 1000 is one bit off)."""
DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}


def to_x0(x: Tensor, v: Tensor, sigma: Tensor) -> Tensor:
    """Clean latents x - sigma * v. x, v: [B, F, C, H, W]; sigma: [B] of clips, or [B, F] of frames."""
    return x - _over_latents(sigma, x) * v


def add_noise(x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """Noisy latents (1 - sigma) * x0 + sigma * noise. x0, noise: [B, F, C, H, W]; sigma: [B] or [B, F]."""
    level = _over_latents(sigma, x0)
    return (1 - level) * x0 + level * noise


def _over_latents(sigma: Tensor, latents: Tensor) -> Tensor:
    return sigma.reshape(*sigma.shape, *[1] * (latents.dim() - sigma.dim()))


class SigmaTable(NamedTuple):
    """Noise levels of the 1000 training steps, noisiest first, and their timesteps; float32."""

    sigmas: Tensor
    timesteps: Tensor


def sigma_table(shift: float) -> SigmaTable:
    """shift * s / (1 + (shift - 1) * s) of s = 1, .999, ..., .001, computed in float32 on the CPU
    (models/backbone.md#noise-schedule).
    """
    s = torch.linspace(1, 0, NUM_TRAIN_STEPS + 1, dtype=torch.float32, device=CPU)[:-1]
    sigmas = shift * s / (1 + (shift - 1) * s)
    return SigmaTable(sigmas, sigmas * NUM_TRAIN_STEPS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One denoising step."""

    timestep: float
    """What the network is told, in 0..1000."""
    sigma: float
    """The noise level of the latents: a float32 value where it comes from a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The steps of one method and the precision of its arithmetic, rounded once, to the latents' dtype."""

    noisy_end: ClassVar[bool] = False
    """Whether the last step adds noise too, so that what a rollout makes is not its last clean prediction."""

    steps: tuple[Step, ...]
    x0_dtype: torch.dtype = torch.float64
    """Precision of `to_x0`."""
    add_noise_dtype: torch.dtype = torch.float32
    """Precision of `add_noise`."""

    @property
    def num_steps(self) -> int:
        return len(self.steps)

    @property
    def timesteps(self) -> tuple[float, ...]:
        return tuple(step.timestep for step in self.steps)

    @property
    def sigmas(self) -> tuple[float, ...]:
        return tuple(step.sigma for step in self.steps)

    def frame_timesteps(self, steps: Sequence[int], batch: int, device: torch.device) -> Tensor:
        """[B, F] float32 timesteps of frames at these step indices, the same for every sample."""
        row = _constants(tuple(self.steps[k].timestep for k in steps), torch.float32, device)
        return row.expand(batch, -1)

    def start(self, noise: Tensor) -> Tensor:
        """Latents [B, F, C, H, W] to begin with: the noise itself, or as much of it as a first level below 1
        says."""
        if self.sigmas[0] == 1:
            return noise
        return (self._sigma(0, noise, self.add_noise_dtype)[..., None, None, None] * noise).to(noise.dtype)

    def to_x0(self, x: Tensor, v: Tensor, steps: int | Sequence[int]) -> Tensor:
        """Clean latents x - sigma * v, in x's dtype [B, F, C, H, W]; steps: one index, or one a frame."""
        sigma = self._sigma(steps, x, self.x0_dtype)
        return to_x0(x.to(self.x0_dtype), v.to(self.x0_dtype), sigma).to(x.dtype)

    def add_noise(self, x0: Tensor, noise: Tensor, steps: int | Sequence[int]) -> Tensor:
        """Clean latents put back at the noise of `steps` (one index, or one per frame), in x0's dtype.

        x0, noise: [B, F, C, H, W]. Index num_steps stands for no noise and returns x0.
        """
        sigma = self._sigma(steps, x0, self.add_noise_dtype)
        return add_noise(x0.to(self.add_noise_dtype), noise.to(self.add_noise_dtype), sigma).to(x0.dtype)

    def advance(self, x_t: Tensor, x0: Tensor, noise: Tensor, step: int) -> Tensor:  # noqa: ARG002 (other samplers need x_t)
        """Latents after `step`: x0, predicted there from x_t, at the next step's noise. [B, F, C, H, W]."""
        return self.add_noise(x0, noise, step + 1)

    def transition(self, x_t: Tensor, x0: Tensor, step: Tensor) -> Transition:  # noqa: ARG002 (as above)
        """The Gaussian that `advance` draws from, each sample at a step of its own.

        x_t, x0: [B, F, C, H, W] state and clean prediction; step: [B] whole numbers.
        """
        sigma = self._levels(step + 1, x0)
        return Transition(mean=(1 - sigma) * x0, std=sigma)

    def _levels(self, index: Tensor, like: Tensor) -> Tensor:
        """[B, 1, 1, 1, 1] float32 noise levels; index num_steps is 0."""
        return _constants((*self.sigmas, 0.0), torch.float32, like.device)[index][:, None, None, None, None]

    def _sigma(self, steps: int | Sequence[int], like: Tensor, dtype: torch.dtype) -> Tensor:
        """[1, F or 1] noise levels."""
        indices = [steps] if isinstance(steps, int) else steps
        assert len(indices) in (1, like.shape[1]), f"{len(indices)} step indices for {like.shape[1]} frames"
        levels = (*self.sigmas, 0.0)
        return _constants(tuple(levels[k] for k in indices), dtype, like.device)[None]


@lru_cache(maxsize=256)
def _constants(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The numbers as a tensor never written to: a copy to a GPU would wait for its work."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=torch.float64, device=CPU).to(dtype).to(device)


class Transition(NamedTuple):
    """N(mean, std^2) of the next state. mean: [B, F, C, H, W]; std: [B, 1, 1, 1, 1], 0: no density."""

    mean: Tensor
    std: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class EulerMaruyama(Schedule):
    """Stochastic Euler steps in place of consistency steps: the sampler of FlowGRPO
    (models/training/methods.md#flowgrpo).

    noise_level: a of the diffusion g^2 = a^2 sigma (1 + sigma / (1 - min(sigma, sigma_max))), which is a^2
    sigma / (1 - sigma) below
    sigma_max. sigma_max: below 1; at 1, as released configs leave it, 1 / (1 - sigma) is 1e6 at the first
    step, which then multiplies the noise by -309 at a = 0.1. Flow-GRPO's own regularised form, sigma / (1 -
    sigma_max), has 3 % less deviation there.
    """

    noisy_end: ClassVar[bool] = True

    noise_level: float
    sigma_max: float

    def advance(self, x_t: Tensor, x0: Tensor, noise: Tensor, step: int) -> Tensor:
        taken = self.transition(x_t, x0, torch.full((len(x_t),), step, device=x_t.device))
        return (taken.mean + taken.std * noise).to(x0.dtype)

    def transition(self, x_t: Tensor, x0: Tensor, step: Tensor) -> Transition:
        sigma, following = self._levels(step, x0), self._levels(step + 1, x0)
        length = sigma - following
        velocity = (x_t - x0) / sigma
        noise = x_t + (1 - sigma) * velocity
        clean_share = (1 - sigma.clamp_max(self.sigma_max)).clamp_min(1e-6)
        diffusion = self.noise_level**2 * sigma * (1 + sigma / clean_share)
        mean = x_t - length * (velocity + 0.5 * diffusion * noise / sigma)
        return Transition(mean, (diffusion * length).sqrt())


def build_schedule(
    steps: Sequence[int],
    *,
    shift: float,
    warp: bool,
    timestep_dtype: Literal["int64", "float32"],
    sigma: Literal["table", "timestep"],
    x0_dtype: Literal["float64", "float32"],
    add_noise_dtype: Literal["float64", "float32"],
) -> Schedule:
    """The schedule a baseline's settings describe.

    steps: configured list, falling, each in 1..1000. warp: read it through the shifted table (step 750 of
    shift 5 becomes 937.5) instead of feeding it as it stands. timestep_dtype "int64" rounds half to even.
    sigma: "table" takes the level of the nearest timestep of the table (the first of equals), "timestep"
    takes timestep / 1000. Raises ValueError if the list does not fall or leaves 1..1000.
    """
    if (
        not steps
        or list(steps) != sorted(set(steps), reverse=True)
        or not 1 <= steps[-1] <= steps[0] <= NUM_TRAIN_STEPS
    ):
        raise ValueError(
            f"schedule: steps {list(steps)} must fall strictly within 1000..1; correct the list."
        )
    table = sigma_table(shift)
    if warp:
        places = NUM_TRAIN_STEPS - torch.tensor(steps, device=CPU)
        timesteps = torch.cat([table.timesteps, torch.zeros(1, device=CPU)])[places]
    else:
        timesteps = torch.tensor(steps, dtype=torch.float32, device=CPU)
    if timestep_dtype == "int64":
        timesteps = timesteps.round()
    found: list[Step] = []
    for timestep in timesteps:
        level = timestep / NUM_TRAIN_STEPS
        if sigma == "table":
            level = table.sigmas[int((table.timesteps - timestep).abs().argmin())]
        found.append(Step(timestep=timestep.item(), sigma=level.item()))
    return Schedule(steps=tuple(found), x0_dtype=DTYPES[x0_dtype], add_noise_dtype=DTYPES[add_noise_dtype])


def level_schedule(
    levels: Sequence[float | str],
    *,
    timestep_dtype: Literal["int64", "float32", "bfloat16"],
    x0_dtype: Literal["float64", "float32"],
    add_noise_dtype: Literal["float64", "float32"],
) -> Schedule:
    """The schedule of noise levels that are given directly, as float64 (baselines/methods.md#causal-rcm).

    levels: falling, each in (0, 1]; a text such as "15/16" is a fraction. The network is told 1000 times the
    level in timestep_dtype, both of which round half to even.
    """
    exact = torch.tensor([float(Fraction(level)) for level in levels], dtype=torch.float64, device=CPU)
    told = exact * NUM_TRAIN_STEPS
    told = told.round() if timestep_dtype == "int64" else told.to(DTYPES[timestep_dtype])
    steps = tuple(Step(timestep=t, sigma=s) for t, s in zip(told.tolist(), exact.tolist(), strict=True))
    return Schedule(steps=steps, x0_dtype=DTYPES[x0_dtype], add_noise_dtype=DTYPES[add_noise_dtype])


def training_timesteps(
    count: int, *, generator: torch.Generator, shift: float = 5.0, low: float = 0.02, high: float = 0.98
) -> Tensor:
    """[count] int64 timesteps of score and fake-score training, 20..980 by default
    (models/backbone.md#training-timesteps).

    Uniform in float64, shifted, scaled to low..high, times 1000, rounded half to even. On the generator's
    device.
    """
    u = torch.rand(count, dtype=torch.float64, generator=generator, device=generator.device)
    shifted = shift * u / (1 + (shift - 1) * u)
    return ((shifted * (high - low) + low) * NUM_TRAIN_STEPS).round().to(torch.int64)
