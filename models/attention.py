"""Attention kernels behind one function, and the block structure of the interleaved (training-time test) sequence.

Legend: B batch, T query tokens, S key tokens, N heads, D head size.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(D)) v. q: [B, T, N, D]; k, v: [B, S, N, D]; mask: [T, S] bool, True is visible. Returns [B, T, N, D]."""
    out = scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask
    )
    return out.transpose(1, 2)


class Block(NamedTuple):
    """One query chunk and what it sees, in chunk indices: its own copy in full, and clean copies of earlier chunks."""

    chunk: int
    clean: bool
    sees: tuple[int, ...]


def interleaved_blocks(num_chunks: int, *, sink: int = 0, window: int | None = None) -> list[Block]:
    """Blocks N_0, C_0, ..., N_{K-1} of raven.md 4.2; the last chunk has no clean copy.

    sink, window: counted in chunks; a clean chunk j < k is visible if j < sink or k - j <= window (None: no limit).
    Raises ValueError for a negative sink or window.
    """
    if sink < 0 or (window is not None and window < 0):
        raise ValueError(
            f"Interleaved attention got sink {sink} and window {window}; both count chunks and cannot be negative."
        )
    blocks = []
    for k in range(num_chunks):
        sees = tuple(j for j in range(k) if j < sink or window is None or k - j <= window)
        blocks.append(Block(chunk=k, clean=False, sees=sees))
        if k < num_chunks - 1:
            blocks.append(Block(chunk=k, clean=True, sees=sees))
    return blocks


def interleaved_mask(
    chunks: Sequence[int],
    tokens_per_frame: int,
    *,
    sink: int = 0,
    window: int | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """[T, T] bool mask over tokens laid out as all noisy chunks, then all clean chunks but the last.

    chunks: latent frames of each chunk. The layout differs from the paper's interleaving only in order, which attention ignores.
    """
    noisy, clean, end = interleaved_ranges(chunks, tokens_per_frame)
    mask = torch.zeros(end, end, dtype=torch.bool, device=device)
    for block in interleaved_blocks(len(chunks), sink=sink, window=window):
        rows = clean[block.chunk] if block.clean else noisy[block.chunk]
        mask[rows, rows] = True
        for j in block.sees:
            mask[rows, clean[j]] = True
    return mask


class InterleavedRanges(NamedTuple):
    """Token ranges of every noisy and clean chunk, and the number of tokens."""

    noisy: list[slice]
    clean: list[slice]
    end: int


def interleaved_ranges(chunks: Sequence[int], tokens_per_frame: int) -> InterleavedRanges:
    """Where each chunk's tokens lie when all noisy chunks come first and the clean ones (without the last) follow."""
    starts = [0]
    for frames in (*chunks, *chunks[:-1]):
        starts.append(starts[-1] + frames * tokens_per_frame)
    ranges = [slice(a, b) for a, b in itertools.pairwise(starts)]
    return InterleavedRanges(ranges[: len(chunks)], ranges[len(chunks) :], starts[-1])


def attend_interleaved(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    chunks: Sequence[int],
    tokens_per_frame: int,
    *,
    sink: int,
    window: int | None,
) -> Tensor:
    """Block-wise form of `attend` with `interleaved_mask`: one dense call a block, no [T, T] mask.

    q: [B, T, N, D] for the noisy tokens alone or for all; k, v: all tokens. Returns one row per query token.
    """
    noisy, clean, _ = interleaved_ranges(chunks, tokens_per_frame)
    pieces: dict[bool, list[Tensor]] = {False: [], True: []}
    for block in interleaved_blocks(len(chunks), sink=sink, window=window):
        rows = clean[block.chunk] if block.clean else noisy[block.chunk]
        if rows.start >= q.shape[1]:
            continue
        seen = [clean[j] for j in block.sees] + [rows]
        own_k = torch.cat([k[:, part] for part in seen], dim=1)
        own_v = torch.cat([v[:, part] for part in seen], dim=1)
        pieces[block.clean].append(attend(q[:, rows], own_k, own_v))
    return torch.cat(pieces[False] + pieces[True], dim=1)


def block_causal_mask(
    chunks: Sequence[int], tokens_per_frame: int, device: torch.device | None = None
) -> Tensor:
    """[T, T] bool: a chunk sees itself and every earlier chunk (diffusion forcing, no clean copies)."""
    sizes = torch.tensor(chunks) * tokens_per_frame
    chunk_of = torch.repeat_interleave(torch.arange(len(chunks)), sizes)
    return (chunk_of[:, None] >= chunk_of[None, :]).to(device)
