"""A tiny umT5 in Wan's names, and a tokenizer folder made on the spot."""

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

LAYERS, DIM, HEADS, HEAD, HIDDEN, BUCKETS = 2, 32, 4, 6, 48, 32
SPECIAL = ("<pad>", "</s>", "<s>", "<unk>")
BYTES = [f"<0x{number:02X}>" for number in range(256)]
WORDS = ["▁", "▁a", "▁red", "▁ball", "▁cat", "▁on", "▁meadow", "▁and", "s", "é"]
VOCAB = len(SPECIAL) + len(BYTES) + len(WORDS) + 4  # the table is longer than the tokenizer, as umT5's is


def wan_state(seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Random weights in Wan's names, large enough that every part of a layer changes the output."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int, scale: float = 0.3) -> Tensor:
        return (torch.randn(*shape, generator=generator) * scale).to(dtype)

    inner = HEADS * HEAD
    state = {"token_embedding.weight": draw(VOCAB, DIM, scale=1.0), "norm.weight": 1 + draw(DIM)}
    for block in (f"blocks.{i}" for i in range(LAYERS)):
        state |= {f"{block}.attn.{part}.weight": draw(inner, DIM) for part in "qkv"}
        state |= {
            f"{block}.attn.o.weight": draw(DIM, inner),
            f"{block}.norm1.weight": 1 + draw(DIM),
            f"{block}.norm2.weight": 1 + draw(DIM),
            f"{block}.pos_embedding.embedding.weight": draw(BUCKETS, HEADS, scale=1.0),
            f"{block}.ffn.gate.0.weight": draw(HIDDEN, DIM),
            f"{block}.ffn.fc1.weight": draw(HIDDEN, DIM),
            f"{block}.ffn.fc2.weight": draw(DIM, HIDDEN),
        }
    return state


def write_tokenizer(folder: Path) -> Tokenizer:
    """A word-piece list like umT5's: unknown is 3, bytes as a fallback, and a configuration that names
    T5Tokenizer.

    Returns the tokenizer itself, to compare with.
    """
    pieces = [(piece, 0.0) for piece in SPECIAL] + [(piece, -20.0) for piece in BYTES]
    pieces += [(piece, -3.0 - 0.01 * i) for i, piece in enumerate(WORDS)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens([AddedToken(piece, special=True) for piece in SPECIAL])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    facts = {
        "tokenizer_class": "T5Tokenizer",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "model_max_length": 512,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(facts), encoding="utf-8")
    return tokenizer
