"""Batches of clips: text, noise, rollout, decoding and transfer to the host, without waiting for the device.

Legend: B clips of a batch, F latent frames, C channels, H, W latent size, T pixel frames of h x w.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from baselines.build import Sampler
from evaluation.shards import Batch, Sample
from models.interfaces import Codec
from models.noise import NoiseSource, SampleKey
from models.rollout import Denoised, Finished
from models.transfer import upload
from workflow.sampling.machine import Moments
from workflow.sampling.model_files import PromptEncoder
from workflow.sampling.shard import BatchPieces, Cost, Piece


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
        negative: str | None = None,
    ) -> None:
        """prompts: all texts of the job; they are prepared before its first batch. negative: the negative
        prompt where the sampler needs one."""
        self.sampler, self.text, self.codec, self.prompts = sampler, text, codec, prompts
        self.negative = negative
        self.against: Tensor | None = None
        self.noise, self.suite, self.items = noise, suite, items
        self.encoded = False

    def noise_of(self, samples: tuple[Sample, ...]) -> NoiseSource:
        """Portable noise keyed by sample, or the method's own noise by place in the published list."""
        if self.noise == "portable":
            return self.sampler.portable_noise(self.suite, [SampleKey(s.prompt.id, s.index) for s in samples])
        return self.sampler.upstream_noise([self.items[s.clip_id] for s in samples], self.sampler.device)

    def start(self, batch: Batch) -> BatchPieces:
        """Give a batch to the device chunk after chunk, decoding each as it is finished.

        Yields functions that wait for a chunk's latents and frames, then one for what a clip cost. Nothing
        but a chunk, the cache and the decoder's memory is kept.
        """
        if not self.encoded:
            own = [] if self.negative is None else [self.negative]
            self.text.prepare([*self.prompts, *own])
            if own:
                self.against = upload(self.text.rows(own), self.sampler.device)
            self.encoded = True
        moments = Moments(self.sampler.device)
        moments.take()
        text = upload(
            self.text.rows([sample.prompt.extended for sample in batch.samples]), self.sampler.device
        )
        stream, calls, chunks = self.codec.stream(), 0, 0
        for record in self.sampler.records(text, self.noise_of(batch.samples), self.against):
            if isinstance(record, Finished):
                moments.take()
                done = record.latents.float()
                latents = _to_host(done)
                wide = record.latents.dtype == torch.float64  # which no decoder takes
                frames = _to_host(stream.push(done if wide else record.latents))
                moments.take()
                chunks += 1
                yield partial(_piece, moments, 2 * chunks, latents, frames)
            else:
                calls += record.calls if isinstance(record, Denoised) else 1
        yield partial(_cost, moments, len(batch.samples), chunks, calls)


def _to_host(x: Tensor) -> Tensor:
    """[B, T, ...] on the host. From a GPU the values arrive later, in pinned memory."""
    return x.contiguous().to("cpu", non_blocking=True)


def _piece(moments: Moments, moment: int, latents: Tensor, frames: Tensor) -> Piece:
    """A chunk that is on its way to the host until a moment."""
    moments.wait(moment)
    return Piece(frames.numpy(), latents.numpy())


def _cost(moments: Moments, clips: int, chunks: int, calls: int) -> Cost:
    """What a clip of the batch cost. moments: the start, then two a chunk, around its decoding."""
    last = 2 * chunks
    moments.wait(last)
    decode_s = sum(moments.seconds(i - 1, i) for i in range(2, last + 1, 2))
    sample_s = moments.seconds(0, last) - decode_s
    return Cost(sample_s / clips, decode_s / clips, moments.seconds(0, 2), calls)
