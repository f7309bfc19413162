"""Text encoders and codecs, opened by what a file is: the toybox's, Wan's own, or a Diffusers folder."""

from pathlib import Path
from typing import Literal

import torch

from models.checkpoints.containers import open_safetensors, read_metadata
from models.codec import LinearCodec
from models.interfaces import Codec, TextEncoder
from models.text import ToyTextEncoder

TOKENIZERS = ("google/umt5-xxl", "tokenizer")
"""Where the tokenizer lies beside the text encoder: in Wan's snapshot, in a Diffusers snapshot."""


def open_codec(
    path: Path | str,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.bfloat16,
    autocast: bool = False,
    fast: bool = False,
    decoder: Literal["full", "tiny"] = "full",
) -> Codec:
    """The codec in a file or folder: our linear one (always float32), `Wan2.1_VAE.pth`, or a Diffusers `vae/`
    folder.

    dtype, autocast, fast: of Wan's VAE; bfloat16 for the baselines, float32 under autocast for RAVEN's
    precision. decoder: "tiny" for the file of a small decoder (models/tiny_decoder.py) in place of a codec.
    Raises FileNotFoundError, ValueError naming what does not fit.
    """
    path = _existing(path)
    if decoder == "tiny":
        from models.tiny_decoder import TinyDecoder

        return TinyDecoder.load(path, device=device, dtype=dtype)
    if path.suffix == ".safetensors" and "first_basis" in _names(path):
        return LinearCodec.load(path).to(device)
    # only here, so that the toybox suite runs without diffusers
    from models.wan_vae import WanVae

    return WanVae.load(path, device=device, dtype=dtype, autocast=autocast, fast=fast)


def open_text(path: Path | str, *, device: torch.device | str = "cpu") -> TextEncoder:
    """The text encoder in a file or folder: our small one (float32), Wan's umT5 file, or a `text_encoder/`
    folder, in bfloat16 with the tokenizer beside it (`TOKENIZERS`).

    Raises FileNotFoundError, ValueError naming what does not fit.
    """
    path = _existing(path)
    if is_small_text(path):
        return ToyTextEncoder.load(path).to(device)
    # only here, so that the toybox suite runs without transformers
    from models.wan_text import WanTextEncoder

    return WanTextEncoder.load(path, tokenizer=tokenizer_beside(path), device=device)


def _existing(path: Path | str) -> Path:
    if not Path(path).exists():
        raise FileNotFoundError(f"There is nothing at {path}; fetch the files of this suite (make fetch).")
    return Path(path)


def _names(path: Path) -> set[str]:
    with open_safetensors(path) as file:
        return set(file.keys())


def is_small_text(path: Path) -> bool:
    """Whether a text encoder's file is the toybox's: its vocabulary is in its header."""
    return path.suffix == ".safetensors" and "words" in read_metadata(path)


def tokenizer_beside(path: Path) -> Path:
    """The folder of umT5's tokenizer beside a text encoder. Raises FileNotFoundError if there is none."""
    for folder in (path.parent / name for name in TOKENIZERS):
        if (folder / "tokenizer.json").is_file():
            return folder
    raise FileNotFoundError(
        f"No tokenizer lies beside {path} (looked for {' and '.join(TOKENIZERS)} with tokenizer.json); "
        "fetch it, or name its folder."
    )
