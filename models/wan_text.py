"""Wan2.1's text encoder: transformers' UMT5EncoderModel fed from Wan's file or text_encoder/; embeddings on
disk.

A prompt becomes [512, text_dim]: its rows, then exact zeros. Nothing masks the zeros later: the network sees
512 rows.
Legend: B prompts, L = text_len rows, D = text_dim.
The dtypes are those of Wan2.1 (models/backbone.md#text-encoder).
"""

from __future__ import annotations

import hashlib
import html
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.checkpoints.containers import (
    load_strict,
    read_library_weights,
    read_metadata,
    read_safetensors,
    tensors_sha256,
    write_safetensors,
)
from models.interfaces import TextEncoder

log = logging.getLogger(__name__)

TEXT_LEN = 512
MAX_DISTANCE = 128  # of the relative positions; the one size that no tensor shows
WAN_NAMES = {"token_embedding.weight": "shared.weight", "norm.weight": "encoder.final_layer_norm.weight"}
WAN_BLOCK_NAMES = {
    "norm1.weight": "layer.0.layer_norm.weight",
    "attn.q.weight": "layer.0.SelfAttention.q.weight",
    "attn.k.weight": "layer.0.SelfAttention.k.weight",
    "attn.v.weight": "layer.0.SelfAttention.v.weight",
    "attn.o.weight": "layer.0.SelfAttention.o.weight",
    "pos_embedding.embedding.weight": "layer.0.SelfAttention.relative_attention_bias.weight",
    "norm2.weight": "layer.1.layer_norm.weight",
    "ffn.gate.0.weight": "layer.1.DenseReluDense.wi_0.weight",
    "ffn.fc1.weight": "layer.1.DenseReluDense.wi_1.weight",
    "ffn.fc2.weight": "layer.1.DenseReluDense.wo.weight",
}
TABLE, TABLE_AGAIN = "shared.weight", "encoder.embed_tokens.weight"


class WanTextEncoder:
    """Prompts -> [B, 512, D], rows past a prompt's last token exactly zero. Made by `load`."""

    text_len = TEXT_LEN

    def __init__(self, module: Any, tokenizer: Any) -> None:
        rows = module.shared.weight.shape[0]
        if len(tokenizer) > rows:
            raise ValueError(
                f"The tokenizer has {len(tokenizer)} tokens, the text encoder's table {rows} rows; pass "
                "the tokenizer folder of the same model (google/umt5-xxl)."
            )
        self.module = module.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.text_dim = int(module.config.d_model)

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        tokenizer: Path | str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
    ) -> WanTextEncoder:
        """The encoder of `models_t5_umt5-xxl-enc-bf16.pth` or of a transformers text_encoder/ folder.

        tokenizer: local folder with tokenizer.json. Sizes are read off the tensors; the file is mapped: one
        copy. Raises FileNotFoundError, and ValueError if any tensor is missing, unknown or of
        another shape.
        """
        # transformers takes seconds to import, and the toybox suite never needs it
        from transformers import UMT5EncoderModel

        state = _one_table(to_transformers(read_library_weights(path)), where=str(path))
        config = _config(state, where=str(path))
        words = open_tokenizer(tokenizer)
        with torch.device("meta"):
            module: Any = UMT5EncoderModel(config)
        module.set_input_embeddings(module.shared)  # one table, not two equal ones
        load_strict(module, {**state, TABLE_AGAIN: state[TABLE]}, where=str(path), assign=True)
        return cls(module.to(device=device, dtype=dtype), words)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings [B, 512, D] of prompts as written; more than 512 tokens are cut, with a warning."""
        cleaned = [clean_prompt(prompt) for prompt in prompts]
        for text, ids in zip(cleaned, self.tokenizer(cleaned, verbose=False).input_ids, strict=True):
            if len(ids) > self.text_len:
                log.warning(
                    "prompt %r has %d tokens, the text encoder reads the first %d",
                    text,
                    len(ids),
                    self.text_len,
                )
        tokens = self.tokenizer(
            cleaned,
            padding="max_length",
            padding_side="right",
            truncation=True,
            max_length=self.text_len,
            add_special_tokens=True,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self.module.shared.weight.device)
        hidden: Tensor = self.module(
            input_ids=tokens.input_ids, attention_mask=tokens.attention_mask
        ).last_hidden_state
        return hidden.masked_fill(tokens.attention_mask[..., None] == 0, 0.0)


def clean_prompt(prompt: str) -> str:
    """A prompt as the tokenizer gets it: encoding mended, HTML unescaped twice, white space collapsed and
    stripped.

    Not idempotent ("<i> &amp;amp;amp;lt;" keeps two of its escapes), so clean once.
    """
    import ftfy  # only here, so that reading embeddings of the toybox needs no such package

    return re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(prompt)))).strip()


def open_tokenizer(folder: Path | str) -> Any:
    """The tokenizer that the folder's tokenizer.json describes, as it stands.

    Not AutoTokenizer: for a T5Tokenizer, transformers 5 keeps the word list but rebuilds everything around it
    for T5 (unknown token 2, no byte fallback, words split first), which is wrong for umT5.
    Raises FileNotFoundError if the folder has no tokenizer.json.
    """
    from transformers import PreTrainedTokenizerFast

    if not (Path(folder) / "tokenizer.json").is_file():
        raise FileNotFoundError(
            f"{folder} has no tokenizer.json; pass the tokenizer folder of the snapshot (google/umt5-xxl "
            "or tokenizer)."
        )
    return PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)


def to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under transformers' names; unknown names stay, so that a strict load names them."""
    return {_transformers_name(name): value for name, value in state.items()}


