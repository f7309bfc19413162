"""Validation clips: a few fixed prompts, sampled now and then with a student's EMA, to be looked at.

They draw from streams of their own and put every weight back, so that training goes on as without them.
Legend: P prompts of the pool, F latent frames, C channels, H, W latent size.
"""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from evaluation.clips import write_clip
from evaluation.files import written_whole
from models.interfaces import Codec
from models.noise import LatentShape, PortableNoise, SampleKey
from models.rollout import Rollout, Runner
from models.text_and_pixels import open_codec
from models.training.distributed import Processes
from models.training.loop import Trainee
from models.training.prompts import PromptPool
from models.training.rollouts import endpoints
from models.wan import Wan

log = logging.getLogger(__name__)

VALIDATION_FPS = 16
"""Of Wan2.1 and of the toybox."""

VALIDATION_CLIPS = 4


class ValidationClips:
    """Clips <output>/validation/<iteration>/<place of the prompt>.mp4, with prompts.txt where prompts are
    texts.

    See `Validation`. student: what is trained, `network` the transformer in it; rollout, runner: how it is
    sampled, the runner being that of training, so that there is one cache and one set of graphs; texts: the
    pool of prompt embeddings that training draws from, of which `clips` evenly spaced ones are taken; codec:
    file that is opened when clips are decoded. Each process samples some of the clips, one at a time, so that
    they do not depend on how many processes there are; process 0 decodes and writes. Raises ValueError if
    `every` is below 1.
    """

    def __init__(
        self,
        *,
        every: int,
        output: Path,
        student: Trainee,
        network: Wan,
        rollout: Rollout,
        runner: Runner,
        texts: Tensor | PromptPool,
        shape: LatentShape,
        codec: Path,
        device: torch.device,
        processes: Processes,
        clips: int = VALIDATION_CLIPS,
    ) -> None:
        if every < 1:
            raise ValueError(f"validation clips every {every} iterations are none; leave them out.")
        self.every, self.output, self.student, self.network = every, output, student, network
        self.rollout, self.runner, self.texts = rollout, runner, texts
        self.shape, self.codec, self.device, self.processes = shape, codec, device, processes
        self.places = evenly_spaced(len(texts), clips)
        if processes.rank == 0:
            self._open_codec()  # a file that is no codec stops the run before its first step

    @property
    def folder(self) -> Path:
        """The folder of the clips, which is that of the current run (models/training/runs.py)."""
        return (self.output / "validation").resolve()

    def forget_after(self, done: int) -> None:
        """Remove clips of later iterations, and what a killed writer left."""
        if self.processes.rank == 0 and self.folder.is_dir():
            for path in self.folder.iterdir():
                if not path.name.isdigit() or int(path.name) > done or done == 0:
                    shutil.rmtree(path)
        self.processes.wait()

    def make(self, iteration: int) -> None:
        """Sample and write the clips after `iteration` iterations: all of them or none.

        Raises FloatingPointError if latents are not finite.
        """
        final = self.folder / f"{iteration:07d}"
        if self.processes.decide(int(final.is_dir()) if self.processes.rank == 0 else 0):
            return
        with self.student.with_ema():
            latents = self._sample()
        if self.processes.rank == 0:
            self._write(latents, final)
            log.info("validation clips of iteration %d: %s", iteration, final)

    @torch.no_grad()
    def _sample(self) -> Tensor:
        """[clips, F, C, H, W] on the CPU, in every process."""
        count = -(-len(self.places) // self.processes.size)
        first = self.processes.rank * count
        # processes make as many calls, also those that have nothing left to sample: parameters are gathered
        # in each
        mine = [self.places[min(first + i, len(self.places) - 1)] for i in range(count)]
        made = []
        for place in mine:
            key = SampleKey(f"prompt_{place}", 0)
            noise = PortableNoise(suite="validation", samples=[key], shape=self.shape, device=self.device)
            text = self.texts[[place]].to(self.device, torch.float32)
            records = self.rollout.run(self.network, text, noise, runner=self.runner)
            made.append(endpoints(records).float().cpu())
        return self.processes.gather(torch.cat(made))[: len(self.places)]

    def _write(self, latents: Tensor, final: Path) -> None:
        if not bool(torch.isfinite(latents).all()):
            raise FloatingPointError(
                f"Latents of the validation clips {final} are not finite; look at the metrics before it, "
                "and lower the rate."
            )
        codec = self._open_codec()
        with written_whole(final) as unfinished:
            for place, clip in zip(self.places, latents, strict=True):
                frames = codec.decode_uint8(clip[None].to(self.device))[0].cpu().numpy()
                write_clip(unfinished / f"{place:06d}.mp4", frames, fps=VALIDATION_FPS)
            if isinstance(self.texts, PromptPool):
                lines = "".join(f"{place:06d} {self.texts.prompts[place]}\n" for place in self.places)
                (unfinished / "prompts.txt").write_text(lines, encoding="utf-8")

    def _open_codec(self) -> Codec:
        """As RAVEN has its VAE, under autocast (models/backbone.md#vae); a CPU computes in float32."""
        return open_codec(
            self.codec, device=self.device, dtype=torch.float32, autocast=self.device.type == "cuda"
        )


def evenly_spaced(count: int, wanted: int) -> Sequence[int]:
    """Places of `wanted` of `count` things, or of all, from the first on."""
    number = min(count, wanted)
    return [count * i // number for i in range(number)]
