"""Layers of the Wan DiT (models/wan.py): projections of attention, norms, and the head.

Shapes are those of models/wan.py: B batch, T tokens, N heads, D head size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.attention import attend
from models.config import DtypePolicy, WanConfig
from models.fp8 import E4M3, Fp8Linear, HeadScales, QuantisedRows, attend_heads, quantise_heads
from models.fused import (
    Residual,
    add_gated,
    apply_linear,
    joined_linear,
    layer_norm,
    products_dtype,
    rms_norm,
    rms_norm_rotate,
    store_heads,
)
from models.rope import Rotation


class Attention(nn.Module):
    """Projections and norms of self- or cross-attention; self-attention itself is chosen by the caller."""

    def __init__(self, config: WanConfig, dtypes: DtypePolicy) -> None:
        super().__init__()
        self.num_heads, self.head_size = config.num_heads, config.head_dim
        self.q = nn.Linear(config.dim, config.dim)
        self.k = nn.Linear(config.dim, config.dim)
        self.v = nn.Linear(config.dim, config.dim)
        self.o = nn.Linear(config.dim, config.dim)
        self.norm_q = RMSNorm(config.dim, config.eps, fused=dtypes.fused)
        self.norm_k = RMSNorm(config.dim, config.eps, fused=dtypes.fused)
        self.qkv: Fp8Linear | None = None
        """q, k and v in fp8, one layer (`quantise_network` of models/fp8.py)."""
        self.head_scales: HeadScales | None = None
        """Of attention in fp8; None for attention in the dtype of q, k and v."""

    def project(self, x: Tensor | QuantisedRows, num_queries: int) -> Projected:
        """Projections of tokens x [B, T, dim]; q of the first `num_queries` alone. One product where
        `join_projections` made that possible and no gradient is wanted.
        """
        if self.qkv is not None:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
            return self._projected(take_first(q, num_queries), k, v.unflatten(-1, (self.num_heads, -1)))
        assert isinstance(x, Tensor), "only layers in fp8 take codes"
        together = None if torch.is_grad_enabled() else joined_linear(self.q, self.k, self.v)
        if together is not None and num_queries == x.shape[1]:
            dtype = products_dtype(self.q, x.device)
            weight, bias = (part.to(dtype) for part in together)
            q, k, v = functional.linear(x.to(dtype), weight, bias).chunk(3, dim=-1)
            return self._projected(q, k, v.unflatten(-1, (self.num_heads, -1)))
        q = apply_linear(self.q, take_first(x, num_queries))
        k = apply_linear(self.k, x)
        v = apply_linear(self.v, x).unflatten(-1, (self.num_heads, -1))
        return self._projected(q, k, v)

    def _projected(self, q: Tensor, k: Tensor, v: Tensor) -> Projected:
        return Projected(q, k, v, self.norm_q, self.norm_k, self.head_scales)

    def key_value(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Normed keys and values [B, T, N, D] of tokens x [B, T, dim]."""
        k = self.norm_k.heads(apply_linear(self.k, x), self.head_size)
        return k, apply_linear(self.v, x).unflatten(-1, (self.num_heads, -1))

    def attend_text(self, x: Tensor | QuantisedRows, text_kv: tuple[Tensor, Tensor]) -> Tensor:
        """Cross-attention of tokens x [B, T, dim] to all rows of the embedded text, padding included."""
        q = self.norm_q.heads(apply_linear(self.q, x), self.head_size)
        return apply_linear(self.o, attend(q, *text_kv).flatten(2))


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis (models/fused.py `rms_norm`)."""

    def __init__(self, dim: int, eps: float, *, fused: bool) -> None:
        super().__init__()
        self.eps, self.fused = eps, fused
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps, fused=self.fused)

    def heads(self, x: Tensor, head_size: int, rope: Rotation | None = None) -> Tensor:
        """Normed and, where a rotation is given, rotated heads [B, T, N, D] of projections x [B, T, dim]."""
        return rms_norm_rotate(x, self.weight, self.eps, head_size, rope, fused=self.fused)


class Head(nn.Module):
    """Last norm, modulated by the time embedding itself, and the projection to patches."""

    def __init__(self, config: WanConfig, dtypes: DtypePolicy) -> None:
        super().__init__()
        self.eps, self.fp32 = config.eps, dtypes.fp32_modules == "float32"
        self.head = nn.Linear(config.dim, config.patch_height * config.patch_width * config.out_channels)
        self.modulation = nn.Parameter(torch.zeros(1, 2, config.dim))

    def forward(self, stream: Residual, e: Tensor) -> Tensor:
        shift, scale = (self.modulation[:, None] + e[:, :, None]).unsqueeze(3).unbind(2)
        normed = layer_norm(add_gated(*stream), self.eps, fp32=self.fp32)
        return apply_linear(self.head, normed * (1 + scale) + shift)


class TextKV(NamedTuple):
    """Cross-attention keys and values of every layer, [B, text_len, N, D] each: computed once per prompt."""

    keys: list[Tensor]
    values: list[Tensor]


class Projected(NamedTuple):
    """One layer's tokens before norm and rotation."""

    q: Tensor
    """[B, query tokens, dim]."""
    k: Tensor
    """[B, T, dim]."""
    v: Tensor
    """[B, T, N, D]."""
    norm_q: RMSNorm
    norm_k: RMSNorm
    scales: HeadScales | None
    """Of attention in fp8."""

    def stored(self, rope: Rotation, keys: Tensor, values: Tensor, *, rotate_keys: bool) -> Tensor:
        """Queries [B, T, N, D], normed and rotated; keys, normed and rotated if asked, and values are written
        to the given parts of a cache, [B, T, N, D] each. Without gradient.
        """
        norms, fused = (self.norm_q, self.norm_k), self.norm_q.fused
        weights = norms[0].weight, norms[1].weight
        return store_heads(
            self.q, self.k, self.v, weights, norms[0].eps, rope, keys, values,
            rotate_keys=rotate_keys, fused=fused, scales=self.scales if keys.dtype == E4M3 else None,
        )  # fmt: skip

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention [B, T, N, D] of queries to keys and values [B, T, N, D], in fp8 where this layer has
        scales; they may be codes then.
        """
        return attend(q, k, v) if self.scales is None else attend_heads(q, k, v, self.scales, self.v.dtype)

    def code_k(self, k: Tensor) -> Tensor:
        """Keys [B, T, N, D] as a cache of codes holds them."""
        assert self.scales is not None, "only attention in fp8 has codes"
        return quantise_heads(k, self.scales.k)

    def code_v(self) -> Tensor:
        """Values [B, T, N, D] as a cache of codes holds them."""
        assert self.scales is not None, "only attention in fp8 has codes"
        return quantise_heads(self.v, self.scales.v)

    def normed_q(self, rope: Rotation | None = None) -> Tensor:
        """[B, query tokens, N, D], normed and, where a rotation is given, rotated; in q's dtype."""
        return self.norm_q.heads(self.q, self.v.shape[-1], rope)

    def normed_k(self, rope: Rotation | None = None) -> Tensor:
        """[B, T, N, D], normed and, where a rotation is given, rotated; in k's dtype."""
        return self.norm_k.heads(self.k, self.v.shape[-1], rope)


def take_first(x: Tensor, count: int) -> Tensor:
    """x[:, :count]; x itself where that is all of it, because the gradient of a slice is a copy."""
    return x if x.shape[1] == count else x[:, :count]
