"""RAVEN: distribution matching with training-time test (raven.md 6).

A rollout of the student gives endpoints and noisy states, both constants; one interleaved forward replays the states of a random
step against the clean history, with gradient through the history's keys and values, and is judged by DMD.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from models.noise import LatentShape
from models.training.distributed import ALONE, World
from models.training.dmd import Scores, frame_weights, generator_due, rows_of
from models.training.flow_matching import to_x0
from models.training.loop import Trainee, finite
from models.training.prompts import PromptPool
from models.training.rollouts import Trajectory, consistency_rollout, trajectory
from models.training.settings import DmdSettings
from models.training.streams import StreamNoise, Streams
from models.wan import Wan


class Raven:
    """Recipe: fake score every iteration, student every `fake_updates`-th, a fresh rollout of the current student each time.

    texts: pool of text rows [P, L, text_dim] that prompts are drawn from; negative: see `Scores`; shape: (F, C, H, W) of a clip. world: the processes
    that share every batch; each rolls out and judges samples of its own.
    """

    def __init__(
        self,
        student: Wan,
        fake: Wan,
        teacher: Wan,
        texts: Tensor | PromptPool,
        shape: LatentShape,
        settings: DmdSettings,
        streams: Streams,
        world: World = ALONE,
        negative: Tensor | None = None,
    ) -> None:
        self.settings, self.streams, self.texts, self.shape, self.wan = (
            settings,
            streams,
            texts,
            shape,
            student,
        )
        self.student = Trainee("student", student, settings.student, ema=settings.ema)
        self.world = world
        judge = Trainee("fake", fake, settings.fake, ema=None)
        self.scores = Scores(judge, teacher, settings, streams, negative)
        self.trainees = [self.student, self.scores.fake]
        self.weights = frame_weights(settings, streams.device)
        self.rollout = consistency_rollout(
            settings.timesteps, settings.chunks, sink=settings.sink, window=settings.window
        )

    def step(self, iteration: int, fraction: float) -> dict[str, float]:
        slices = self.world.share(self.settings.batch, self.settings.slices)
        mine = range(slices[0].start, slices[-1].stop)
        chosen = self.streams.choice("prompt", iteration, mine, len(self.texts))[:, 0]
        text = self.texts[chosen.tolist()].to(self.streams.device, torch.float32)
        rolled = [self.roll_out(iteration, samples, text[rows_of(samples, slices)]) for samples in slices]
        made = torch.cat([one.endpoints for one in rolled])
        metrics = self.scores.train_fake(iteration, fraction, slices, made, text)
        if not generator_due(iteration, self.settings.fake_updates):
            return metrics
        total, distance = 0.0, 0.0
        for samples, one in zip(slices, rolled, strict=True):
            rows, share = text[rows_of(samples, slices)], len(samples) / len(mine)
            loss = self.scores.generator_loss(
                iteration, samples, self.predict(iteration, samples, one, rows), rows, self.weights
            )
            (finite(loss.loss, "generator loss", iteration) * share).backward()
            total += loss.loss.item() * share
            distance += loss.normaliser.mean().item() * share
        return {
            **metrics,
            "generator_loss": total,
            "teacher_distance": distance,
            **self.student.step(iteration, fraction),
        }

    def roll_out(self, iteration: int, samples: range, text: Tensor) -> Trajectory:
        """All steps of all chunks of some samples, given their text rows, without gradient and without guidance."""
        noise = StreamNoise(streams=self.streams, iteration=iteration, samples=samples, shape=self.shape)
        records: Iterator = self.rollout.run(self.wan, text, noise)
        return trajectory(records, self.rollout.num_steps)

    def predict(self, iteration: int, samples: range, rolled: Trajectory, text: Tensor) -> Tensor:
        """Clean predictions with gradient at one random step per sample, from one interleaved forward."""
        step = self.streams.choice("student step", iteration, samples, self.rollout.num_steps)[:, 0].to(
            self.streams.device
        )
        times = torch.tensor(self.settings.timesteps, dtype=torch.float32, device=self.streams.device)[step]
        noisy = rolled.states[step, torch.arange(len(step), device=step.device)]
        return replay(self.wan, noisy, rolled.endpoints, times, text, self.settings)


def replay(wan: Wan, noisy: Tensor, clean: Tensor, t: Tensor, text: Tensor, settings: DmdSettings) -> Tensor:
    """Clean predictions of every chunk given the clean chunks before it. noisy, clean: [B, F, C, H, W]; t: [B]."""
    v = wan.interleaved(
        noisy,
        clean,
        t[:, None].expand(-1, noisy.shape[1]),
        wan.embed_text(text),
        chunks=settings.chunks,
        sink=settings.sink,
        window=settings.window,
    )
    return to_x0(noisy, v, t)
