"""Diffusion forcing with DMD (CausVid): block-causal attention over noised data, every chunk at its own
timestep.

A chunk may also stay clean (timestep 0), so that the student knows the history it will see when sampling;
such chunks carry no
gradient. Source: raven.md 8.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.schedule import Step
from models.training.distributed import ALONE, World
from models.training.dmd import Scores, rows_of
from models.training.loop import Trainee
from models.training.settings import DmdSettings
from models.training.streams import Streams
from models.wan import Wan


class DiffusionForcing:
    """Recipe: student predictions on noised data, judged by DMD; the fake score trains on those predictions.

    latents: data [N, F, C, H, W]; texts: their text rows [N, L, text_dim]; steps: noise levels a chunk may
    stand at.
    """

    def __init__(
        self,
        student: Wan,
        fake: Wan,
        teacher: Wan,
        latents: Tensor,
        texts: Tensor,
        steps: Sequence[Step],
        settings: DmdSettings,
        streams: Streams,
        world: World = ALONE,
    ) -> None:
        self.settings, self.streams, self.latents, self.texts, self.wan = (
            settings,
            streams,
            latents,
            texts,
            student,
        )
        self.world = world
        levels = [(step.timestep, step.sigma) for step in steps] + [(0.0, 0.0)]
        self.levels = torch.tensor(levels, dtype=torch.float32, device=streams.device)
        self.student = Trainee("student", student, settings.student, ema=settings.ema)
        self.scores = Scores(Trainee("fake", fake, settings.fake, ema=None), teacher, settings, streams)
        self.trainees = [self.student, self.scores.fake]

    def step(self, iteration: int, fraction: float) -> dict[str, float]:
        settings, device = self.settings, self.streams.device
        slices = self.world.share(settings.batch, settings.slices)
        mine = range(slices[0].start, slices[-1].stop)
        chosen = self.streams.choice("clip", iteration, mine, len(self.latents))[:, 0].to(self.latents.device)
        data = self.latents[chosen].to(device, torch.float32)
        text = self.texts[chosen].to(device, torch.float32)

        def predict(samples: range, rows: Tensor) -> Tensor:
            return self.predict(iteration, samples, data[rows_of(samples, slices)], rows)

        return self.scores.train_both(iteration, fraction, self.student, slices, predict, text)

    def predict(self, iteration: int, samples: range, data: Tensor, text: Tensor) -> Tensor:
        """[b, F, C, H, W] clean predictions of every chunk from its own noise level."""
        chunks = self.settings.chunks
        index = self.streams.choice("chunk level", iteration, samples, len(self.levels), len(chunks)).to(
            data.device
        )
        frames = index.repeat_interleave(torch.tensor(chunks, device=data.device), dim=1)
        t, sigma = self.levels[frames].unbind(-1)
        sigma = sigma[:, :, None, None, None]
        noise = self.streams.normal("data noise", iteration, samples, data.shape[1:])
        x = (1 - sigma) * data + sigma * noise
        return x - sigma * self.wan.block_causal(x, t, self.wan.embed_text(text), chunks=chunks)
