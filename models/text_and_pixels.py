"""Text encoders and codecs, opened by what a file is: the embedded world's, Wan's own, or a Diffusers folder.

Legend: B batch, L text rows, D text size, F latent frames, C latent channels, H and W latent size,
T pixel frames, h and w pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from safetensors import safe_open
from torch import Tensor

from models.checkpoints.containers import read_metadata
from models.codec import LinearCodec
from models.text import ToyTextEncoder

TOKENIZERS = ("google/umt5-xxl", "tokenizer")
"""Where the tokenizer lies beside the text encoder: in Wan's snapshot, in a Diffusers snapshot."""


class CodecStream(Protocol):
    """A decoder in the middle of `batch` clips. Streams of one codec are independent of one another."""

    def push(self, latents: Tensor) -> Tensor:
        """Latents of the next chunk [B, f, C, H, W], f >= 1 -> its frames, uint8 [B, t, h, w, 3].

        On the codec's device; t is 4f, three fewer for the clip's first chunk. Raises ValueError for another
        batch.
        """
        ...


class Codec(Protocol):
    """Latents <-> pixels, causal: latent frame 0 is pixel frame 0, each later one is four. Latents are
    normalised.
    """

    def decode_uint8(self, latents: Tensor) -> Tensor:
        """Whole clips [B, F, C, H, W] on any device -> uint8 [B, 1 + 4 (F - 1), h, w, 3]: one push of
        everything.
        """
        ...

    def stream(self, batch: int) -> CodecStream:
        """A fresh stream; pushing a clip in any chunks gives the frames of decode_uint8."""
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels [B, T, 3, h, w] in [-1, 1], T = 1 + 4k -> latents [B, F, C, H, W], float32, without
        randomness.
        """
        ...


class TextEncoder(Protocol):
    """Prompts as users write them -> text rows. text_len: L; text_dim: D."""

    text_len: int
    text_dim: int

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """[B, L, D] on the encoder's device, without gradient; rows past a prompt's last token are exactly
        zero.
        """
        ...


def open_codec(
    path: Path | str,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.bfloat16,
    autocast: bool = False,
    fast: bool = False,
) -> Codec:
    """The codec in a file or folder: our linear one (always float32), `Wan2.1_VAE.pth`, or a Diffusers `vae/`
    folder.

    dtype, autocast, fast: of Wan's VAE; bfloat16 for the baselines, float32 under autocast for RAVEN's
    precision. Raises FileNotFoundError, ValueError naming what does not fit.
    """
    path = _existing(path)
    if path.suffix == ".safetensors" and "first_basis" in _names(path):
        return LinearCodec.load(path).to(device)
    # only here, so that the embedded suite runs without diffusers
    from models.wan_vae import WanVae

    return WanVae.load(path, device=device, dtype=dtype, autocast=autocast, fast=fast)


def open_text(
    path: Path | str,
    *,
    tokenizer: Path | str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.bfloat16,
) -> TextEncoder:
    """The text encoder in a file or folder: our small one (float32), Wan's umT5 file, or a `text_encoder/`
    folder.

    tokenizer: umT5's folder; None takes google/umt5-xxl or tokenizer beside `path`. dtype: of umT5.
    Raises FileNotFoundError, ValueError naming what does not fit.
    """
    path = _existing(path)
    if is_small_text(path):
        return ToyTextEncoder.load(path).to(device)
    # only here, so that the embedded suite runs without transformers
    from models.wan_text import WanTextEncoder

    return WanTextEncoder.load(
        path,
        tokenizer=tokenizer_beside(path) if tokenizer is None else tokenizer,
        device=device,
        dtype=dtype,
    )


def _existing(path: Path | str) -> Path:
    if not Path(path).exists():
        raise FileNotFoundError(f"There is nothing at {path}; fetch the files of this suite (make fetch).")
    return Path(path)


def _names(path: Path) -> set[str]:
    with safe_open(path, framework="pt") as file:
        return set(file.keys())


def is_small_text(path: Path) -> bool:
    """Whether a text encoder's file is the embedded world's: its vocabulary is in its header."""
    return path.suffix == ".safetensors" and "words" in read_metadata(path)


def tokenizer_beside(path: Path) -> Path:
    """The folder with umT5's tokenizer that goes with a text encoder. Raises FileNotFoundError if there is
    none.
    """
    for folder in (path.parent / name for name in TOKENIZERS):
        if (folder / "tokenizer.json").is_file():
            return folder
    raise FileNotFoundError(
        f"No tokenizer lies beside {path} (looked for {' and '.join(TOKENIZERS)} with tokenizer.json); "
        "fetch it, or name its folder."
    )
