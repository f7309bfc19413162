"""Wan2.1's video autoencoder: diffusers' AutoencoderKLWan fed from Wan's file or a Diffusers folder, chunk by
chunk.

Causal: latent frame 0 covers pixel frame 0, each later one covers 4. Every convolution remembers its last 2
input frames; a stream owns that memory, so streams never disturb one another.

Legend: B batch, T pixel frames, F latent frames, C latent channels, H and W latent size (pixels are 8H x 8W).
The dtypes are those of Wan2.1 (models/backbone.md#vae).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from models.checkpoints.containers import load_strict, read_library_weights
from models.codec import GROUP
from models.wan_decoder import FastDecoder, Prepared

PIXELS_PER_LATENT = 8
# fmt: off
LATENT_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)
LATENT_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)
# fmt: on
OWN_LAYOUT = "decoder.middle.0.residual.0.gamma"
"""A name that only Wan's own layout has."""


class ChannelNorm(nn.Module):
    """x / |x| over channels, times sqrt(channels) and gamma, each step in the dtype the surrounding precision
    gives it.

    Takes the place of diffusers' norm, which divides in float32 whatever the dtype; Wan's own does not, which
    shows in bfloat16.
    """

    def __init__(self, gamma: nn.Parameter) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, x: Tensor) -> Tensor:
        length: float = self.gamma.shape[0] ** 0.5
        return F.normalize(x, dim=1) * length * self.gamma


