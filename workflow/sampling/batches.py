"""Batches of clips: text, noise, rollout, decoding and transfer to the host, without waiting for the device.

Legend: B clips of a batch, F latent frames, C channels, H, W latent size, T pixel frames of h x w.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from baselines.build import Sampler
from evaluation.shards import Batch, Sample
from models.interfaces import Codec
from models.noise import NoiseSource, SampleKey
from models.rollout import Finished, Runner, plain_runner
from models.transfer import upload
from workflow.sampling.machine import Moments
from workflow.sampling.model_files import PromptEncoder
from workflow.sampling.shard import MadeClip


def best_runner(device: torch.device) -> Runner:
    """How network calls are made: as CUDA graphs, or plainly where there is no CUDA. Bits are equal."""
    if device.type != "cuda":
        return plain_runner
    from models.graphs import GraphRunner  # CUDA only

    return GraphRunner()


class BatchSampler:
    """Turns batches into clips with the text encoder, sampler, codec and noise of one row."""

    def __init__(
        self,
        *,
        sampler: Sampler,
        text: PromptEncoder,
        codec: Codec,
        noise: str,
        suite: str,
        items: Mapping[str, int],
        prompts: Sequence[str],
    ) -> None:
        """prompts: all texts of the job; they are prepared before its first batch."""
        self.sampler, self.text, self.codec, self.prompts = sampler, text, codec, prompts
        self.noise, self.suite, self.items = noise, suite, items
        self.encoded = False

    def noise_of(self, samples: tuple[Sample, ...]) -> NoiseSource:
        """Portable noise keyed by sample, or the method's own noise by place in the published list."""
        if self.noise == "portable":
            return self.sampler.portable_noise(self.suite, [SampleKey(s.prompt.id, s.index) for s in samples])
        return self.sampler.upstream_noise([self.items[s.clip_id] for s in samples], self.sampler.device)

    def start(self, batch: Batch) -> Callable[[], list[MadeClip]]:
        """Give a batch to the device, which decodes each chunk as it is finished.

        Returns a function that waits for the clips. It raises FloatingPointError, naming a clip whose latents
        are not finite.
        """
        if not self.encoded:
            self.text.prepare(self.prompts)
            self.encoded = True
        moments = Moments(self.sampler.device)
        moments.take()
        text = upload(
            self.text.rows([sample.prompt.extended for sample in batch.samples]), self.sampler.device
        )
        stream, calls, latents, frames = self.codec.stream(), 0, [], []
        for record in self.sampler.records(text, self.noise_of(batch.samples)):
            if isinstance(record, Finished):
                moments.take()
                done = record.latents.float()
                latents.append(_to_host(done))
                wide = record.latents.dtype == torch.float64  # which no decoder takes
                frames.append(_to_host(stream.push(done if wide else record.latents)))
                moments.take()
            else:
                calls += 1
        return partial(_collect, batch, moments, latents, frames, calls)


def _to_host(x: Tensor) -> Tensor:
    """[B, T, ...] as [T, B, ...] on the host. From a GPU the values arrive later, in pinned memory."""
    return x.transpose(0, 1).contiguous().to("cpu", non_blocking=True)


def _collect(
    batch: Batch, moments: Moments, latents: list[Tensor], frames: list[Tensor], calls: int
) -> list[MadeClip]:
    """The clips of a batch whose chunks [T, B, ...] are on their way to the host.

    moments: the start, then two a chunk, around its decoding.
    """
    moments.wait()
    last = 2 * len(frames)
    decode_s = sum(moments.seconds(i - 1, i) for i in range(2, last + 1, 2))
    sample_s, size = moments.seconds(0, last) - decode_s, len(batch.samples)
    made = []
    for i, sample in enumerate(batch.samples):
        own = np.concatenate([part[:, i].numpy() for part in latents])
        if not np.isfinite(own).all():
            raise FloatingPointError(
                f"The latents of clip {sample.clip_id} are not finite, so no clip was written; look at the "
                "row's weights."
            )
        images = np.concatenate([part[:, i].numpy() for part in frames])
        made.append(MadeClip(images, own, sample_s / size, decode_s / size, moments.seconds(0, 2), calls))
    return made
