"""The causal Wan2.1 text-to-video DiT: one set of weights, four ways to attend.

Legend: B batch, F latent frames of the clip, G frames in the sequence (noisy and clean copies), P tokens per
frame, T = G * P, N heads, D head size. Clips and velocities are [B, F, C, H, W]; timesteps are [B, F] in
0..1000.

State-dict names are Wan's (raven.md 14.1), so a bidirectional checkpoint loads unchanged. The network
predicts the velocity v = noise - x0. Sources: raven.md 3-4, baselines.md 0.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from models.attention import (
    KERNEL_OPERATORS,
    attend,
    attend_block_causal,
    attend_interleaved,
    block_causal_mask,
    interleaved_mask,
)
from models.cache import KVCache, attend_cached, check_plan
from models.config import DtypePolicy, WanConfig
from models.plan import AttendPlan, merged_reads
from models.rope import Rotation, rotate, rotation

keeping_attention = partial(create_selective_checkpoint_contexts, KERNEL_OPERATORS)
"""Checkpointing that keeps the outputs of attention: two bytes a channel and token, for a third of a block's
forward time.
"""

MASK_TOKENS = 4096  # up to this many tokens a boolean mask is cheaper than one attention call per block


class TextKV(NamedTuple):
    """Cross-attention keys and values of every layer, [B, text_len, N, D] each: computed once per prompt."""

    keys: list[Tensor]
    values: list[Tensor]


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis: float32 inside, cast back, then times the weight (two
    roundings).
    """

    def __init__(self, dim: int, eps: float, *, fused: bool) -> None:
        super().__init__()
        self.eps, self.fused = eps, fused
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        if self.fused:
            return functional.rms_norm(wide, x.shape[-1:], eps=self.eps).to(x.dtype) * self.weight
        scale = torch.rsqrt(wide.pow(2).mean(dim=-1, keepdim=True) + self.eps)
        return (wide * scale).to(x.dtype) * self.weight

    def heads(self, x: Tensor, size: int, turn: Rotation | None = None) -> Tensor:
        """Normed and, where a rotation is given, rotated heads [B, T, N, size] of projections x [B, T, dim],
        in x's dtype.
        """
        if self.fused and in_kernels(x) and (turn is None or turn.cos.dtype == torch.float32):
            from models.kernels import norm_rotate_cuda  # Triton is there with CUDA builds of torch only

            return norm_rotate_cuda(x.unflatten(-1, (-1, size)), self.weight, self.eps, turn, x.dtype)
        normed = self(x).unflatten(-1, (-1, size))
        return (normed if turn is None else rotate(normed, turn)).to(x.dtype)


def in_kernels(x: Tensor) -> bool:
    """Whether fused operators on x run as kernels of models/kernels.py, which compute in float32."""
    return x.is_cuda and x.dtype != torch.float64


def products_dtype(layer: nn.Module, device: torch.device) -> torch.dtype:
    """dtype of a layer's matrix product: its weights', or autocast's where that is on."""
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return layer.weight.dtype


def apply_linear(layer: nn.Module, x: Tensor) -> Tensor:
    """A linear layer in the dtype of its product (the explicit form of autocast)."""
    return layer(x.to(products_dtype(layer, x.device)))


def first_frames(x: Tensor, count: int) -> Tensor:
    """x[:, :count]; x itself where that is all of it, because the gradient of a slice is a copy."""
    return x if x.shape[1] == count else x[:, :count]


