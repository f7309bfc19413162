"""Self forcing: DMD on the student's own rollout, under its own cache policy, with gradient in one call per
chunk.

Chunked rollouts stop at one random step per iteration; rolling ones keep gradients in every S-th window
(Rolling Forcing). The
history is detached. Sources: raven.md 8, baselines.md 2.
"""

import torch
from torch import Tensor

from models.noise import LatentShape
from models.rollout import Rollout
from models.training.distributed import ALONE, World
from models.training.dmd import Scores
from models.training.loop import Trainee
from models.training.rollouts import predictions_with_gradient
from models.training.settings import DmdSettings
from models.training.streams import StreamNoise, Streams
from models.wan import Wan


class SelfForcing:
    """Recipe: each iteration rolls the student out and trains the fake score on what it made; every
    `fake_updates`-th also the student.

    network: the callable transformer; trained: the module whose parameters train (the same, or its LoRA
    wrapper).
    """

    def __init__(
        self,
        network: Wan,
        trained: torch.nn.Module,
        fake: Wan,
        teacher: Wan,
        texts: Tensor,
        shape: LatentShape,
        rollout: Rollout,
        settings: DmdSettings,
        streams: Streams,
        world: World = ALONE,
    ) -> None:
        self.settings, self.streams, self.texts, self.shape = settings, streams, texts, shape
        self.wan, self.rollout, self.world = network, rollout, world
        self.student = Trainee("student", trained, settings.student, ema=settings.ema)
        self.scores = Scores(Trainee("fake", fake, settings.fake, ema=None), teacher, settings, streams)
        self.trainees = [self.student, self.scores.fake]

    def step(self, iteration: int, fraction: float) -> dict[str, float]:
        slices = self.world.share(self.settings.batch, self.settings.slices)
        mine = range(slices[0].start, slices[-1].stop)
        chosen = self.streams.choice("prompt", iteration, mine, len(self.texts))[:, 0]
        text = self.texts[chosen.tolist()].to(self.streams.device, torch.float32)
        stop = int(self.streams.choice("exit step", iteration, [0], self.rollout.num_steps)[0, 0])

        def predict(samples: range, rows: Tensor) -> Tensor:
            return self.roll_out(iteration, samples, rows, stop)

        return self.scores.train_both(iteration, fraction, self.student, slices, predict, text)

    def roll_out(self, iteration: int, samples: range, text: Tensor, stop: int) -> Tensor:
        """[b, F, C, H, W] clean predictions at the exit step (or of the windows) `stop`, with gradient."""
        noise = StreamNoise(streams=self.streams, iteration=iteration, samples=samples, shape=self.shape)
        return predictions_with_gradient(self.rollout.run(self.wan, text, noise, grad_at=stop))
