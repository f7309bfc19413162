"""Distribution matching distillation: the fake score's loss and the generator's gradient.

Source: models/training/methods.md#distribution-matching-loss. Legend: B batch, n samples of this process, F
latent frames, C channels, H, W latent size, L tokens of a prompt. sigma = t / 1000, x0 = x - sigma v.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from models.schedule import add_noise, to_x0
from models.training.chunk_weights import frame_weights
from models.training.data_parallel import rows_of
from models.training.flow_matching import guided_velocity
from models.training.loop import Trainee, finite
from models.training.settings import DmdSettings
from models.training.streams import Streams
from models.wan import Wan


class GeneratorLoss(NamedTuple):
    """loss: only its gradient means something, the DMD direction. normaliser: [B] distance to the teacher."""

    loss: Tensor
    normaliser: Tensor


def dmd_loss(
    x0: Tensor, fake_x0: Tensor, teacher_x0: Tensor, weights: Tensor, *, norm_min: float = 1e-5
) -> GeneratorLoss:
    """Mean over all elements of weight (r - f)(f - x0) / norm, in float64.

    Its gradient d loss / d x0 is weight (f - r) / norm / count. x0: the generator's prediction, with
    gradient; fake_x0 (f), teacher_x0 (r): constants; all [B, F, C, H, W]. weights: [F]. norm: mean |x0 - r|
    of a sample, at least norm_min, without gradient.
    """
    x, f, r = x0.double(), fake_x0.detach().double(), teacher_x0.detach().double()
    normaliser = (x.detach() - r).abs().flatten(1).mean(1).clamp_min(norm_min)
    elements = (r - f) * (f - x) / normaliser[:, None, None, None, None]
    return GeneratorLoss((elements * weights.double()[:, None, None, None]).mean(), normaliser)


def fake_score_loss(fake: Wan, endpoints: Tensor, noise: Tensor, t: Tensor, text: Tensor) -> Tensor:
    """Mean squared velocity error of the fake score on the generator's clips. t: [B], one time a clip."""
    x = add_noise(endpoints, noise, t / 1000)
    v: Tensor = fake(x, t[:, None].expand(-1, x.shape[1]), fake.embed_text(text))
    return (v - (noise - endpoints)).square().mean()


class Scores:
    """The two networks that judge a generator: the trained fake score and the frozen teacher.

    negative: prompt embeddings [1, L, text_dim] that the teacher is guided away from; None for the empty
    prompt.
    """

    def __init__(
        self, fake: Wan, teacher: Wan, settings: DmdSettings, streams: Streams, negative: Tensor | None = None
    ) -> None:
        self.network, self.teacher, self.negative = fake, teacher, negative
        self.settings, self.streams = settings, streams
        self.fake = Trainee("fake", fake, settings.fake, ema_decay=None)
        weights = frame_weights(settings.chunks, settings.chunk_weighting)
        self.weights = torch.tensor(weights, device=streams.device)

    def train_both(
        self,
        iteration: int,
        fraction: float,
        student: Trainee,
        micro_batches: Sequence[range],
        predict: Callable[[range, Tensor], Tensor],
        text: Tensor,
    ) -> dict[str, float]:
        """One iteration of a student that predicts while it is trained; the fake score trains on the
        predictions.

        The arguments are those of `train_student`.
        """
        if generator_due(iteration, self.settings.fake_updates):
            metrics, made = self.train_student(iteration, fraction, student, micro_batches, predict, text)
        else:
            with torch.no_grad():
                pieces = [
                    predict(samples, text[rows_of(samples, micro_batches)]) for samples in micro_batches
                ]
            metrics, made = {}, torch.cat(pieces)
        return {**self.train_fake(iteration, fraction, micro_batches, made, text), **metrics}

    def train_student(
        self,
        iteration: int,
        fraction: float,
        student: Trainee,
        micro_batches: Sequence[range],
        predict: Callable[[range, Tensor], Tensor],
        text: Tensor,
    ) -> tuple[dict[str, float], Tensor]:
        """Generator phase: one optimizer step of the student; returns metrics, and predictions without
        gradient.

        micro_batches, text: samples of this process, and their prompt embeddings [n, L, text_dim]. predict:
        (samples, their prompt embeddings) -> clean predictions [b, F, C, H, W] with gradient.
        """
        made, total, distance = [], 0.0, 0.0
        for samples in micro_batches:
            rows, part = text[rows_of(samples, micro_batches)], len(samples) / len(text)
            x0 = predict(samples, rows)
            made.append(x0.detach())
            loss = self.generator_loss(iteration, samples, x0, rows)
            torch.autograd.backward(finite(loss.loss, "generator loss", iteration) * part)
            total += loss.loss.item() * part
            distance += loss.normaliser.mean().item() * part
        metrics = {"generator_loss": total, "teacher_distance": distance, **student.step(iteration, fraction)}
        return metrics, torch.cat(made)

    def train_fake(
        self, iteration: int, fraction: float, micro_batches: Sequence[range], endpoints: Tensor, text: Tensor
    ) -> dict[str, float]:
        """Fake phase: one optimizer step on the generator's clips [n, F, C, H, W]."""
        total = 0.0
        for samples in micro_batches:
            piece = rows_of(samples, micro_batches)
            t = self._timesteps("fake time", iteration, samples)
            noise = self.streams.normal("fake noise", iteration, samples, endpoints.shape[1:])
            loss = fake_score_loss(self.network, endpoints[piece], noise, t, text[piece])
            loss = loss * (len(samples) / len(endpoints))
            torch.autograd.backward(finite(loss, "fake-score loss", iteration))
            total += loss.item()
        return {"fake_loss": total, **self.fake.step(iteration, fraction)}

    def generator_loss(self, iteration: int, samples: range, x0: Tensor, text: Tensor) -> GeneratorLoss:
        """The DMD loss of predictions x0 [b, F, C, H, W] with gradient; the two scores run without."""
        t = self._timesteps("score time", iteration, samples)
        noise = self.streams.normal("score noise", iteration, samples, x0.shape[1:])
        with torch.no_grad():
            x = add_noise(x0.detach(), noise, t / 1000)
            fake_v = self.network(x, t[:, None].expand(-1, x.shape[1]), self.network.embed_text(text))
            teacher_v = guided_velocity(self.teacher, x, t, text, self.settings.guidance, self.negative)
            fake_x0, teacher_x0 = to_x0(x, fake_v, t / 1000), to_x0(x, teacher_v, t / 1000)
        return dmd_loss(x0, fake_x0, teacher_x0, self.weights, norm_min=self.settings.norm_min)

    def _timesteps(self, purpose: str, iteration: int, samples: range) -> Tensor:
        low, high = self.settings.score_range
        shift = self.settings.score_shift
        return self.streams.timesteps(purpose, iteration, samples, shift=shift, low=low, high=high)


def generator_due(iteration: int, fake_updates: int) -> bool:
    """Whether the generator is trained in this iteration, counted from 0: in every `fake_updates`-th one."""
    return (iteration + 1) % fake_updates == 0