class Attention(nn.Module):
    """Projections and norms of self- or cross-attention; the kernel is chosen by the caller."""

    def __init__(self, config: WanConfig, dtypes: DtypePolicy) -> None:
        super().__init__()
        self.heads, self.size, fused = config.num_heads, config.head_dim, dtypes.operators == "fused"
        self.q = nn.Linear(config.dim, config.dim)
        self.k = nn.Linear(config.dim, config.dim)
        self.v = nn.Linear(config.dim, config.dim)
        self.o = nn.Linear(config.dim, config.dim)
        self.norm_q = RMSNorm(config.dim, config.eps, fused=fused)
        self.norm_k = RMSNorm(config.dim, config.eps, fused=fused)

    def project(self, x: Tensor, queries: int) -> Projected:
        """Projections of tokens x [B, T, dim], of the first `queries` alone for q."""
        return Projected(
            apply_linear(self.q, first_frames(x, queries)),
            apply_linear(self.k, x),
            apply_linear(self.v, x).unflatten(-1, (self.heads, -1)),
            self.norm_q,
            self.norm_k,
        )

    def key_value(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Normed keys and values [B, T, N, D] of tokens x [B, T, dim]."""
        return self.norm_k.heads(apply_linear(self.k, x), self.size), apply_linear(self.v, x).unflatten(
            -1, (self.heads, -1)
        )


class Projected(NamedTuple):
    """One layer's tokens before norm and rotation. q: [B, queries, dim]; k: [B, T, dim]; v: [B, T, N, D]."""

    q: Tensor
    k: Tensor
    v: Tensor
    norm_q: RMSNorm
    norm_k: RMSNorm

    def queries(self, turn: Rotation | None = None) -> Tensor:
        """[B, queries, N, D], normed and, where a rotation is given, rotated; in v's dtype."""
        return self.norm_q.heads(self.q, self.v.shape[-1], turn)

    def keys(self, turn: Rotation | None = None) -> Tensor:
        """[B, T, N, D], normed and, where a rotation is given, rotated; in v's dtype."""
        return self.norm_k.heads(self.k, self.v.shape[-1], turn)


SelfAttend = Callable[[int, Projected], Tensor]
"""(layer, its projections of the queries and of all tokens) -> [B, queries, N, D]."""


class Residual(NamedTuple):
    """The residual stream x [B, G, P, dim], and a last update, times its gate, that is not yet added (fused
    operators only).
    """

    x: Tensor
    update: Tensor | None = None
    gate: Tensor | None = None


class WanBlock(nn.Module):
    """One transformer block with its own six modulation rows: shift, scale, gate for attention and for the
    FFN.
    """

    def __init__(self, config: WanConfig, dtypes: DtypePolicy) -> None:
        super().__init__()
        self.eps, self.fused = config.eps, dtypes.operators == "fused"
        self.fp32 = torch.float32 if dtypes.fp32_modules == "float32" else None
        self.self_attn = Attention(config, dtypes)
        self.norm3 = nn.LayerNorm(config.dim, eps=config.eps)
        self.cross_attn = Attention(config, dtypes)
        self.ffn = nn.Sequential(
            nn.Linear(config.dim, config.ffn_dim),
            nn.GELU(approximate="tanh"),
            nn.Linear(config.ffn_dim, config.dim),
        )
        self.modulation = nn.Parameter(torch.zeros(1, 6, config.dim))

    def text_kv(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-attention keys and values of embedded text [B, text_len, dim]."""
        return self.cross_attn.key_value(context)

    def forward(
        self,
        stream: Residual,
        e0: Tensor,
        text: Tensor | tuple[Tensor, Tensor],
        self_attend: Callable[[Projected], Tensor],
        queries: int,
        recompute: bool = False,
    ) -> Residual:
        """stream of G frames; e0: [B, G, 6, dim]; text: embedded rows [B, text_len, dim] or their `text_kv`.

        Only the first `queries` frames go on after self-attention. recompute: keep the inputs and what
        attention gave alone for the backward pass (activation checkpointing); `self_attend` then runs twice,
        so it must change nothing.
        """
        if recompute:
            return checkpoint(
                self._compute, stream, e0, text, self_attend, queries,
                use_reentrant=False, preserve_rng_state=False, context_fn=keeping_attention,
            )  # fmt: skip
        return self._compute(stream, e0, text, self_attend, queries)

    def _compute(
        self,
        stream: Residual,
        e0: Tensor,
        text: Tensor | tuple[Tensor, Tensor],
        self_attend: Callable[[Projected], Tensor],
        queries: int,
    ) -> Residual:
        text_kv = self.cross_attn.key_value(text) if isinstance(text, Tensor) else text
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.modulation[:, None] + e0).unsqueeze(3).unbind(2)
        x, hidden = self._add_norm(*stream, scale1, shift1)
        tokens = queries * x.shape[2]
        attended = self_attend(self.self_attn.project(hidden.flatten(1, 2), tokens)).flatten(2)
        x, gate1, shift2, scale2, gate2 = (
            first_frames(part, queries) for part in (x, gate1, shift2, scale2, gate2)
        )
        x, hidden = self._add_norm3(x, apply_linear(self.self_attn.o, attended).view_as(x), gate1)
        crossed = attend_text(self.cross_attn, hidden, text_kv)
        x, hidden = self._add_norm(x, crossed, None, scale2, shift2)
        update = apply_linear(self.ffn[2], self._activated(hidden))
        if self.fused and in_kernels(x):
            return Residual(x, update, gate2)
        return Residual(add_gated(x, update, gate2))

    def _activated(self, hidden: Tensor) -> Tensor:
        """GELU of the first FFN layer; one matrix product with it in the epilogue where there is no adapter."""
        up, activation, _ = self.ffn
        dtype, without_gradient = products_dtype(up, hidden.device), not torch.is_grad_enabled()
        if (
            self.fused
            and in_kernels(hidden)
            and without_gradient
            and type(up) is nn.Linear
            and dtype == torch.bfloat16
        ):
            bias, rows, weight = up.bias.to(dtype), hidden.flatten(0, -2), up.weight.to(dtype)
            return torch._addmm_activation(bias, rows, weight.t(), use_gelu=True).view(*hidden.shape[:-1], -1)
        return activation(apply_linear(up, hidden))

    def _add_norm(
        self, x: Tensor, update: Tensor | None, gate: Tensor | None, scale: Tensor, shift: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(x + update * gate, its norm modulated for the projections that follow)."""
        if self.fused and in_kernels(x):
            from models.kernels import add_norm_cuda  # Triton is there with CUDA builds of torch only

            dtype = products_dtype(self.self_attn.q, x.device)
            return add_norm_cuda(x, update, gate, scale, shift, eps=self.eps, one=True, dtype=dtype)
        x = add_gated(x, update, gate)
        return x, norm(x, self.eps, self.fp32) * (1 + scale) + shift

    def _add_norm3(self, x: Tensor, update: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
        """(x + update * gate, its norm with parameters)."""
        layer = self.norm3
        if self.fused and in_kernels(x):
            from models.kernels import add_norm_cuda  # Triton is there with CUDA builds of torch only

            dtype = products_dtype(self.cross_attn.q, x.device)
            return add_norm_cuda(
                x, update, gate, layer.weight, layer.bias, eps=layer.eps, one=False, dtype=dtype
            )
        x = add_gated(x, update, gate)
        return x, affine_norm(layer, x)


def add_gated(x: Tensor, update: Tensor | None, gate: Tensor | None) -> Tensor:
    """x + update * gate, or what there is of it."""
    if update is None:
        return x
    return x + (update if gate is None else update * gate)


def norm(x: Tensor, eps: float, fp32: torch.dtype | None) -> Tensor:
    """LayerNorm without parameters in x's dtype. With an fp32 it is computed and returned in the fp32's
    dtype, but its values are rounded to x's: that shows in the first block, whose x is the patch embedding
    (raven.md 3.4).
    """
    if fp32 is None:
        return functional.layer_norm(x, x.shape[-1:], eps=eps)
    return functional.layer_norm(x.to(fp32), x.shape[-1:], eps=eps).to(x.dtype).to(fp32)


def affine_norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    """LayerNorm with parameters, in the parameters' dtype."""
    return layer(x.to(layer.weight.dtype))


def attend_text(layer: Attention, x: Tensor, text_kv: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-attention of [B, G, P, dim] tokens to all text rows, padding included."""
    keys, values = text_kv
    queries = layer.norm_q.heads(apply_linear(layer.q, x.flatten(1, 2)), layer.size)
    attended = attend(queries, keys, values)
    return apply_linear(layer.o, attended.flatten(2)).unflatten(1, x.shape[1:3])


class Head(nn.Module):
    """Last norm, modulated by the time embedding itself, and the projection to patches."""

    def __init__(self, config: WanConfig, dtypes: DtypePolicy) -> None:
        super().__init__()
        self.eps = config.eps
        self.fp32 = torch.float32 if dtypes.fp32_modules == "float32" else None
        self.head = nn.Linear(config.dim, config.patch_height * config.patch_width * config.out_channels)
        self.modulation = nn.Parameter(torch.zeros(1, 2, config.dim))

    def forward(self, stream: Residual, e: Tensor) -> Tensor:
        x = add_gated(*stream)
        shift, scale = (self.modulation[:, None] + e[:, :, None]).unsqueeze(3).unbind(2)
        return apply_linear(self.head, norm(x, self.eps, self.fp32) * (1 + scale) + shift)


class Wan(nn.Module):
    """Wan2.1 DiT, from a 2-layer toy to 1.3B; see the module docstring for shapes.

    recompute: set it to checkpoint the activations of every block where a gradient is wanted and no cache is
    written.
    """

    def __init__(self, config: WanConfig, dtypes: DtypePolicy | None = None) -> None:
        super().__init__()
        self.config = config
        self.dtypes = dtypes or DtypePolicy(rotary="float32")
        self.recompute = False
        dim = config.dim
        self.patch_embedding = nn.Conv3d(
            config.in_channels, dim, kernel_size=(1, config.patch_height, config.patch_width),
            stride=(1, config.patch_height, config.patch_width),
        )  # fmt: skip
        self.text_embedding = nn.Sequential(
            nn.Linear(config.text_dim, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim)
        )
        self.time_embedding = nn.Sequential(nn.Linear(config.freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(WanBlock(config, self.dtypes) for _ in range(config.num_layers))
        self.head = Head(config, self.dtypes)
        self._tables: dict[tuple[object, ...], Rotation] = {}  # kept for good: CUDA graphs read them

    # -- the four ways to call the network
    # ------------------------------------------------------------------------------

    def forward(self, x: Tensor, t: Tensor, context: Tensor | TextKV) -> Tensor:
        """Velocity with every token seeing every token (teacher, fake score, base model). x: [B, F, C, H, W];
        t: [B, F].
        """
        turn = self._rotation(range(x.shape[1]), x)

        def self_attend(_: int, tokens: Projected) -> Tensor:
            return attend(tokens.queries(turn), tokens.keys(turn), tokens.v)

        return self._run(x, t, context, self_attend)

    def interleaved(
        self, noisy: Tensor, clean: Tensor, t: Tensor, context: Tensor | TextKV, *,
        chunks: Sequence[int], sink: int = 0, window: int | None = None,
    ) -> Tensor:  # fmt: skip
        """Velocity of every noisy chunk given the clean copies of the chunks before it, in one forward
        (training-time test).

        noisy, clean: [B, F, C, H, W]; t: [B, F] timesteps of the noisy frames, clean ones are at 0. chunks:
        frames of each chunk, summing to F; sink, window: in chunks. Equals `cached` on the same clean history
        (tests T2, T8 of raven.md 20). Raises ValueError if the chunks do not add up to F.
        """
        frames = noisy.shape[1]
        if sum(chunks) != frames:
            raise ValueError(
                f"Chunks {tuple(chunks)} add up to {sum(chunks)} frames but the clip has {frames}; pass "
                "chunks that fit."
            )
        history = frames - chunks[-1]
        positions = (*range(frames), *range(history))
        turn = self._rotation(positions, noisy)
        tokens = self._tokens_per_frame(noisy)
        mask = None
        if len(positions) * tokens <= MASK_TOKENS:
            mask = interleaved_mask(chunks, tokens, sink=sink, window=window, device=noisy.device)

        def self_attend(_: int, projected: Projected) -> Tensor:
            queries = projected.q.shape[1]
            q = projected.queries(Rotation(turn.cos[:queries], turn.sin[:queries]))
            k = projected.keys(turn)
            if mask is not None:
                return attend(q, k, projected.v, mask[:queries])
            return attend_interleaved(q, k, projected.v, chunks, tokens, sink=sink, window=window)

        x = torch.cat([noisy, clean[:, :history].to(noisy.dtype)], dim=1)
        t = torch.cat([t, t.new_zeros(t.shape[0], history)], dim=1)
        return self._run(x, t, context, self_attend, queries=frames)

    def block_causal(
        self, x: Tensor, t: Tensor, context: Tensor | TextKV, *, chunks: Sequence[int]
    ) -> Tensor:
        """Velocity with every chunk seeing itself and all earlier chunks as they are (diffusion forcing)."""
        turn = self._rotation(range(x.shape[1]), x)
        tokens = self._tokens_per_frame(x)
        mask = None
        if x.shape[1] * tokens <= MASK_TOKENS:
            mask = block_causal_mask(chunks, tokens, x.device)

        def self_attend(_: int, own: Projected) -> Tensor:
            q, k = own.queries(turn), own.keys(turn)
            if mask is not None:
                return attend(q, k, own.v, mask)
            return attend_block_causal(q, k, own.v, chunks, tokens)

        return self._run(x, t, context, self_attend)

    def cached(
        self, x: Tensor, t: Tensor, context: Tensor | TextKV, cache: KVCache, plan: AttendPlan
    ) -> Tensor:
        """Velocity of the frames of one call, attending to the cache as the plan says; the cache is updated
        in place.

        Raises ValueError if the plan is for another number of frames or leaves the cache.
        """
        if x.shape[1] != plan.frames:
            raise ValueError(
                f"The attend plan is for {plan.frames} frames but the call has {x.shape[1]}; plan this "
                "call's frames."
            )
        check_plan(plan, cache.capacity)
        if not torch.is_grad_enabled():
            plan = replace(plan, reads=merged_reads(plan))

        def rotation_at(start: int, frames: int) -> Rotation:
            return self._rotation(range(start, start + frames), x)

        def self_attend(layer: int, tokens: Projected) -> Tensor:
            return attend_cached(cache, plan, layer, tokens, rotation_at=rotation_at)

        return self._run(x, t, context, self_attend, recompute=False)

    # -- parts -----------------------------------------------------------------------------------------------
    # -------------

    def embed_text(self, text: Tensor) -> Tensor:
        """[B, L, text_dim] -> [B, text_len, dim]; rows past L are the MLP's answer to zeros and stay visible
        (raven.md 3.2).

        Raises ValueError if there are more rows than text_len.
        """
        missing = self.config.text_len - text.shape[1]
        if missing < 0:
            raise ValueError(
                f"A prompt has {text.shape[1]} text rows, the model takes {self.config.text_len}; shorten "
                "the prompt."
            )
        first, activation, second = self.text_embedding
        padded = functional.pad(text, (0, 0, 0, missing))
        with self._products(text):
            return apply_linear(second, activation(apply_linear(first, padded)))

    def text_kv(self, context: Tensor) -> TextKV:
        """Cross-attention keys and values of all layers from embedded text [B, text_len, dim]."""
        with self._products(context):
            pairs = [block.text_kv(context) for block in self.blocks]
        return TextKV([key for key, _ in pairs], [value for _, value in pairs])

    def _patchify(self, x: Tensor) -> Tensor:
        """[B, F, C, H, W] -> [B, F, P, dim]. Raises ValueError if the patch does not divide the frame."""
        self._tokens_per_frame(x)
        layer, config = self.patch_embedding, self.config
        x = x.to(layer.weight.dtype)
        if self.dtypes.operators == "plain":
            return rearrange(layer(x.transpose(1, 2)), "b d f h w -> b f (h w) d")
        patches = rearrange(
            x, "b f c (h p) (w q) -> b f (h w) (c p q)", p=config.patch_height, q=config.patch_width
        )
        return functional.linear(patches, layer.weight.flatten(1), layer.bias)

    def _products(self, x: Tensor) -> AbstractContextManager[object]:
        """Where matrix products are in `dtypes.products`. No cache of casted weights: they change, and are
        gathered anew.
        """
        if self.dtypes.products == "parameters":
            return nullcontext()
        return torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False)

    def _tokens_per_frame(self, x: Tensor) -> int:
        return self.config.tokens_per_frame(x.shape[3], x.shape[4])

    def _rotation(self, frames: Sequence[int], x: Tensor) -> Rotation:
        dtype = torch.float64 if self.dtypes.rotary == "float64" else torch.float32
        height, width = x.shape[3] // self.config.patch_height, x.shape[4] // self.config.patch_width
        key = (tuple(frames), height, width, dtype, x.device)
        if key not in self._tables:
            self._tables[key] = rotation(frames, height, width, self.config.rotary_pairs, dtype, x.device)
        return self._tables[key]

    def embed_time(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Time embedding e [B, F, dim] and block modulation e0 [B, F, 6, dim]. The sinusoid is computed in
        float64.
        """
        half = self.config.freq_dim // 2
        frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device=t.device) / half)
        angles = t.to(torch.float64)[..., None] * frequencies
        sinusoid = torch.cat([angles.cos(), angles.sin()], dim=-1)
        first, activation, second = self.time_embedding
        e = apply_linear(second, activation(apply_linear(first, sinusoid)))
        silu, project = self.time_projection
        return e, apply_linear(project, silu(e)).unflatten(-1, (6, -1))

    def _run(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor | TextKV,
        self_attend: SelfAttend,
        queries: int | None = None,
        recompute: bool = True,
    ) -> Tensor:
        """Patchify, blocks, head, unpatchify. `queries`: frames whose output is wanted; the rest only serves
        as keys.
        """
        config = self.config
        height, width = x.shape[3] // config.patch_height, x.shape[4] // config.patch_width
        with self._products(x):
            stream = Residual(self._patchify(x))
        e, e0 = self.embed_time(t)
        recompute = recompute and self.recompute and torch.is_grad_enabled()
        last = len(self.blocks) - 1
        wanted = x.shape[1] if queries is None else queries
        for layer, block in enumerate(self.blocks):
            keep = wanted if layer == last else x.shape[1]
            text = context if isinstance(context, Tensor) else (context.keys[layer], context.values[layer])
            with self._products(x):
                stream = block(stream, e0, text, partial(self_attend, layer), keep, recompute)
        out = self.head(stream, e[:, :wanted])
        return rearrange(
            out,
            "b f (h w) (p q c) -> b f c (h p) (w q)",
            h=height,
            w=width,
            p=config.patch_height,
            q=config.patch_width,
        )


FP32_MODULES = ("time_embedding", "time_projection", "modulation", "norm", "head")


def stored_dtype(name: str, dtypes: DtypePolicy, dtype: torch.dtype) -> torch.dtype:
    """dtype of one parameter of a network whose weights are `dtype`: float32 in an fp32 (time path,
    modulations, norms, head; adapters inside them too) where the dtypes keep any.
    """
    fp32 = dtypes.fp32_modules == "float32" and any(part in name for part in FP32_MODULES)
    return torch.float32 if fp32 else dtype


def cast_parameters(wan: Wan, dtype: torch.dtype) -> Wan:
    """Cast the weights, and adapters on them, to `dtype` but for the float32 fp32_modules."""
    for name, parameter in wan.named_parameters():
        parameter.data = parameter.data.to(stored_dtype(name, wan.dtypes, dtype))
    return wan


def init_weights(wan: Wan, generator: torch.Generator, *, zero_head: bool = True) -> None:
    """Wan's own initialisation: Xavier for linear layers, N(0, 0.02) for text and time embeddings, N(0,
    1/dim) modulations.

    zero_head False gives the head and the norms random values too, which tests need: with a zero head every
    output is 0.
    """
    with torch.no_grad():
        for name, parameter in wan.named_parameters():
            if name.endswith("modulation"):
                parameter.normal_(std=wan.config.dim**-0.5, generator=generator)
            elif name.endswith("norm_q.weight") or name.endswith("norm_k.weight") or "norm3" in name:
                centre = 0.0 if name.endswith("bias") else 1.0
                parameter.fill_(centre)
                if not zero_head:
                    parameter.add_(
                        0.1 * torch.randn(parameter.shape, generator=generator, device=parameter.device)
                    )
            elif name.endswith("bias") or (name == "head.head.weight" and zero_head):
                parameter.zero_()
            elif name.startswith(("text_embedding", "time_embedding")):
                parameter.normal_(std=0.02, generator=generator)
            else:
                nn.init.xavier_uniform_(
                    parameter.flatten(1) if parameter.dim() > 2 else parameter, generator=generator
                )
