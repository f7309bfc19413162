"""RAVEN: distribution matching with training-time test (raven.md 6), and the forcings it is compared with
(raven.md 8).

A rollout of the student gives endpoints and noisy states, both constants; one interleaved forward replays the
states of a random step against the clean history, with gradient through the history's keys and values, and is
judged by DMD. The ablations change what that forward is given; rollouts, fake score and loss are the same.

Legend: B batch, b samples of a slice, F latent frames, C channels, H, W latent size, K chunks, L text rows.
"""

from typing import Protocol

import torch
from torch import Tensor

from models.noise import LatentShape
from models.training.distributed import ALONE, World, gathered
from models.training.dmd import Scores, frame_weights, generator_due, rows_of
from models.training.flow_matching import mix, to_x0
from models.training.loop import Trainee, finite
from models.training.prompts import PromptPool
from models.training.rollouts import Trajectory, consistency_rollout, replay_cached, trajectory
from models.training.settings import DmdSettings
from models.training.streams import StreamNoise, Streams
from models.wan import Wan


class LatentPool(Protocol):
    """Latents of real clips, read when they are drawn: pool[indices] is [n, F, C, H, W]."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: list[int]) -> Tensor: ...


class Raven:
    """Recipe: fake score every iteration, student every `fake_updates`-th, a fresh rollout of the current
    student each time.

    texts: pool of text rows [P, L, text_dim] that prompts are drawn from; negative: see `Scores`; shape: (F,
    C, H, W) of a clip. world: the processes that share every batch; each rolls out and judges samples of its
    own. latents: real clips, one for each of the texts, which are their captions; for forcings that use them.
    Raises ValueError if such a forcing has none.
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
        latents: Tensor | LatentPool | None = None,
    ) -> None:
        held = 0 if latents is None else len(latents)
        if held != (len(texts) if settings.uses_data else 0):
            raise ValueError(
                f"RAVEN with {settings.forcing} got {held} real clips and {len(texts)} texts; "
                "teacher_forcing and diffusion_forcing need one clip for each caption, and other forcings "
                "none."
            )
        self.latents = latents
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
        real = None if self.latents is None else self.latents[chosen.tolist()].to(text)
        total, distance = 0.0, 0.0
        for samples, one in zip(slices, rolled, strict=True):
            piece, share = rows_of(samples, slices), len(samples) / len(mine)
            rows, data = text[piece], None if real is None else real[piece]
            loss = self.scores.generator_loss(
                iteration, samples, self.predict(iteration, samples, one, rows, data), rows, self.weights
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
        """All steps of all chunks of some samples, given their text rows, without gradient and without
        guidance.
        """
        noise = StreamNoise(streams=self.streams, iteration=iteration, samples=samples, shape=self.shape)
        with gathered(self.wan):
            return trajectory(self.rollout.run(self.wan, text, noise), self.rollout.num_steps)

    def predict(
        self, iteration: int, samples: range, rolled: Trajectory, text: Tensor, data: Tensor | None = None
    ) -> Tensor:
        """[b, F, C, H, W] clean predictions with gradient, of every chunk, at one random step per sample (in
        diffusion forcing per chunk).

        data: real clips [b, F, C, H, W] of the samples, where the forcing uses them.
        """
        settings, wan, device = self.settings, self.wan, self.streams.device
        levels = torch.tensor(settings.timesteps, dtype=torch.float32, device=device)
        if settings.forcing.startswith("diffusion_forcing"):
            count = len(settings.chunks)
            step = self.streams.choice("chunk step", iteration, samples, self.rollout.num_steps, count)
            t = levels[step.to(device)].repeat_interleave(torch.tensor(settings.chunks, device=device), dim=1)
            # a rollout's endpoints go back on the way to the noise they came from
            clean, noise = (
                (rolled.endpoints, rolled.states[0])
                if data is None
                else (data, self._data_noise(iteration, samples))
            )
            return predict_block_causal(wan, mix(clean, noise, t), t, text, settings)
        step = self.streams.choice("student step", iteration, samples, self.rollout.num_steps)[:, 0].to(
            device
        )
        times = levels[step]
        if data is not None:
            noisy = mix(data, self._data_noise(iteration, samples), times)
            return replay(wan, noisy, data, times, text, settings)
        noisy = rolled.states[step, torch.arange(len(step), device=step.device)]
        if settings.forcing == "self_forcing":
            return replay_cached(wan, noisy, times, text, self.rollout)
        return replay(wan, noisy, rolled.endpoints, times, text, settings)

    def _data_noise(self, iteration: int, samples: range) -> Tensor:
        return self.streams.normal("data noise", iteration, samples, self.shape)


def replay(wan: Wan, noisy: Tensor, clean: Tensor, t: Tensor, text: Tensor, settings: DmdSettings) -> Tensor:
    """Clean predictions of every chunk given the clean chunks before it. noisy, clean: [B, F, C, H, W]; t:
    [B].
    """
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


def predict_block_causal(wan: Wan, noisy: Tensor, t: Tensor, text: Tensor, settings: DmdSettings) -> Tensor:
    """Clean predictions of every chunk given the chunks before it as noisy as they are (diffusion forcing).
    t: [B, F].
    """
    return to_x0(noisy, wan.block_causal(noisy, t, wan.embed_text(text), chunks=settings.chunks), t)
