"""A small decoder of Wan2.1's latents in place of the VAE's: TAEHV's `taew2_1` and LightTAE's `lighttaew2_1`.

Both files hold one network under one set of names (models/backbone.md#small-decoder): 2-D convolutions,
blocks that also see their own input of the frame before, and 1x1 convolutions that make two frames of one. It
is another function than the VAE, so a row that uses it says so.

Legend: B batch, T frames of a step at some level, C channels, H, W size at that level; F latent frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from models.checkpoints.containers import load_strict, read_weights
from models.codec import GROUP
from models.wan_vae import LATENT_MEAN, LATENT_STD

TINY_LAYOUTS = {"taew2_1": False, "lighttaew2_1": True}
"""Published files by stem: whether they take latents as the VAE does, times std plus mean, in place of
normalised ones. Nothing in the files says so."""

LATENT_CHANNELS = 16
ENCODER_WIDTH = 64
DECODER_WIDTHS = (256, 128, 64, 64)
DECODER_GROWTH = (1, 2, 2)
"""Frames that a level of the decoder makes of one."""
ENCODER_POOLS = (2, 2, 1)


def _conv(channels: int, out: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=bias)


class MemoryBlock(nn.Module):
    """Three convolutions on a frame beside this block's input of the frame before, and a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _conv(2 * width, width), nn.ReLU(), _conv(width, width), nn.ReLU(), _conv(width, width)
        )

    def forward(self, x: Tensor, before: Tensor | None) -> Tensor:
        """x: [B, T, C, H, W]; before: [B, 1, C, H, W], the last frame of the step before, None for zeros."""
        first = torch.zeros_like(x[:, :1]) if before is None else before
        shown = torch.cat([x, torch.cat([first, x[:, :-1]], dim=1)], dim=2)
        pictures = functional.relu(self.conv(_pictures(shown)) + _pictures(x))
        out: Tensor = pictures.unflatten(0, x.shape[:2])
        return out


