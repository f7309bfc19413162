"""Random numbers of training, keyed by (seed, purpose, iteration, global sample index).

Two runs that split the same batch otherwise draw the same numbers for each sample, and a resumed run
continues exactly (models/training/methods.md#noise-streams). Legend: F latent frames, C channels, H, W latent
size.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.noise import DrawnWhole, JointWindow, LatentShape
from models.schedule import training_timesteps
from models.transfer import upload


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """Keyed random streams. device: where the numbers are wanted.

    per_sample True: one CPU stream for each sample, the same under any split. False: one stream for each call
    on `device`, keyed by its first sample: much faster for the large batches of a GPU, but a draw then
    depends on how the batch is split.
    """

    seed: int
    device: torch.device
    per_sample: bool = True

    def generator(self, purpose: str, *numbers: int, device: torch.device | None = None) -> torch.Generator:
        """A fresh generator that depends on the key alone."""
        key = hashlib.sha256(json.dumps([self.seed, purpose, *numbers]).encode()).digest()
        return torch.Generator(device or torch.device("cpu")).manual_seed(int.from_bytes(key[:8], "big") >> 1)

    def normal(
        self, purpose: str, iteration: int, samples: Sequence[int], shape: Sequence[int], *key: int
    ) -> Tensor:
        """[len(samples), *shape] standard normals, float32."""
        if not self.per_sample:
            generator = self.generator(purpose, iteration, samples[0], *key, device=self.device)
            return torch.randn((len(samples), *shape), generator=generator, device=self.device)
        generators = (self.generator(purpose, iteration, one, *key) for one in samples)
        drawn = torch.stack([torch.randn(tuple(shape), generator=one) for one in generators])
        return upload(drawn, self.device)

    def uniform(self, purpose: str, iteration: int, samples: Sequence[int], count: int = 1) -> Tensor:
        """[len(samples), count] numbers in [0, 1), float64, on the CPU."""
        if not self.per_sample:
            first = self.generator(purpose, iteration, samples[0])
            return torch.rand(len(samples), count, dtype=torch.float64, generator=first)
        generators = (self.generator(purpose, iteration, one) for one in samples)
        return torch.stack([torch.rand(count, dtype=torch.float64, generator=one) for one in generators])

    def choice(
        self, purpose: str, iteration: int, samples: Sequence[int], high: int, count: int = 1
    ) -> Tensor:
        """[len(samples), count] whole numbers uniform in 0..high-1, on the CPU."""
        return (self.uniform(purpose, iteration, samples, count) * high).long().clamp_max(high - 1)

    def timesteps(
        self, purpose: str, iteration: int, samples: Sequence[int], *, shift: float, low: float, high: float
    ) -> Tensor:
        """[n] whole timesteps, float32, on `device` (models/backbone.md#training-timesteps)."""
        pieces = [[one] for one in samples] if self.per_sample else [samples]
        drawn = [
            training_timesteps(
                len(piece),
                generator=self.generator(purpose, iteration, piece[0]),
                shift=shift,
                low=low,
                high=high,
            )
            for piece in pieces
        ]
        return torch.cat(drawn).float().to(self.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamNoise(DrawnWhole):
    """The noise of one training rollout as a NoiseSource (models/noise.py), drawn from keyed streams.

    sharing: how many consecutive samples start from the same initial noise; later draws are their own.
    """

    streams: Streams
    iteration: int
    samples: Sequence[int]
    shape: LatentShape
    sharing: int = 1

    def initial(self) -> Tensor:
        starts = sorted({sample // self.sharing for sample in self.samples})
        drawn = self.streams.normal("initial", self.iteration, starts, self.shape)
        return drawn[[starts.index(sample // self.sharing) for sample in self.samples]]

    def draw_renoise(self, chunk: int, step: int, frames: int, window: JointWindow | None) -> Tensor:  # noqa: ARG002 (NoiseSource takes it)
        shape = (frames, *self.shape[1:])
        return self.streams.normal("renoise", self.iteration, self.samples, shape, chunk, step)
