"""The toybox's text encoder: a fixed word list, word and position tables, two transformer layers.

Stands in for umT5 with the same contract: a prompt becomes [rows, text_dim]; rows past the prompt are zero.
It is trained with the
base model and frozen afterwards. Legend: B batch, L words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from evaluation.files import load_json
from models.checkpoints.containers import load_strict, read_metadata, read_safetensors, write_safetensors

PADDING = 0
WAN_NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，"  # noqa: RUF001
    "丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，"  # noqa: RUF001
    "杂乱的背景，三条腿，背景人很多，倒着走"  # noqa: RUF001
)
"""The negative prompt of Wan2.1's own sampler (Wan-Video/Wan2.1:wan/configs/shared_config.py). The cleaning
of prompts makes its commas ASCII."""
WORD = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")


class ToyTextEncoder(nn.Module):
    """Captions -> [B, text_len, text_dim], rows past the caption exactly zero; an empty caption is all zeros.

    words: the whole vocabulary, sorted and without duplicates; id 0 is padding, word i has id i + 1.
    """

    def __init__(
        self, words: Sequence[str], *, text_dim: int = 64, text_len: int = 32, layers: int = 2, heads: int = 4
    ) -> None:
        super().__init__()
        if not words or list(words) != sorted(set(words)):
            raise ValueError(
                "The vocabulary must be a sorted list of distinct words, with at least one word."
            )
        self.words = tuple(words)
        self.text_len = text_len
        self.text_dim = text_dim
        self.index = {word: number for number, word in enumerate(words, 1)}
        self.word = nn.Embedding(len(words) + 1, text_dim)
        self.position = nn.Embedding(text_len, text_dim)
        layer = nn.TransformerEncoderLayer(
            text_dim, heads, 4 * text_dim, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(
            layer, layers, norm=nn.LayerNorm(text_dim), enable_nested_tensor=False
        )

    def tokenize(self, captions: Sequence[str]) -> Tensor:
        """Word ids [B, text_len] (int64), 0 past the caption.

        Raises ValueError naming an unknown word, or a caption with more words than text_len.
        """
        ids = torch.zeros(len(captions), self.text_len, dtype=torch.int64)
        for row, caption in enumerate(captions):
            words = split_words(caption)
            unknown = [word for word in words if word not in self.index]
            if unknown:
                raise ValueError(
                    f"The word {unknown[0]!r} of the prompt {caption!r} is not in the toybox's vocabulary of "
                    f"{len(self.words)} words; use words of the toybox."
                )
            if len(words) > self.text_len:
                raise ValueError(
                    f"The prompt {caption!r} has {len(words)} words, the encoder takes {self.text_len}; "
                    "shorten it."
                )
            ids[row, : len(words)] = torch.tensor([self.index[word] for word in words], dtype=torch.int64)
        return ids

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings [B, text_len, text_dim] of word ids [B, text_len]."""
        padding = ids == PADDING
        rows = self.word(ids) + self.position.weight
        # a caption without words would mask every key; it may look at padding, its rows are zeroed below
        hidden: Tensor = self.layers(rows, src_key_padding_mask=padding & ~padding.all(1, keepdim=True))
        return hidden.masked_fill(padding[..., None], 0.0)

    def encode(self, captions: Sequence[str]) -> Tensor:
        """Prompt embeddings of captions, on the encoder's device, without gradient."""
        with torch.no_grad():
            return self.forward(self.tokenize(captions).to(self.word.weight.device))

    def save(self, path: Path | str, *, dtype: torch.dtype | None = None) -> None:
        """Write weights to a .safetensors file with the vocabulary in its header."""
        heads = self.layers.layers[0].self_attn.num_heads
        shape = {
            "text_dim": self.word.embedding_dim,
            "text_len": self.text_len,
            "layers": len(self.layers.layers),
            "heads": heads,
        }
        write_safetensors(
            path,
            self.state_dict(),
            dtype=dtype,
            metadata={"words": json.dumps(self.words), "shape": json.dumps(shape)},
        )

    @classmethod
    def load(cls, path: Path | str) -> ToyTextEncoder:
        """An encoder from its file, in float32, frozen. Raises ValueError if the header has no vocabulary."""
        header = read_metadata(path)
        if "words" not in header or "shape" not in header:
            raise ValueError(
                f"{path} holds no text encoder of the toybox (no vocabulary in its header); pass the one of "
                "this suite."
            )
        encoder = cls(
            load_json(header["words"], f"words of {path}"), **load_json(header["shape"], f"shape of {path}")
        )
        load_strict(
            encoder, {name: value.float() for name, value in read_safetensors(path).items()}, where=str(path)
        )
        return encoder.eval().requires_grad_(False)


def split_words(caption: str) -> list[str]:
    """Lower-case words and punctuation marks of a caption, in order."""
    return WORD.findall(caption.lower())


def vocabulary(captions: Sequence[str]) -> list[str]:
    """Sorted distinct words of captions."""
    return sorted({word for caption in captions for word in split_words(caption)})