class WanVae:
    """Latents <-> pixels of Wan2.1. Latents are normalised per channel: (mean of the posterior - mean) / std.

    autocast: float32 weights under bfloat16 autocast (RAVEN's precision); otherwise all is in the weights'
    dtype (the baselines': bfloat16).
    fast: decode by models/wan_decoder.py, the same function with fewer passes over memory and other
    roundings.
    """

    def __init__(self, module: Any, *, autocast: bool = False, fast: bool = False) -> None:
        from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanRMS_norm

        weight = module.post_quant_conv.weight
        if autocast and weight.dtype != torch.float32:
            raise ValueError(
                f"The VAE's weights are {weight.dtype}, but autocast is for float32 weights; load them so."
            )
        if autocast and fast:
            raise ValueError(
                "The VAE's fast decoder computes in its weights' dtype; ask for autocast or for fast."
            )
        if module.config.z_dim != len(LATENT_MEAN):
            raise ValueError(
                f"The VAE has {module.config.z_dim} latent channels, Wan2.1's has {len(LATENT_MEAN)}; "
                "pass the VAE of Wan2.1."
            )
        for name, part in list(module.named_modules()):
            if isinstance(part, WanRMS_norm):
                parent, _, leaf = name.rpartition(".")
                setattr(module.get_submodule(parent), leaf, ChannelNorm(part.gamma))
        self.module = module.eval().requires_grad_(False)
        self.autocast, self.fast = autocast, fast
        self.device, self.dtype = weight.device, weight.dtype
        self.prepared = Prepared(on_cuda=self.device.type == "cuda")
        self.memories = {
            name: sum(isinstance(part, WanCausalConv3d) for part in module.get_submodule(name).modules())
            for name in ("encoder", "decoder")
        }
        # 1/std of the rounded std, rounded again: what the reference multiplies and divides by
        self.mean = torch.tensor(LATENT_MEAN, device=self.device).to(self.dtype)
        self.inverse_std = 1.0 / torch.tensor(LATENT_STD, device=self.device).to(self.dtype)

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
        autocast: bool = False,
        fast: bool = False,
    ) -> WanVae:
        """The VAE of `Wan2.1_VAE.pth` or of a Diffusers `vae/` folder; its width is read off the tensors.

        Raises FileNotFoundError, and ValueError if any tensor is missing, unknown or of another
        shape.
        """
        # diffusers takes seconds to import, and the toybox suite never needs it
        from diffusers import AutoencoderKLWan

        state = read_library_weights(path)
        if OWN_LAYOUT in state:
            state = _to_diffusers(state, where=str(path))
        for name in ("encoder.conv_in.weight", "decoder.conv_out.weight", "post_quant_conv.weight"):
            if name not in state:
                raise ValueError(
                    f"{path} holds no Wan VAE (no tensor {name}); pass Wan2.1_VAE.pth or a Diffusers vae/ "
                    "folder."
                )
        with torch.device("meta"):
            module: Any = AutoencoderKLWan(
                base_dim=state["encoder.conv_in.weight"].shape[0],
                decoder_base_dim=state["decoder.conv_out.weight"].shape[1],
                z_dim=state["post_quant_conv.weight"].shape[0],
            )
        load_strict(module, state, where=str(path), assign=True)
        # torch's own `to`: diffusers' warns about modules to be kept in float32, of which this model has none
        return cls(nn.Module.to(module, device=device, dtype=dtype), autocast=autocast, fast=fast)

    def decode_uint8(self, latents: Tensor) -> Tensor:
        """Bytes uint8 [B, 1 + 4 (F - 1), 8H, 8W, 3] of latents [B, F, C, H, W]."""
        return self.stream().push(latents)

    def stream(self) -> WanVaeStream:
        """A decoder that takes clips' latents chunk by chunk."""
        return WanVaeStream(self)

    def denormalise(self, latents: Tensor) -> Tensor:
        """z / (1/std) + mean of [B, F, C, H, W], with every number rounded to the working dtype."""
        z = latents.to(self.device, self.dtype)
        return z / self.inverse_std[:, None, None] + self.mean[:, None, None]

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Normalised latents [B, F, C, H, W] (float32) of pixels [B, T, 3, 8H, 8W] in [-1, 1]: the
        posterior's mean.

        Raises ValueError unless T is 1 + 4k and the picture is a multiple of 8 pixels.
        """
        frames, height, width = pixels.shape[1], pixels.shape[3], pixels.shape[4]
        if frames % GROUP != 1 or height % PIXELS_PER_LATENT or width % PIXELS_PER_LATENT:
            raise ValueError(
                f"The VAE takes 1 + 4k pixel frames of multiples of 8 pixels, found {frames} of "
                f"{height}x{width}."
            )
        x = rearrange(pixels.to(self.device, self.dtype), "b t c h w -> b c t h w")
        memory: list[Any] = [None] * self.memories["encoder"]
        with self._precision():
            pieces = [
                self.module.encoder(piece, feat_cache=memory, feat_idx=[0])
                for piece in x.tensor_split(list(range(1, frames, GROUP)), dim=2)
            ]
            posterior, _ = self.module.quant_conv(torch.cat(pieces, dim=2)).chunk(2, dim=1)
        mean: Tensor = rearrange(posterior, "b c f h w -> b f c h w")
        return ((mean - self.mean[:, None, None]) * self.inverse_std[:, None, None]).float()

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast)


class WanVaeStream:
    """Frames of clips, chunk by chunk; holds the last inputs of these clips' convolutions."""

    def __init__(self, vae: WanVae) -> None:
        self.vae = vae
        self.memory: list[Any] = [None] * vae.memories["decoder"]
        self.decoder = FastDecoder(vae.module, vae.prepared) if vae.fast else None

    def push(self, latents: Tensor) -> Tensor:
        """Next latents [B, f, C, H, W] -> uint8 frames [B, 4f, 8H, 8W, 3], three fewer for the first chunk.

        One latent frame at a time, so the frames do not depend on how a clip is cut into chunks.
        """
        return torch.cat([to_uint8(pixels) for pixels in self.decoded(latents)], dim=1)

    @torch.no_grad()
    def decoded(self, latents: Tensor) -> Iterator[Tensor]:
        """Pixels [B, 3, T, 8H, 8W] of each latent frame in turn, in about [-1, 1], in the decoder's dtype."""
        z = rearrange(self.vae.denormalise(latents), "b f c h w -> b c f h w")
        for frame in z.split(1, dim=2):
            if self.decoder is not None:
                yield self.decoder.step(frame)
                continue
            with self.vae._precision():
                one = self.vae.module.post_quant_conv(frame)
                pixels = self.vae.module.decoder(one, feat_cache=self.memory, feat_idx=[0])
            yield pixels


def to_uint8(pixels: Tensor) -> Tensor:
    """Bytes [B, T, h, w, 3] of pixels [B, 3, T, h, w] in [-1, 1]: clamped, scaled in float32, truncated."""
    unit = ((pixels.float().clamp(-1, 1) + 1) / 2).clamp(0, 1)
    return rearrange((unit * 255).to(torch.uint8), "b c t h w -> b t h w c")


def _to_diffusers(state: dict[str, Tensor], *, where: str) -> dict[str, Tensor]:
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    converted: dict[str, Tensor] = convert_wan_vae_to_diffusers(dict(state))
    if len(converted) != len(state):
        raise ValueError(
            f"{where} holds {len(state)} tensors that become only {len(converted)} under diffusers' names, "
            "so some name the same one twice; pass a file with one layout."
        )
    return converted
