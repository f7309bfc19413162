"""What a sampling job loads, by what the files are: ours with a header, or released and fetched ones. Legend:
B prompts, L rows, D text size.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from baselines.build import Dtypes
from baselines.released import release_of
from baselines.spec import Baseline
from evaluation.files import file_sha256
from evaluation.shards import canonical_sha256
from models.checkpoints.lora import fold_adapters, is_native_checkpoint
from models.checkpoints.open import open_model
from models.text_and_pixels import is_small_text, open_text, tokenizer_beside
from models.wan import Wan, cast_parameters
from workflow.planning.suite import FETCHED_FOLDER


class TextRows(Protocol):
    """Text rows of prompts. `prepare` may encode beforehand and free the encoder's memory."""

    def prepare(self, prompts: Sequence[str]) -> None: ...

    def rows(self, prompts: Sequence[str]) -> Tensor:
        """[B, L, D], rows past a prompt zero."""
        ...


def read_proof(path: Path | None) -> dict[str, str]:
    """Sha256 of fetched files by path, as the fetch stage proved them; empty for suites that fetch nothing."""
    return {} if path is None else dict(json.loads(path.read_text(encoding="utf-8")))


def proven_sha256(path: Path, proof: Mapping[str, str]) -> str:
    """Sha256 of a model file: a fetched one's from its proof, any other's computed and compared with the
    .json beside it.

    That .json is a manifest of `convert`, or a shipped file's facts. Raises FileNotFoundError if something is
    missing, ValueError if the bytes are not the described ones.
    """
    if str(path).startswith(FETCHED_FOLDER):
        name = str(path).removeprefix(FETCHED_FOLDER)
        if name not in proof or not path.exists():
            raise FileNotFoundError(f"{path} is not among the fetched and proven files; run `make fetch`.")
        return proof[name]
    description = path.with_suffix(".json")
    for needed in (path, description):
        if not needed.is_file():
            raise FileNotFoundError(
                f"{needed} does not exist; shipped files are in the repository, others come from `convert`."
            )
    facts = json.loads(description.read_text(encoding="utf-8"))
    found = file_sha256(path)
    if found != facts["sha256"]:
        raise ValueError(
            f"{path} has sha256 {found}, but {description.name} says {facts['sha256']}; restore or remake "
            "the file."
        )
    return found


def row_sha256(path: Path, baseline: Baseline, proof: Mapping[str, str]) -> str:
    """Identity of a row's weights; where a released adapter goes on top, of both files together."""
    own = proven_sha256(path, proof)
    if is_native_checkpoint(path):
        return own
    adapter = release_of(baseline, path).adapter
    if adapter is None or adapter.path is None:
        return own
    return canonical_sha256([own, proven_sha256(adapter.path, proof)])


def text_sha256(path: Path, proof: Mapping[str, str]) -> str:
    """Identity of a text encoder; where its tokenizer is a file of its own, of both together."""
    own = proven_sha256(path, proof)
    if is_small_text(path):
        return own
    return canonical_sha256([own, proven_sha256(tokenizer_beside(path) / "tokenizer.json", proof)])


def open_network(path: Path, baseline: Baseline, dtypes: Dtypes, device: torch.device) -> Wan:
    """A row's network, frozen, on the device, in the precision of its profile; adapters active, or folded in
    where it says so.
    """
    wan = open_model(path, dtypes.network, release=release_of(baseline, path))
    wan.eval().requires_grad_(False)
    if dtypes.folded:
        fold_adapters(wan)
    return cast_parameters(wan, dtypes.matmul).to(device)


class _Encoded:
    """A small text encoder that is asked anew for every batch."""

    def __init__(self, encode: Callable[[Sequence[str]], Tensor]) -> None:
        self.rows = encode

    def prepare(self, prompts: Sequence[str]) -> None:
        """Nothing to gain."""


def text_rows(path: Path, sha256: str, folder: Path, device: torch.device) -> TextRows:
    """Text rows of the encoder in a file. umT5's are kept in `folder` per prompt, and it is only opened if
    some are missing.
    """
    if is_small_text(path):
        return _Encoded(open_text(path, device=device).encode)
    from models.wan_text import PromptEmbeddings  # only here: the embedded suite runs without transformers

    return PromptEmbeddings(folder, sha256, lambda: open_text(path, device=device))
