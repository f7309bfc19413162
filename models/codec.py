"""The toybox's video codec: linear, causal, 4 x 4 pixel patches, 1 + 4k pixel frames to 1 + k latent
frames.

Stands in for Wan's VAE with the same layout: latent frame 0 covers pixel frame 0, each later one covers 4.
Channels are principal components of a patch (48 numbers for the first frame, 192 for a group of four),
centred and scaled.

Legend: B batch, T pixel frames, F latent frames, C channels, H and W latent size. Pixels are float in [-1,
1].
"""

from __future__ import annotations

from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn

from models.checkpoints.containers import load_strict, read_safetensors, write_safetensors

PATCH = 4
GROUP = 4


class LinearCodec(nn.Module):
    """encode: pixels [B, T, 3, 4H, 4W] -> latents [B, F, C, H, W]; decode: the least-squares inverse, clamped
    to [-1, 1].

    first_* serve latent frame 0, rest_* all others. basis: [C, numbers], orthonormal rows; mean: [numbers];
    scale: [C].
    """

    first_basis: Tensor
    first_mean: Tensor
    first_scale: Tensor
    rest_basis: Tensor
    rest_mean: Tensor
    rest_scale: Tensor

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        for name, numbers in (("first", 3 * PATCH * PATCH), ("rest", 3 * PATCH * PATCH * GROUP)):
            self.register_buffer(f"{name}_basis", torch.zeros(channels, numbers))
            self.register_buffer(f"{name}_mean", torch.zeros(numbers))
            self.register_buffer(f"{name}_scale", torch.ones(channels))

    def encode(self, pixels: Tensor) -> Tensor:
        """Latents of whole clips. Raises ValueError unless T is 1 + 4k and sides are multiples of 4."""
        frames, height, width = pixels.shape[1], pixels.shape[3], pixels.shape[4]
        if frames % GROUP != 1 or height % PATCH or width % PATCH:
            raise ValueError(
                f"The codec takes 1 + 4k pixel frames of multiples of 4 pixels, found {frames} of "
                f"{height}x{width}."
            )
        first, rest = _patches(pixels)
        coded = [((first - self.first_mean) @ self.first_basis.T) / self.first_scale]
        coded.append(((rest - self.rest_mean) @ self.rest_basis.T) / self.rest_scale)
        return rearrange(torch.cat(coded, dim=1), "b f h w c -> b f c h w")

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels [B, 1 + 4 (F - 1), 3, 4H, 4W] in [-1, 1]."""
        return self._decode(latents, starts=True)

    def _decode(self, latents: Tensor, *, starts: bool) -> Tensor:
        """Pixels of consecutive latent frames; starts: the first one is latent frame 0 of the clip."""
        coded = rearrange(latents.to(self.first_basis), "b f c h w -> b f h w c")
        first, rest = coded[:, : int(starts)], coded[:, int(starts) :]
        first = (first * self.first_scale) @ self.first_basis + self.first_mean
        rest = (rest * self.rest_scale) @ self.rest_basis + self.rest_mean
        still = rearrange(first, "b f h w (c p q) -> b f c (h p) (w q)", p=PATCH, q=PATCH)
        moving = rearrange(rest, "b f h w (g c p q) -> b (f g) c (h p) (w q)", g=GROUP, p=PATCH, q=PATCH)
        return torch.cat([still, moving], dim=1).clamp(-1, 1)

    def decode_uint8(self, latents: Tensor) -> Tensor:
        """Decoded clips as bytes, channels last: uint8 [B, T, 4H, 4W, 3]. Rounds (x + 1) * 127.5."""
        return self.stream().push(latents)

    def stream(self) -> LinearStream:
        """A decoder that takes clips' latents chunk by chunk."""
        return LinearStream(self)

    def save(self, path: Path | str) -> None:
        """Write the codec to a .safetensors file (float32)."""
        write_safetensors(path, self.state_dict())

    @classmethod
    def load(cls, path: Path | str) -> LinearCodec:
        """A codec from its file. Raises ValueError if the file is something else."""
        state = read_safetensors(path)
        if "first_basis" not in state:
            raise ValueError(
                f"{path} holds no linear codec (no tensor first_basis); pass the codec file of this suite."
            )
        codec = cls(state["first_basis"].shape[0])
        load_strict(codec, state, where=str(path))
        return codec.eval()


class LinearStream:
    """Frames of clips, chunk by chunk; latent frames are decoded alone, so only the place is remembered."""

    def __init__(self, codec: LinearCodec) -> None:
        self.codec = codec
        self.starts = True

    def push(self, latents: Tensor) -> Tensor:
        """Latents [B, f, C, H, W] -> uint8 frames [B, 4f, 4H, 4W, 3], three fewer for the first chunk."""
        pixels = ((self.codec._decode(latents, starts=self.starts) + 1) * 127.5).round().to(torch.uint8)
        self.starts = False
        return rearrange(pixels, "b t c h w -> b t h w c")


def fit_codec(pixels: Tensor, *, channels: int = 16) -> LinearCodec:
    """Fit to clips [B, T, 3, 4H, 4W] in [-1, 1]: centred principal components of first frames and of groups
    of four.

    A channel's scale is the root of its deviation, times one constant that makes the mean variance of latents
    1: halfway between equal weights in the loss and pixel importance. The sign of a component is fixed (its
    largest number is positive), so a fit is reproducible.
    """
    codec = LinearCodec(channels)
    for name, data in zip(("first", "rest"), _patches(pixels), strict=True):
        flat = data.flatten(0, -2).double()
        mean = flat.mean(0)
        values, vectors = torch.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
        basis = vectors.flip(1)[:, :channels].T
        basis = basis * basis.gather(1, basis.abs().argmax(1, keepdim=True)).sign()
        deviation = values.flip(0)[:channels].clamp_min(1e-8).sqrt()
        scale = deviation**0.5
        scale = scale * ((deviation / scale) ** 2).mean().sqrt()
        for part, value in (("basis", basis), ("mean", mean), ("scale", scale)):
            codec.get_buffer(f"{name}_{part}").copy_(value)
    return codec.eval()


def psnr(pixels: Tensor, decoded: Tensor) -> float:
    """Peak signal-to-noise ratio in decibels of clips in [-1, 1]."""
    return float(10 * torch.log10(4.0 / (pixels - decoded).square().mean()))


def to_pixels(frames: Tensor) -> Tensor:
    """uint8 clips [B, T, height, width, 3] as float pixels [B, T, 3, height, width] in [-1, 1]."""
    return rearrange(frames, "b t h w c -> b t c h w").float() / 127.5 - 1


def _patches(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """First frames [B, 1, H, W, 48] and groups of four [B, F - 1, H, W, 192]."""
    first = rearrange(pixels[:, :1], "b f c (h p) (w q) -> b f h w (c p q)", p=PATCH, q=PATCH)
    rest = rearrange(pixels[:, 1:], "b (f g) c (h p) (w q) -> b f h w (g c p q)", g=GROUP, p=PATCH, q=PATCH)
    return first, rest
