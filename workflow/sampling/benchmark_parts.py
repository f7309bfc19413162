"""Parts of a benchmark at full or tiny size, of random weights: networks, a VAE, a text encoder, batches.

Legend: B clips of a batch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from baselines.build import Precision, Sampler, dtypes_of, ready_network
from baselines.native import Baseline
from evaluation.records import Prompt
from evaluation.shards import Batch, full_batches, samples_to_render
from models.config import WanConfig
from models.interfaces import Codec
from models.wan import Wan, init_weights
from workflow.sampling.batches import BatchSampler
from workflow.sampling.benchmark import Size, matrix_rate, median_time

CLIP_FPS = 16
FAINT = 0.03
"""Of the random last convolution of the VAE: pictures deviate from grey by about two of 255 levels."""


def random_network(baseline: Baseline, precision: Precision, config: WanConfig, device: torch.device) -> Wan:
    """A network of random weights, no layer at zero, in a precision."""
    dtypes = dtypes_of(baseline, precision)
    with torch.device(device):
        wan = Wan(config, dtypes.network)
        if baseline.weights.memory is not None:
            wan.memory = Wan(config, dtypes.network)
    for seed, weights in enumerate(wan.weight_sets):
        init_weights(weights, torch.Generator(device).manual_seed(seed), zero_head=False)
    return ready_network(wan, dtypes, device)


class FixedEmbeddings:
    """Prompt embeddings that are there already."""

    def __init__(self, rows: Tensor) -> None:
        self.given = rows

    def rows(self, prompts: Sequence[str]) -> Tensor:
        assert len(prompts) <= len(self.given)
        return self.given[: len(prompts)]

    def prepare(self, prompts: Sequence[str]) -> None:
        """They are."""


def whole_batches(sampler: Sampler, codec: Codec, text: Tensor) -> tuple[BatchSampler, Batch]:
    """Sampling as the `sample` stage does it, and one full batch of work."""
    prompt = Prompt(
        id="bench", prompt="bench", extended="bench", dimensions=("color",), samples=len(text), facts={}
    )
    (batch,) = full_batches(samples_to_render([prompt]), len(text))
    maker = BatchSampler(
        sampler=sampler,
        text=FixedEmbeddings(text.cpu()),
        codec=codec,
        noise="portable",
        suite="bench",
        items={},
        prompts=[],
        negative="bench" if sampler.needs_negative else None,
    )
    return maker, batch


class SharedParts:
    """What all methods share, of random weights: matrix rate, a VAE a precision, a text encoder."""

    def __init__(self, size: Size, device: torch.device) -> None:
        self.size, self.device = size, device
        self.dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.rate = matrix_rate(size.matrix, device, self.dtype)
        self.codecs: dict[str, Codec] = {}
        self.texts: dict[int, float] = {}

    def codec(self, precision: Precision, decoder: str = "full") -> Codec:
        """The VAE of a precision, or the small decoder."""
        fast = precision not in ("exact", "float32") and self.device.type == "cuda"
        kind = "tiny" if decoder == "tiny" else "fast" if fast else "plain"
        if kind not in self.codecs:
            self.codecs[kind] = (
                random_tiny(self.device, self.dtype)
                if kind == "tiny"
                else random_codec(self.size, self.device, self.dtype, fast=fast)
            )
        return self.codecs[kind]

    def text_s(self, batch: int) -> float:
        """Seconds of umT5 for a batch of full prompts."""
        if batch not in self.texts:
            from transformers import UMT5Config, UMT5EncoderModel

            with torch.device(self.device):
                encoder = UMT5EncoderModel(UMT5Config(dropout_rate=0.0, **self.size.encoder))
            torch.nn.Module.to(encoder, dtype=self.dtype)
            ids = torch.randint(
                self.size.encoder["vocab_size"], (batch, self.size.config.text_len), device=self.device
            )
            with torch.no_grad():
                self.texts[batch] = median_time(lambda: encoder(input_ids=ids), self.device, repeats=3)
        return self.texts[batch]


def random_tiny(device: torch.device, dtype: torch.dtype) -> Codec:
    """A small decoder of random weights; its pictures are grey with faint noise, as `random_codec`'s are."""
    from models.tiny_decoder import TinyAutoencoder, TinyDecoder

    with torch.device(device):
        module = TinyAutoencoder()
    with torch.no_grad():
        last = module.decoder[-1]
        last.weight.mul_(FAINT)  # type: ignore[operator]
        last.bias.fill_(0.5)  # type: ignore[operator]
    return TinyDecoder(torch.nn.Module.to(module, dtype=dtype), scaled=False)


def random_codec(size: Size, device: torch.device, dtype: torch.dtype, *, fast: bool) -> Codec:
    """A VAE of random weights, whose pictures are grey with faint noise: writing one of noise alone would
    take a core four times as long as a real clip's.
    """
    from diffusers import AutoencoderKLWan

    from models.wan_vae import WanVae

    make: Any = AutoencoderKLWan
    with torch.device(device):
        module = make(base_dim=size.vae_dim)
    with torch.no_grad():
        module.decoder.conv_out.weight.mul_(FAINT)
    return WanVae(torch.nn.Module.to(module, dtype=dtype), fast=fast)
