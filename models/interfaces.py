"""What samplers and training need of a text encoder and of a codec, whichever model is behind it.

Legend: B batch, L tokens of a prompt, D text size, F latent frames, C latent channels, H and W latent size,
T pixel frames, h and w pixels.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class TextEncoder(Protocol):
    """Prompts as users write them -> prompt embeddings."""

    text_len: int
    """L: how many tokens a prompt is cut or padded to."""
    text_dim: int
    """D."""

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """[B, L, D] on the encoder's device, without gradient, exactly zero past a prompt's last token."""
        ...


class CodecStream(Protocol):
    """A decoder in the middle of a batch of clips. Streams of one codec are independent of one another."""

    def push(self, latents: Tensor) -> Tensor:
        """Latents of the next chunk [B, f, C, H, W], f >= 1 -> its frames, uint8 [B, t, h, w, 3].

        On the codec's device; t is 4f, three fewer for the clip's first chunk.
        """
        ...


class Codec(Protocol):
    """Normalised latents <-> pixels, causal: latent frame 0 is pixel frame 0, each later one is four."""

    def decode_uint8(self, latents: Tensor) -> Tensor:
        """Whole clips [B, F, C, H, W] on any device -> uint8 [B, 1 + 4 (F - 1), h, w, 3]: one push."""
        ...

    def stream(self) -> CodecStream:
        """A fresh stream; pushing a clip in any chunks gives the frames of decode_uint8."""
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels [B, T, 3, h, w] in [-1, 1], T = 1 + 4k -> latents [B, F, C, H, W], float32, not random."""
        ...