def _transformers_name(name: str) -> str:
    block = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    if block and block[2] in WAN_BLOCK_NAMES:
        return f"encoder.block.{block[1]}.{WAN_BLOCK_NAMES[block[2]]}"
    return WAN_NAMES.get(name, name)


def _one_table(state: dict[str, Tensor], *, where: str) -> dict[str, Tensor]:
    """transformers may store the word table under two names; keep one. Raises ValueError if they differ."""
    again = state.pop(TABLE_AGAIN, None)
    if again is not None and not torch.equal(state.setdefault(TABLE, again), again):
        raise ValueError(
            f"{where} holds two different word tables ({TABLE}, {TABLE_AGAIN}); pass an unchanged file."
        )
    return state


def _config(state: Mapping[str, Tensor], *, where: str) -> Any:
    """transformers' configuration by the tensors' sizes. Raises ValueError if one of them is missing."""
    from transformers import UMT5Config

    first = "encoder.block.0.layer"
    names = [TABLE] + [
        f"{first}.{part}.weight"
        for part in ("0.SelfAttention.relative_attention_bias", "0.SelfAttention.q", "1.DenseReluDense.wi_0")
    ]
    for name in names:
        if name not in state:
            raise ValueError(
                f"{where} holds no umT5 encoder (no tensor {name}); pass models_t5_umt5-xxl-enc-bf16.pth "
                "or a text_encoder/ folder."
            )
    (vocab, dim), (buckets, heads), (inner, _), (hidden, _) = (state[name].shape for name in names)
    blocks = {match[1] for name in state if (match := re.match(r"encoder\.block\.(\d+)\.", name))}
    config = UMT5Config(
        vocab_size=vocab,
        d_model=dim,
        d_kv=inner // heads,
        d_ff=hidden,
        num_layers=len(blocks),
        num_heads=heads,
        relative_attention_num_buckets=buckets,
        relative_attention_max_distance=MAX_DISTANCE,
        dropout_rate=0.0,
        layer_norm_epsilon=1e-6,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
    )
    # the reference adds the bias to rounded scores and then takes the softmax; fused kernels round elsewhere
    config._attn_implementation = "eager"
    return config


class PromptEmbeddings:
    """Embeddings by prompt: one .safetensors per distinct cleaned prompt, its rows in bfloat16, its text in
    the header.

    Several jobs may share the folder. encoder_sha256 is the hash of the encoder's file and part of every
    file's name. The encoder is made by `make_encoder` at the first prompt that has no good file, and is kept
    until `release`.
    """

    def __init__(
        self, folder: Path | str, encoder_sha256: str, make_encoder: Callable[[], TextEncoder]
    ) -> None:
        self.folder = Path(folder)
        self.encoder_sha256 = encoder_sha256
        self.make_encoder = make_encoder
        self.encoder: TextEncoder | None = None

    def rows(self, prompts: Sequence[str]) -> Tensor:
        """[B, L, D] bfloat16 rows on the CPU, each prompt's alone. Raises ValueError for another dtype."""
        made: dict[str, Tensor] = {}
        for prompt in prompts:
            text = clean_prompt(prompt)
            if text not in made:
                stored = self._read(text)
                # the prompt as written, because the encoder cleans it too
                made[text] = self._make(text, prompt) if stored is None else stored
        return torch.stack([made[clean_prompt(prompt)] for prompt in prompts])

    def prepare(self, prompts: Sequence[str]) -> None:
        """Make what is missing, then let go of the encoder."""
        for prompt in prompts:
            self.rows([prompt])
        self.release()

    def release(self) -> None:
        """Let go of the encoder, so that its memory can be used for something else."""
        self.encoder = None

    def path(self, text: str) -> Path:
        """The file of a cleaned prompt."""
        return (
            self.folder
            / f"{hashlib.sha256(f'{self.encoder_sha256}|{text}'.encode()).hexdigest()}.safetensors"
        )

    def _make(self, text: str, prompt: str) -> Tensor:
        if self.encoder is None:
            self.encoder = self.make_encoder()
        # one prompt at a time: its rows must not depend on which other prompts happened to be missing
        padded = self.encoder.encode([prompt])[0].cpu()
        if padded.dtype != torch.bfloat16:
            raise ValueError(
                f"The text encoder gives {padded.dtype}, embeddings are stored in bfloat16; load it in "
                "bfloat16."
            )
        used = padded.ne(0).any(dim=1).nonzero()
        kept = {"rows": padded[: int(used.max()) + 1 if len(used) else 0]}
        header = {
            "prompt": text,
            "encoder_sha256": self.encoder_sha256,
            "text_len": str(self.encoder.text_len),
            "rows_sha256": tensors_sha256(kept),
        }
        write_safetensors(self.path(text), kept, metadata=header)
        return padded

    def _read(self, text: str) -> Tensor | None:
        """Stored rows [L, D]; None if there are none, or (said in the log) other ones."""
        path = self.path(text)
        if not path.is_file():
            return None
        try:
            header, tensors = read_metadata(path), read_safetensors(path)
        except ValueError as error:
            log.warning("stored embedding %s of prompt %r cannot be read (%s); made again", path, text, error)
            return None
        found = (header.get("prompt"), header.get("encoder_sha256"), header.get("rows_sha256"))
        if found != (text, self.encoder_sha256, tensors_sha256(tensors)):
            log.warning("stored embedding %s of prompt %r is not what was written; made again", path, text)
            return None
        kept = tensors["rows"]
        padded = kept.new_zeros(int(header["text_len"]), kept.shape[1])
        padded[: len(kept)] = kept
        return padded
