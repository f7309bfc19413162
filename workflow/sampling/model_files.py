"""The model files of a sampling job: their identity, the network of a row, and embeddings of its prompts.

A file is either in our own format (safetensors with our header) or a released and fetched one. Legend: B
prompts, L tokens, D text size.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from baselines.build import Dtypes, ready_network
from baselines.native import Baseline, SolverSettings
from baselines.released import release_of
from evaluation.files import canonical_sha256
from models.checkpoints.lora import is_native_checkpoint
from models.checkpoints.open import open_model
from models.text import WAN_NEGATIVE
from models.text_and_pixels import is_small_text, open_text, tokenizer_beside
from models.wan import Wan
from workflow.fetching.checksums import verified_sha256
from workflow.fetching.own_weights import OwnWeights


class PromptEncoder(Protocol):
    """Embeds prompts. `prepare` may encode them beforehand and free the text encoder's memory."""

    def prepare(self, prompts: Sequence[str]) -> None: ...

    def rows(self, prompts: Sequence[str]) -> Tensor:
        """Prompt embeddings [B, L, D], zero past the end of a prompt."""
        ...


def row_sha256(path: Path, baseline: Baseline, checksums: Mapping[str, str]) -> str:
    """Identity of a row's weights: of the file, or of base and adapter where these are two files."""
    own = verified_sha256(path, checksums)
    if is_native_checkpoint(path):
        return own
    adapter = release_of(baseline, path).adapter
    if adapter is None or adapter.path is None:
        return own
    return canonical_sha256([own, verified_sha256(adapter.path, checksums)])


def text_sha256(path: Path, checksums: Mapping[str, str]) -> str:
    """Identity of a text encoder: of the file, or of encoder and tokenizer together where these are two."""
    own = verified_sha256(path, checksums)
    if is_small_text(path):
        return own
    return canonical_sha256([own, verified_sha256(tokenizer_beside(path) / "tokenizer.json", checksums)])


def negative_prompt(baseline: Baseline, text: Path) -> str | None:
    """The negative prompt of a row, None if it has none. text: file of its text encoder.

    The toybox's encoder knows the words of its captions alone; it takes the empty prompt.
    """
    schedule = baseline.schedule
    if not isinstance(schedule, SolverSettings) or schedule.negative is None:
        return None
    return "" if is_small_text(text) else WAN_NEGATIVE


def open_network(
    path: Path, baseline: Baseline, dtypes: Dtypes, device: torch.device, own: OwnWeights | None = None
) -> Wan:
    """A row's network on the device, frozen, in the precision that `dtypes` says.

    own: of weights that are no release of the baseline, what they do not say. Adapters stay active, or are
    folded into the weights where `dtypes` says so.
    """
    if own is None:
        wan = open_model(path, dtypes.network, release=release_of(baseline, path))
    else:
        wan = open_model(path, dtypes.network, **own.model_dump(exclude={"path"}))
    return ready_network(wan, dtypes, device)


class _SmallEncoder:
    """A small text encoder, which encodes every batch anew."""

    def __init__(self, encode: Callable[[Sequence[str]], Tensor]) -> None:
        self.rows = encode

    def prepare(self, prompts: Sequence[str]) -> None:
        """Encoding beforehand would gain nothing."""


def prompt_encoder(path: Path, sha256: str, folder: Path, device: torch.device) -> PromptEncoder:
    """The text encoder in a file.

    Embeddings of umT5 are kept in `folder`, a file a prompt, and umT5 is opened only if some are missing.
    """
    if is_small_text(path):
        return _SmallEncoder(open_text(path, device=device).encode)
    from models.wan_text import PromptEmbeddings  # only here: the embedded suite runs without transformers

    return PromptEmbeddings(folder, sha256, lambda: open_text(path, device=device))
