"""The causal Wan2.1 text-to-video DiT: one set of weights, four ways to attend.

Legend: B batch, F latent frames of the clip, G frames in the sequence (noisy and clean copies), P tokens per
frame, T = G * P, N heads, D head size. Clips and velocities are [B, F, C, H, W]; timesteps are [B, F] in
0..1000.

State-dict names are Wan's (models/backbone.md#state-dict), so a bidirectional checkpoint loads unchanged. The
network predicts the velocity v = noise - x0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from models.attention import (
    KERNEL_OPERATORS,
    block_causal_attention,
    interleaved_attention,
)
from models.cache import KVCache, attend_cached, check_plan
from models.config import DtypePolicy, WanConfig
from models.fp8 import E4M3, QuantisedRows
from models.fused import (
    Residual,
    add_affine_norm,
    add_modulated_norm,
    apply_linear,
    embed_patches,
    join_linear,
    linear_gelu,
    residual,
)
from models.plan import AttendPlan, merged_reads
from models.rope import Rotation, rotation
from models.wan_layers import Attention, Head, Projected, TextKV, take_first

FP32_MODULES = ("time_embedding", "time_projection", "modulation", "norm", "head")
"""Parts of the names of parameters that `fp32_modules: float32` keeps in float32."""


class Wan(nn.Module):
    """Wan2.1 DiT, from a 2-layer toy to 1.3B; see the module docstring for shapes."""

    activation_checkpointing: bool
    """Set it to compute the activations of every block again in the backward pass instead of keeping them.

    It has an effect where a gradient is wanted and no cache is written."""

    memory: Wan | None
    """A network of the same size with weights of its own, which makes the context passes in this one's place
    (SGF+); None if this one makes them."""

    def __init__(self, config: WanConfig, dtypes: DtypePolicy | None = None) -> None:
        super().__init__()
        self.config = config
        self.dtypes = dtypes or DtypePolicy(rotary="float32")
        self.activation_checkpointing = False
        self.memory = None
        dim = config.dim
        patch = (1, config.patch_height, config.patch_width)
        self.patch_embedding = nn.Conv3d(config.in_channels, dim, kernel_size=patch, stride=patch)
        self.text_embedding = nn.Sequential(
            nn.Linear(config.text_dim, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim)
        )
        self.time_embedding = nn.Sequential(nn.Linear(config.freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks: Any = nn.ModuleList(WanBlock(config, self.dtypes) for _ in range(config.num_layers))
        self.head = Head(config, self.dtypes)
        self._rotations: dict[tuple[object, ...], Rotation] = {}  # kept for good: CUDA graphs read them

    @property
    def weight_sets(self) -> tuple[Wan, ...]:
        """This network, and the one that makes its context passes if that is another."""
        return (self,) if self.memory is None else (self, self.memory)

    # the four ways to call the network

    def forward(self, x: Tensor, t: Tensor, context: Tensor | TextKV) -> Tensor:
        """Velocity with every token seeing every token (teacher, fake score, base model)."""
        rope = self._rotation(range(x.shape[1]), x)

        def self_attend(_: int, own: Projected) -> Tensor:
            return own.attend(own.normed_q(rope), own.normed_k(rope), own.v)

        return self._run(x, t, context, self_attend)

    def interleaved(
        self, noisy: Tensor, clean: Tensor, t: Tensor, context: Tensor | TextKV, *,
        chunks: Sequence[int], sink: int = 0, window: int | None = None,
    ) -> Tensor:  # fmt: skip
        """Velocity of every noisy chunk given the clean copies of the chunks before it, in one forward
        (training-time test).

        noisy, clean: [B, F, C, H, W]; t: [B, F] timesteps of the noisy frames, clean ones are at 0. chunks:
        frames of each chunk; sink, window: in chunks. Equals `cached` on the same clean history
        (models/training/methods.md#properties-that-must-hold). Raises ValueError if chunks do not add up to
        F.
        """
        frames = noisy.shape[1]
        if sum(chunks) != frames:
            raise ValueError(
                f"Chunks {tuple(chunks)} add up to {sum(chunks)} frames but the clip has {frames}; pass "
                "chunks that fit."
            )
        history = frames - chunks[-1]
        rope = self._rotation((*range(frames), *range(history)), noisy)
        tokens = self._tokens_per_frame(noisy)
        packed = interleaved_attention(chunks, tokens, sink=sink, window=window, device=noisy.device)

        def self_attend(_: int, own: Projected) -> Tensor:
            num_queries = own.q.shape[1]
            q = own.normed_q(Rotation(rope.cos[:num_queries], rope.sin[:num_queries]))
            return packed(q, own.normed_k(rope), own.v)

        x = torch.cat([noisy, clean[:, :history].to(noisy.dtype)], dim=1)
        t = torch.cat([t, t.new_zeros(t.shape[0], history)], dim=1)
        return self._run(x, t, context, self_attend, num_query_frames=frames)

    def block_causal(
        self, x: Tensor, t: Tensor, context: Tensor | TextKV, *, chunks: Sequence[int]
    ) -> Tensor:
        """Velocity with every chunk seeing itself and all earlier chunks as they are (diffusion forcing)."""
        rope = self._rotation(range(x.shape[1]), x)
        causal = block_causal_attention(chunks, self._tokens_per_frame(x), device=x.device)

        def self_attend(_: int, own: Projected) -> Tensor:
            return causal(own.normed_q(rope), own.normed_k(rope), own.v)

        return self._run(x, t, context, self_attend)

    def cached(
        self, x: Tensor, t: Tensor, context: Tensor | TextKV, cache: KVCache, plan: AttendPlan
    ) -> Tensor:
        """Velocity of the frames of one call, attending to the cache as the plan says.

        The cache is updated in place. Raises ValueError if the plan is for another number of frames or leaves
        the cache.
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

        def self_attend(layer: int, own: Projected) -> Tensor:
            return attend_cached(cache, plan, layer, own, rotation_at=rotation_at)

        return self._run(x, t, context, self_attend, writes_cache=True)

    def cache_for(self, x: Tensor, plan: AttendPlan, capacity: int, dtype: torch.dtype) -> KVCache:
        """A cache for calls on latents like x [B, f, C, H, W], of which this plan is the first: of `dtype`,
        or of codes where attention is in fp8 and keys are stored as they are read.
        """
        codes = self.dtypes.attention == "fp8" and plan.write is not None and plan.write.form == "rotated"
        return KVCache.for_calls(self.config, x, capacity, E4M3 if codes else dtype)

    # embeddings

    def embed_text(self, text: Tensor) -> Tensor:
        """Prompt embeddings [B, L, text_dim] -> [B, text_len, dim].

        Rows past L are the MLP's answer to zeros and stay visible (models/backbone.md#forward-pass). Raises
        ValueError if there are more rows than text_len.
        """
        missing = self.config.text_len - text.shape[1]
        if missing < 0:
            raise ValueError(
                f"A prompt's embedding has {text.shape[1]} rows, the model takes {self.config.text_len}; "
                "shorten the prompt."
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

    def embed_time(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding e [B, F, dim] and block modulation e0 [B, F, 6, dim]; the sinusoid is in float64."""
        half = self.config.freq_dim // 2
        frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device=t.device) / half)
        angles = t.to(torch.float64)[..., None] * frequencies
        sinusoid = torch.cat([angles.cos(), angles.sin()], dim=-1)
        first, activation, second = self.time_embedding
        e = apply_linear(second, activation(apply_linear(first, sinusoid)))
        silu, project = self.time_projection
        return e, apply_linear(project, silu(e)).unflatten(-1, (6, -1))

    # parts

    def _run(
        self, x: Tensor, t: Tensor, context: Tensor | TextKV,
        self_attend: Callable[[int, Projected], Tensor],
        num_query_frames: int | None = None,
        writes_cache: bool = False,
    ) -> Tensor:  # fmt: skip
        """Patch embedding, blocks, head, and patches back to frames.

        self_attend: (layer, its projected tokens) -> [B, query tokens, N, D]. num_query_frames: frames whose
        output is wanted, all by default; the rest only serves as keys.
        """
        with self._products(x):
            stream = Residual(self._patchify(x))
        e, e0 = self.embed_time(t)
        checkpointing = self.activation_checkpointing and torch.is_grad_enabled() and not writes_cache
        wanted = x.shape[1] if num_query_frames is None else num_query_frames
        for layer, block in enumerate(self.blocks):
            frames = wanted if layer == len(self.blocks) - 1 else x.shape[1]
            text = context if isinstance(context, Tensor) else (context.keys[layer], context.values[layer])
            with self._products(x):
                stream = block(stream, e0, text, partial(self_attend, layer), frames, checkpointing)
        out = self.head(stream, e[:, :wanted])
        height, width = self.config.patch_height, self.config.patch_width
        rows = x.shape[3] // height
        v: Tensor = rearrange(out, "b f (h w) (p q c) -> b f c (h p) (w q)", h=rows, p=height, q=width)
        return v

    def _patchify(self, x: Tensor) -> Tensor:
        """[B, F, C, H, W] -> [B, F, P, dim]. Raises ValueError if the patch does not divide the frame."""
        self._tokens_per_frame(x)
        layer = self.patch_embedding
        return embed_patches(layer, x.to(layer.weight.dtype), fused=self.dtypes.fused)

    def _products(self, x: Tensor) -> AbstractContextManager[object]:
        """Matrix products in `dtypes.products`. Casts are not cached, since weights are gathered anew."""
        if self.dtypes.products == "parameters":
            return nullcontext()
        return torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False)

    def _tokens_per_frame(self, x: Tensor) -> int:
        return self.config.tokens_per_frame(x.shape[3], x.shape[4])

    def _rotation(self, frames: Sequence[int], x: Tensor) -> Rotation:
        dtype = torch.float64 if self.dtypes.rotary == "float64" else torch.float32
        height, width = x.shape[3] // self.config.patch_height, x.shape[4] // self.config.patch_width
        key = (tuple(frames), height, width, dtype, x.device)
        if key not in self._rotations:
            self._rotations[key] = rotation(frames, height, width, self.config.rotary_pairs, dtype, x.device)
        return self._rotations[key]


class WanBlock(nn.Module):
    """One transformer block; `modulation` holds shift, scale and gate of attention, then of the FFN."""

    def __init__(self, config: WanConfig, dtypes: DtypePolicy) -> None:
        super().__init__()
        self.eps, self.fused, self.fp32 = config.eps, dtypes.fused, dtypes.fp32_modules == "float32"
        self.self_attn = Attention(config, dtypes)
        self.norm3 = nn.LayerNorm(config.dim, eps=config.eps)
        self.cross_attn = Attention(config, dtypes)
        self.ffn = nn.Sequential(
            nn.Linear(config.dim, config.ffn_dim),
            nn.GELU(approximate="tanh"),
            nn.Linear(config.ffn_dim, config.dim),
        )
        self.modulation = nn.Parameter(torch.zeros(1, 6, config.dim))

    def forward(
        self,
        stream: Residual,
        e0: Tensor,
        text: Tensor | tuple[Tensor, Tensor],
        self_attend: Callable[[Projected], Tensor],
        num_query_frames: int,
        checkpointing: bool = False,
    ) -> Residual:
        """stream: G frames; e0: [B, G, 6, dim]; text: embedded [B, text_len, dim] or its keys and values.

        Only the first `num_query_frames` go on after self-attention. checkpointing: keep the inputs and what
        attention gave alone for the backward pass; `self_attend` then runs twice, so it must change nothing.
        """
        inputs = (stream, e0, text, self_attend, num_query_frames)
        if not checkpointing:
            return self._compute(*inputs)
        # the outputs of attention are two bytes a channel and token, for a third of a block's forward time
        keep_attention = partial(create_selective_checkpoint_contexts, KERNEL_OPERATORS)
        after: Residual = checkpoint(
            self._compute, *inputs, use_reentrant=False, preserve_rng_state=False, context_fn=keep_attention
        )
        return after

    def _compute(
        self,
        stream: Residual,
        e0: Tensor,
        text: Tensor | tuple[Tensor, Tensor],
        self_attend: Callable[[Projected], Tensor],
        num_query_frames: int,
    ) -> Residual:
        text_kv = self.cross_attn.key_value(text) if isinstance(text, Tensor) else text
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.modulation[:, None] + e0).unsqueeze(3).unbind(2)

        x, hidden = self._modulated_norm(stream, scale1, shift1)
        own = self.self_attn.project(hidden.flatten(1, 2), num_query_frames * x.shape[2])
        attended = apply_linear(self.self_attn.o, self_attend(own).flatten(2))
        kept = (take_first(part, num_query_frames) for part in (x, gate1, shift2, scale2, gate2))
        x, gate1, shift2, scale2, gate2 = kept

        stream = Residual(x, attended.view_as(x), gate1)
        x, hidden = add_affine_norm(stream, self.norm3, into=self.cross_attn.q, fused=self.fused)
        crossed = self.cross_attn.attend_text(hidden.flatten(1, 2), text_kv)

        stream = Residual(x, crossed.view_as(x))
        x, hidden = self._modulated_norm(stream, scale2, shift2)
        up, gelu, down = self.ffn
        update = apply_linear(down, linear_gelu(up, gelu, hidden, fused=self.fused))
        return residual(x, update, gate2, fused=self.fused)

    def text_kv(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of embedded text; a method of the block, so that FSDP gathers its weights."""
        return self.cross_attn.key_value(context)

    def _modulated_norm(
        self, stream: Residual, scale: Tensor, shift: Tensor
    ) -> tuple[Tensor, Tensor | QuantisedRows]:
        into = self.self_attn.q  # its products have the dtype of all products of the block
        return add_modulated_norm(
            stream, scale, shift, eps=self.eps, fp32=self.fp32, into=into, fused=self.fused
        )


def stored_dtype(name: str, dtypes: DtypePolicy, dtype: torch.dtype) -> torch.dtype:
    """The dtype of parameter `name`: `dtype`, or float32 where the policy keeps `FP32_MODULES` so."""
    fp32 = dtypes.fp32_modules == "float32" and any(part in name for part in FP32_MODULES)
    return torch.float32 if fp32 else dtype


def cast_parameters(wan: Wan, dtype: torch.dtype) -> Wan:
    """Cast the weights, and adapters on them, to their `stored_dtype`, in place."""
    for name, parameter in wan.named_parameters():
        parameter.data = parameter.data.to(stored_dtype(name, wan.dtypes, dtype))
    return wan


def join_projections(wan: Wan) -> None:
    """Let one product give queries, keys and values of every self-attention (models/fused.py `join_linear`).

    The weights must be frozen and in place; their values and names stay.
    """
    for block in wan.blocks:
        join_linear(block.self_attn.q, block.self_attn.k, block.self_attn.v)


def init_weights(wan: Wan, generator: torch.Generator, *, zero_head: bool = True) -> None:
    """Wan's own initialisation: Xavier for linear layers, N(0, 0.02) for text and time embeddings, and N(0,
    1/dim) for modulations.

    zero_head False gives the head and the norms random values too, which tests need: with a zero head every
    output is 0.
    """
    with torch.no_grad():
        for name, parameter in wan.named_parameters():
            if name.endswith("modulation"):
                parameter.normal_(std=wan.config.dim**-0.5, generator=generator)
            elif name.endswith(("norm_q.weight", "norm_k.weight")) or "norm3" in name:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
                if not zero_head:
                    noise = torch.randn(parameter.shape, generator=generator, device=parameter.device)
                    parameter.add_(0.1 * noise)
            elif name.endswith("bias") or (name == "head.head.weight" and zero_head):
                parameter.zero_()
            elif name.startswith(("text_embedding", "time_embedding")):
                parameter.normal_(std=0.02, generator=generator)
            else:
                matrix = parameter.flatten(1) if parameter.dim() > 2 else parameter
                nn.init.xavier_uniform_(matrix, generator=generator)