class TimeConv(nn.Module):
    """A 1x1 convolution between frames side by side in channels and frames in a row; of the encoder it makes
    one frame of several, of the decoder several of one."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 1, bias=False)

    def grown(self, x: Tensor) -> Tensor:
        """[B, T, C, H, W] -> [B, k T, C, H, W]."""
        out: Tensor = rearrange(
            self.conv(_pictures(x)), "(b t) (k c) h w -> b (t k) c h w", b=x.shape[0], c=x.shape[2]
        )
        return out


class TinyAutoencoder(nn.Module):
    """The modules of a published file, under its names. The encoder is there so that every name and shape of
    the file is checked; it is not used.
    """

    def __init__(self) -> None:
        super().__init__()
        width = ENCODER_WIDTH
        encoder: list[nn.Module] = [_conv(3, width), nn.ReLU()]
        for pool in ENCODER_POOLS:
            encoder += [TimeConv(width * pool, width), _conv(width, width, stride=2, bias=False)]
            encoder += [MemoryBlock(width) for _ in range(3)]
        self.encoder = nn.Sequential(*encoder, _conv(width, LATENT_CHANNELS))
        decoder: list[nn.Module] = [nn.Identity(), _conv(LATENT_CHANNELS, DECODER_WIDTHS[0]), nn.ReLU()]
        for growth, (wide, narrow) in zip(DECODER_GROWTH, pairwise(DECODER_WIDTHS), strict=True):
            decoder += [MemoryBlock(wide) for _ in range(3)]
            decoder += [
                nn.Upsample(scale_factor=2),
                TimeConv(wide, growth * wide),
                _conv(wide, narrow, bias=False),
            ]
        self.decoder = nn.Sequential(*decoder, nn.ReLU(), _conv(DECODER_WIDTHS[-1], 3))

    def decode(self, z: Tensor, memory: dict[int, Tensor]) -> Tensor:
        """Latents of a step [B, T, C, H, W] -> frames [B, 4 T, 3, 8 H, 8 W], about 0 to 1.

        memory: by number of the part, the last input of every block; empty for a new clip, updated in place.
        """
        x = torch.tanh(z / 3) * 3
        for number, part in enumerate(self.decoder):
            if isinstance(part, MemoryBlock):
                before, memory[number] = memory.get(number), x[:, -1:]
                x = part(x, before)
            elif isinstance(part, TimeConv):
                x = part.grown(x)
            else:
                x = part(_pictures(x)).unflatten(0, x.shape[:2])
        return x


def _pictures(x: Tensor) -> Tensor:
    """[B, T, C, H, W] -> [B T, C, H, W]."""
    return x.flatten(0, 1)


class TinyDecoder:
    """Normalised latents -> pixels. It makes four frames of every latent one, of which the clip's first three
    are left out, as the VAE has one frame there.
    """

    def __init__(self, module: TinyAutoencoder, *, scaled: bool) -> None:
        """scaled: whether it takes latents times std plus mean."""
        self.module = module.eval().requires_grad_(False)
        weight = next(module.decoder.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        if self.device.type == "cuda":
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        shape = (LATENT_CHANNELS, 1, 1)
        self.mean = torch.tensor(LATENT_MEAN if scaled else [0.0] * LATENT_CHANNELS, device=self.device).view(
            shape
        )
        self.std = torch.tensor(LATENT_STD if scaled else [1.0] * LATENT_CHANNELS, device=self.device).view(
            shape
        )

    @classmethod
    def load(
        cls, path: Path | str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.bfloat16
    ) -> TinyDecoder:
        """The decoder of `taew2_1` or `lighttaew2_1`, .pth or .safetensors; the name says which it is.

        Raises FileNotFoundError, and ValueError for another name, or if any tensor is missing, unknown or of
        another shape.
        """
        stem = Path(path).stem
        if stem not in TINY_LAYOUTS:
            raise ValueError(
                f"{path} is no small decoder that is known: its name alone says how it takes its latents, "
                f"expected {' or '.join(TINY_LAYOUTS)}; give the published file its own name."
            )
        with torch.device("meta"):
            module = TinyAutoencoder()
        load_strict(module, read_weights(path), where=str(path), assign=True)
        return cls(nn.Module.to(module, device=device, dtype=dtype), scaled=TINY_LAYOUTS[stem])

    def decode_uint8(self, latents: Tensor) -> Tensor:
        """Bytes uint8 [B, 1 + 4 (F - 1), 8H, 8W, 3] of latents [B, F, C, H, W]."""
        return self.stream().push(latents)

    def stream(self) -> TinyStream:
        """A decoder that takes clips' latents chunk by chunk."""
        return TinyStream(self)

    def encode(self, pixels: Tensor) -> Tensor:  # noqa: ARG002
        """Raises ValueError: latents of pixels are the VAE's to make."""
        raise ValueError("The small decoder encodes nothing; name the VAE as `codec` for that.")


class TinyStream:
    """Frames of clips, chunk by chunk; holds the last inputs of these clips' blocks."""

    def __init__(self, decoder: TinyDecoder) -> None:
        self.decoder = decoder
        self.memory: dict[int, Tensor] = {}

    def push(self, latents: Tensor) -> Tensor:
        """Next latents [B, f, C, H, W] -> uint8 frames [B, 4f, 8H, 8W, 3], three fewer for the first chunk.

        One latent frame at a time, so the frames do not depend on how a clip is cut into chunks.
        """
        return torch.cat([*self._steps(latents)], dim=1)

    @torch.no_grad()
    def _steps(self, latents: Tensor) -> Iterator[Tensor]:
        own = self.decoder
        z = (latents.to(own.device, torch.float32) * own.std + own.mean).to(own.dtype)
        for frame in z.split(1, dim=1):
            first = not self.memory
            pixels = own.module.decode(frame, self.memory)[:, GROUP - 1 if first else 0 :]
            yield rearrange(
                (pixels.float().clamp(0, 1) * 255).round().to(torch.uint8), "b t c h w -> b t h w c"
            )
