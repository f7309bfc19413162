"""RAVEN: distribution matching with training-time test, and the forcings it is compared with.

A rollout of the student gives endpoints and noisy states, both constants. One interleaved forward replays the
states of a random step against the clean history, with gradient through the history's keys and values, and is
judged by DMD. The ablations change what that forward is given; rollouts, fake score and loss are the same.
Sources: models/training/methods.md#one-iteration-of-raven, models/training/methods.md#forcings.

Legend: B batch, b samples of a micro-batch, F latent frames, C channels, H, W latent size, L tokens of a
prompt.
"""

from typing import Protocol

import torch
from torch import Tensor

from models.noise import LatentShape
from models.rollout import Runner, plain_runner
from models.schedule import add_noise, to_x0
from models.training.data_parallel import rows_of
from models.training.distributed import ALONE, Processes, gathered
from models.training.dmd import Scores, generator_due
from models.training.loop import Trainee
from models.training.prompts import PromptPool
from models.training.rollouts import Trajectory, consistency_rollout, replay, replay_cached, trajectory
from models.training.settings import DmdSettings
from models.training.streams import StreamNoise, Streams
from models.wan import Wan


class LatentPool(Protocol):
    """Latents of real clips, read when they are drawn: pool[indices] is [n, F, C, H, W]."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: list[int]) -> Tensor: ...


class Raven:
    """Recipe: the fake score trains every iteration, the student every `fake_updates`-th, on fresh rollouts.

    texts: pool of prompt embeddings [P, L, text_dim]; negative: see `Scores`; shape: (F, C, H, W) of a clip.
    Every process rolls out and judges samples of its own. latents: real clips, one for each of the texts,
    which are their captions, for the forcings that use them. runner: how rollouts call the student. Raises
    ValueError if such a forcing has none.
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
        processes: Processes = ALONE,
        negative: Tensor | None = None,
        latents: Tensor | LatentPool | None = None,
        *,
        runner: Runner = plain_runner,
    ) -> None:
        held = 0 if latents is None else len(latents)
        if held != (len(texts) if settings.uses_data else 0):
            raise ValueError(
                f"RAVEN with {settings.forcing} got {held} real clips and {len(texts)} texts; "
                "teacher_forcing and diffusion_forcing need one clip for each caption, and other forcings "
                "none."
            )
        self.settings, self.streams, self.processes = settings, streams, processes
        self.texts, self.latents, self.shape = texts, latents, shape
        self.wan, self.runner = student, runner
        self.student = Trainee("student", student, settings.student, ema_decay=settings.ema)
        self.scores = Scores(fake, teacher, settings, streams, negative)
        self.trainees = [self.student, self.scores.fake]
        self.rollout = consistency_rollout(
            settings.timesteps, settings.chunks, sink=settings.sink, window=settings.window
        )

    def step(self, iteration: int, fraction: float) -> dict[str, float]:
        batches = self.processes.split(self.settings.batch, self.settings.micro_batches)
        mine = range(batches[0].start, batches[-1].stop)
        chosen = self.streams.choice("prompt", iteration, mine, len(self.texts))[:, 0]
        text = self.texts[chosen.tolist()].to(self.streams.device, torch.float32)
        rolled = {one: self.roll_out(iteration, one, text[rows_of(one, batches)]) for one in batches}
        made = torch.cat([one.endpoints for one in rolled.values()])
        metrics = self.scores.train_fake(iteration, fraction, batches, made, text)
        if not generator_due(iteration, self.settings.fake_updates):
            return metrics
        real = None if self.latents is None else self.latents[chosen.tolist()].to(text)

        def predict(samples: range, rows: Tensor) -> Tensor:
            data = None if real is None else real[rows_of(samples, batches)]
            return self.predict(iteration, samples, rolled[samples], rows, data)

        trained, _ = self.scores.train_student(iteration, fraction, self.student, batches, predict, text)
        return {**metrics, **trained}

    def roll_out(self, iteration: int, samples: range, text: Tensor) -> Trajectory:
        """All steps of all chunks of some samples, without gradient and without guidance."""
        noise = StreamNoise(streams=self.streams, iteration=iteration, samples=samples, shape=self.shape)
        with gathered(self.wan):
            records = self.rollout.run(self.wan, text, noise, runner=self.runner)
            return trajectory(records, self.rollout.num_steps)

    def predict(
        self, iteration: int, samples: range, rolled: Trajectory, text: Tensor, data: Tensor | None = None
    ) -> Tensor:
        """[b, F, C, H, W] clean predictions of every chunk, with gradient, at one random step of each sample.

        In diffusion forcing each chunk has a random step of its own. data: real clips [b, F, C, H, W] of the
        samples, where the forcing uses them.
        """
        settings, wan, device = self.settings, self.wan, self.streams.device
        levels = torch.tensor(settings.timesteps, dtype=torch.float32, device=device)
        if settings.forcing.startswith("diffusion_forcing"):
            count = len(settings.chunks)
            step = self.streams.choice("chunk step", iteration, samples, self.rollout.num_steps, count)
            t = levels[step.to(device)].repeat_interleave(torch.tensor(settings.chunks, device=device), dim=1)
            if data is None:  # a rollout's endpoints go back on the way to the noise they came from
                noisy = add_noise(rolled.endpoints, rolled.states[0], t / 1000)
            else:
                noisy = add_noise(data, self._data_noise(iteration, samples), t / 1000)
            v = wan.block_causal(noisy, t, wan.embed_text(text), chunks=settings.chunks)
            return to_x0(noisy, v, t / 1000)
        step = self.streams.choice("student step", iteration, samples, self.rollout.num_steps)[:, 0]
        step = step.to(device)
        times = levels[step]
        if data is not None:
            noisy = add_noise(data, self._data_noise(iteration, samples), times / 1000)
            return replay(wan, noisy, data, times, text, settings)
        noisy = rolled.states[step, torch.arange(len(step), device=device)]
        if settings.forcing == "self_forcing":
            return replay_cached(wan, noisy, times, text, self.rollout)
        return replay(wan, noisy, rolled.endpoints, times, text, settings)

    def _data_noise(self, iteration: int, samples: range) -> Tensor:
        return self.streams.normal("data noise", iteration, samples, self.shape)
