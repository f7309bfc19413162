"""Distribution matching of the toy students, in the form of their own authors.

The fake score trains on the student's predictions, which carry the gradient, where RAVEN's trains on full
rollouts. Sources: models/training/methods.md#forcings, baselines/methods.md.
Legend: B batch, b samples of a micro-batch, N clips, F latent frames, C channels, H, W latent size, L tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.noise import LatentShape
from models.rollout import Rollout
from models.schedule import Step, add_noise, to_x0
from models.training.data_parallel import rows_of
from models.training.distributed import ALONE
from models.training.dmd import Scores
from models.training.loop import Trainee
from models.training.rollouts import predictions_with_gradient
from models.training.settings import DmdSettings
from models.training.streams import StreamNoise, Streams
from models.wan import Wan


class SelfForcing:
    """Recipe: DMD on the student's own rollout, under its own cache policy, with gradient in one call a
    chunk.

    Chunked rollouts stop at one random step of an iteration; rolling ones keep gradients in every S-th window
    (Rolling Forcing). The history is detached. network: the callable transformer; trained: the module whose
    parameters train, the same or its LoRA wrapper; texts: prompt embeddings [P, L, text_dim].
    """

    def __init__(
        self,
        network: Wan,
        trained: nn.Module,
        scores: Scores,
        texts: Tensor,
        shape: LatentShape,
        rollout: Rollout,
        settings: DmdSettings,
        streams: Streams,
    ) -> None:
        self.wan, self.scores, self.texts, self.shape, self.rollout = network, scores, texts, shape, rollout
        self.settings, self.streams = settings, streams
        self.student = Trainee("student", trained, settings.student, ema_decay=settings.ema)
        self.trainees = [self.student, scores.fake]

    def step(self, iteration: int, fraction: float) -> dict[str, float]:
        batches = ALONE.split(self.settings.batch, self.settings.micro_batches)
        samples = range(self.settings.batch)
        chosen = self.streams.choice("prompt", iteration, samples, len(self.texts))[:, 0]
        text = self.texts[chosen.tolist()].to(self.streams.device, torch.float32)
        stop = int(self.streams.choice("exit step", iteration, [0], self.rollout.num_steps)[0, 0])

        def predict(samples: range, rows: Tensor) -> Tensor:
            noise = StreamNoise(streams=self.streams, iteration=iteration, samples=samples, shape=self.shape)
            return predictions_with_gradient(self.rollout.run(self.wan, rows, noise, grad_at=stop))

        return self.scores.train_both(iteration, fraction, self.student, batches, predict, text)


class DiffusionForcing:
    """Recipe: block-causal attention over noised data, every chunk at its own timestep (CausVid).

    A chunk may also stay clean, at timestep 0, so that the student knows the history it will see when
    sampling; such chunks carry no gradient. latents: data [N, F, C, H, W]; texts: their prompt embeddings [N,
    L, text_dim]; steps: noise levels that a chunk may stand at.
    """

    def __init__(
        self,
        student: Wan,
        scores: Scores,
        latents: Tensor,
        texts: Tensor,
        steps: Sequence[Step],
        settings: DmdSettings,
        streams: Streams,
    ) -> None:
        self.wan, self.scores, self.latents, self.texts = student, scores, latents, texts
        self.settings, self.streams = settings, streams
        levels = [(step.timestep, step.sigma) for step in steps] + [(0.0, 0.0)]
        self.levels = torch.tensor(levels, dtype=torch.float32, device=streams.device)
        self.student = Trainee("student", student, settings.student, ema_decay=settings.ema)
        self.trainees = [self.student, scores.fake]

    def step(self, iteration: int, fraction: float) -> dict[str, float]:
        batches, device = ALONE.split(self.settings.batch, self.settings.micro_batches), self.streams.device
        samples = range(self.settings.batch)
        chosen = self.streams.choice("clip", iteration, samples, len(self.latents))[:, 0].to(
            self.latents.device
        )
        data = self.latents[chosen].to(device, torch.float32)
        text = self.texts[chosen].to(device, torch.float32)

        def predict(samples: range, rows: Tensor) -> Tensor:
            return self.predict(iteration, samples, data[rows_of(samples, batches)], rows)

        return self.scores.train_both(iteration, fraction, self.student, batches, predict, text)

    def predict(self, iteration: int, samples: range, data: Tensor, text: Tensor) -> Tensor:
        """[b, F, C, H, W] clean predictions of every chunk from its own noise level."""
        chunks, device = self.settings.chunks, data.device
        index = self.streams.choice("chunk level", iteration, samples, len(self.levels), len(chunks))
        frames = index.to(device).repeat_interleave(torch.tensor(chunks, device=device), dim=1)
        t, sigma = self.levels[frames].unbind(-1)
        x = add_noise(data, self.streams.normal("data noise", iteration, samples, data.shape[1:]), sigma)
        return to_x0(x, self.wan.block_causal(x, t, self.wan.embed_text(text), chunks=chunks), sigma)
