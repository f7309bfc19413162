"""Distribution matching distillation: the fake score's loss and the generator's gradient (raven.md 6.3 to
6.5).

Legend: B batch, F latent frames, C channels, H, W latent size, L text rows. sigma = t / 1000, x0 = x - sigma
v.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from models.training.chunk_weights import chunk_weights
from models.training.flow_matching import guided_velocity, mix, to_x0
from models.training.loop import Trainee, finite
from models.training.settings import DmdSettings
from models.training.streams import Streams
from models.wan import Wan


class GeneratorLoss(NamedTuple):
    """loss: its value means nothing, its gradient is the DMD direction. normaliser: [B] mean distance to the
    teacher's endpoint.
    """

    loss: Tensor
    normaliser: Tensor


def dmd_loss(
    x0: Tensor, fake_x0: Tensor, teacher_x0: Tensor, weights: Tensor, *, norm_min: float = 1e-5
) -> GeneratorLoss:
    """Mean over all elements of weight (r - f)(f - x0) / norm in float64; d loss / d x0 = weight (f - r) /
    norm / count.

    x0: generator's prediction with gradient, fake_x0 (f) and teacher_x0 (r): constants, all [B, F, C, H, W];
    weights: [F].
    norm: one scalar per sample, mean |x0 - r|, at least norm_min, without gradient.
    """
    x, f, r = x0.double(), fake_x0.detach().double(), teacher_x0.detach().double()
    normaliser = (x.detach() - r).abs().flatten(1).mean(1).clamp_min(norm_min)
    elements = (r - f) * (f - x) / normaliser[:, None, None, None, None]
    return GeneratorLoss((elements * weights.double()[:, None, None, None]).mean(), normaliser)


def fake_score_loss(fake: Wan, endpoints: Tensor, noise: Tensor, t: Tensor, text: Tensor) -> Tensor:
    """Mean squared velocity error of the fake score on the generator's clips. t: [B], one time for the whole
    clip.
    """
    x = mix(endpoints, noise, t)
    v = fake(x, t[:, None].expand(-1, x.shape[1]), fake.embed_text(text))
    return (v - (noise - endpoints)).square().mean()


def frame_weights(settings: DmdSettings, device: torch.device) -> Tensor:
    """[F] weight of every latent frame's generator loss."""
    per_chunk = chunk_weights(settings.chunks, settings.chunk_weighting)
    return torch.tensor(
        [w for w, n in zip(per_chunk, settings.chunks, strict=True) for _ in range(n)], device=device
    )


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The two networks that judge a generator: the trained fake score and the frozen teacher, and how they
    are asked.

    negative: text rows [1, L, text_dim] that the teacher is guided away from; None for the empty prompt.
    """

    fake: Trainee
    teacher: Wan
    settings: DmdSettings
    streams: Streams
    negative: Tensor | None = None

    @property
    def network(self) -> Wan:
        module = self.fake.module
        assert isinstance(module, Wan), f"the fake score is a {type(module).__name__}"
        return module

    def train_both(
        self,
        iteration: int,
        fraction: float,
        student: Trainee,
        slices: Sequence[range],
        predict: Callable[[range, Tensor], Tensor],
        text: Tensor,
    ) -> dict[str, float]:
        """One iteration of a student that predicts while it is trained: generator step if due, then the fake
        phase.

        slices, text: samples of this process, and their text rows [n, L, text_dim].

        predict: (samples, their text rows) -> clean predictions [b, F, C, H, W], with gradient where one is
        asked for.
        """
        due = generator_due(iteration, self.settings.fake_updates)
        weights = frame_weights(self.settings, self.streams.device)
        made, total, distance = [], 0.0, 0.0
        for samples in slices:
            rows, share = text[rows_of(samples, slices)], len(samples) / len(text)
            with torch.set_grad_enabled(due):
                x0 = predict(samples, rows)
            made.append(x0.detach())
            if due:
                loss = self.generator_loss(iteration, samples, x0, rows, weights)
                (finite(loss.loss, "generator loss", iteration) * share).backward()
                total += loss.loss.item() * share
                distance += loss.normaliser.mean().item() * share
        metrics: dict[str, float] = {}
        if due:
            metrics = {
                "generator_loss": total,
                "teacher_distance": distance,
                **student.step(iteration, fraction),
            }
        return {**self.train_fake(iteration, fraction, slices, torch.cat(made), text), **metrics}

    def train_fake(
        self, iteration: int, fraction: float, slices: Sequence[range], endpoints: Tensor, text: Tensor
    ) -> dict[str, float]:
        """Fake phase: one optimizer step on the generator's clips [n, F, C, H, W], gradients added up over
        slices of samples.
        """
        total = 0.0
        for samples in slices:
            piece = rows_of(samples, slices)
            t = self._timesteps("fake time", iteration, samples)
            noise = self.streams.normal("fake noise", iteration, samples, endpoints.shape[1:])
            loss = fake_score_loss(self.network, endpoints[piece], noise, t, text[piece]) * (
                len(samples) / len(endpoints)
            )
            finite(loss, "fake-score loss", iteration).backward()
            total += loss.item()
        return {"fake_loss": total, **self.fake.step(iteration, fraction)}

    def generator_loss(
        self, iteration: int, samples: range, x0: Tensor, text: Tensor, weights: Tensor
    ) -> GeneratorLoss:
        """The DMD loss of the predictions x0 [b, F, C, H, W] (with gradient) of some samples; scores run
        without gradient.
        """
        t = self._timesteps("score time", iteration, samples)
        noise = self.streams.normal("score noise", iteration, samples, x0.shape[1:])
        with torch.no_grad():
            x = mix(x0.detach(), noise, t)
            fake_v = self.network(x, t[:, None].expand(-1, x.shape[1]), self.network.embed_text(text))
            teacher_v = guided_velocity(self.teacher, x, t, text, self.settings.guidance, self.negative)
        return dmd_loss(
            x0, to_x0(x, fake_v, t), to_x0(x, teacher_v, t), weights, norm_min=self.settings.norm_min
        )

    def _timesteps(self, purpose: str, iteration: int, samples: range) -> Tensor:
        low, high = self.settings.score_range
        return self.streams.timesteps(
            purpose, iteration, samples, shift=self.settings.score_shift, low=low, high=high
        )


def rows_of(samples: range, slices: Sequence[range]) -> slice:
    """Where samples lie in a tensor that holds the samples of `slices`, which are consecutive."""
    return slice(samples.start - slices[0].start, samples.stop - slices[0].start)


def generator_due(iteration: int, fake_updates: int) -> bool:
    """Whether the generator is trained in this iteration (counted from 0): every `fake_updates`-th one."""
    return (iteration + 1) % fake_updates == 0
