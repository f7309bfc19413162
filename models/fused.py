"""One function for each operator of the networks: a Triton kernel on CUDA where one fits, else plain torch.

Only this module imports models/kernels.py, and only on CUDA, because Triton comes with CUDA builds of torch
alone. `fused` is `DtypePolicy.fused`: without it, every operator is the one of Wan's public code.

Legend: B batch, F or G frames, P tokens per frame, T tokens, N heads, D head size, C channels, H, W size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from models.fp8 import Fp8Linear, HeadScales, QuantisedRows, quantise_heads, quantise_rows
from models.rope import Rotation

LinearLayer = Any
"""nn.Linear, the layer with an adapter that peft puts in its place, or that of models/fp8.py."""


class Residual(NamedTuple):
    """The residual stream of the transformer: its value is x + update * gate, or what there is of it.

    Kernels add an update while they compute the next norm, so it may stay pending until the next block.
    """

    x: Tensor
    """[B, G, P, dim]."""
    update: Tensor | None = None
    """What the last layer gave, not yet added; of x's shape."""
    gate: Tensor | None = None
    """What the update is multiplied by: [B, G, 1, dim]."""


def in_kernels(x: Tensor) -> bool:
    """Whether fused operators on x run as kernels of models/kernels.py, which compute in float32."""
    return x.is_cuda and x.dtype != torch.float64


def products_dtype(layer: LinearLayer, device: torch.device) -> torch.dtype:
    """dtype of a layer's matrix product: its weights', or autocast's where that is on; of a layer in fp8 that
    of its outputs.
    """
    if isinstance(layer, Fp8Linear):
        return layer.dtype
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    dtype: torch.dtype = layer.weight.dtype
    return dtype


def apply_linear(layer: LinearLayer, x: Tensor | QuantisedRows) -> Tensor:
    """A linear layer in the dtype of its product (the explicit form of autocast)."""
    if not isinstance(layer, Fp8Linear):
        assert isinstance(x, Tensor), "only layers in fp8 take codes"
        x = x.to(products_dtype(layer, x.device))
        if x.device.type == "cpu" and (weight := adapted_weight(layer)) is not None:
            return functional.linear(x, weight, layer.bias)
    out: Tensor = layer(x)
    return out


def adapted_weight(layer: LinearLayer) -> Tensor | None:
    """The weight of a linear layer with peft's adapters on it, in float32, with gradient; None of any other,
    where adapters are off, and where operators are those of the released code (`add_lora` notes it).

    A CPU computes one product with it sooner than three and two sums over all tokens.
    """
    if not getattr(layer, "is_fused", False) or layer.disable_adapters or layer.merged:
        return None
    weight: Tensor = layer.weight
    if torch.is_autocast_enabled("cpu") or weight.dtype != torch.float32:
        return None
    for name in layer.active_adapters:
        if name in layer.lora_A:
            down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
            weight = torch.addmm(weight, up, down, alpha=layer.scaling[name])
    return weight


def embed_patches(layer: nn.Conv3d, x: Tensor, *, fused: bool) -> Tensor:
    """[B, F, C, H, W] -> [B, F, P, dim]: the patch embedding as a convolution, or as one matrix product."""
    if not fused:
        convolved: Tensor = rearrange(layer(x.transpose(1, 2)), "b d f h w -> b f (h w) d")
        return convolved
    _, height, width = layer.kernel_size
    patches = rearrange(x, "b f c (h p) (w q) -> b f (h w) (c p q)", p=height, q=width)
    return functional.linear(patches, layer.weight.flatten(1), layer.bias)


def add_gated(x: Tensor, update: Tensor | None, gate: Tensor | None) -> Tensor:
    """x + update * gate, or what there is of it."""
    if update is None:
        return x
    return x + (update if gate is None else update * gate)


def residual(x: Tensor, update: Tensor, gate: Tensor, *, fused: bool) -> Residual:
    """The stream after a gated update: pending where the kernel of the next norm adds it, else added here."""
    return Residual(x, update, gate) if fused and in_kernels(x) else Residual(add_gated(x, update, gate))


def add_modulated_norm(
    stream: Residual, scale: Tensor, shift: Tensor, *, eps: float, fp32: bool, into: LinearLayer, fused: bool
) -> tuple[Tensor, Tensor | QuantisedRows]:
    """(the stream's value, its LayerNorm times 1 + scale plus shift).

    scale, shift: [B, G, 1, dim]; fp32: see `layer_norm`; into: the layer that takes the result, which a
    kernel writes in that layer's dtype, or as codes for a layer in fp8.
    """
    if fused and in_kernels(stream.x):
        return _add_norm_in_kernel(stream, scale, shift, eps=eps, one=True, into=into)
    x = add_gated(*stream)
    return x, layer_norm(x, eps, fp32=fp32) * (1 + scale) + shift


def add_affine_norm(
    stream: Residual, norm: nn.LayerNorm, *, into: LinearLayer, fused: bool
) -> tuple[Tensor, Tensor | QuantisedRows]:
    """(the stream's value, its LayerNorm with parameters, in their dtype); into: see `add_modulated_norm`."""
    if fused and in_kernels(stream.x):
        return _add_norm_in_kernel(stream, norm.weight, norm.bias, eps=norm.eps, one=False, into=into)
    x = add_gated(*stream)
    return x, norm(x.to(norm.weight.dtype))


def _add_norm_in_kernel(
    stream: Residual, scale: Tensor, shift: Tensor, *, eps: float, one: bool, into: LinearLayer
) -> tuple[Tensor, Tensor | QuantisedRows]:
    from models.kernels import add_norm_codes_cuda, add_norm_cuda

    if isinstance(into, Fp8Linear):
        value, codes, scales = add_norm_codes_cuda(*stream, scale, shift, eps=eps, one=one)
        return value, QuantisedRows(codes, scales)
    dtype = products_dtype(into, stream.x.device)
    return add_norm_cuda(*stream, scale, shift, eps=eps, one=one, dtype=dtype)


def layer_norm(x: Tensor, eps: float, *, fp32: bool) -> Tensor:
    """LayerNorm without parameters, in x's dtype.

    With fp32 it is computed and returned in float32, but its values are rounded to x's dtype on the way. That
    shows in the first block, whose x is the patch embedding (models/backbone.md#precision).
    """
    if not fp32:
        return functional.layer_norm(x, x.shape[-1:], eps=eps)
    return functional.layer_norm(x.float(), x.shape[-1:], eps=eps).to(x.dtype).float()


def rms_norm(x: Tensor, weight: Tensor, eps: float, *, fused: bool) -> Tensor:
    """RMS norm over the last axis: float32 inside, rounded to x's dtype, then times the weight."""
    wide = x.float()
    if fused:
        return functional.rms_norm(wide, x.shape[-1:], eps=eps).to(x.dtype) * weight
    scale = torch.rsqrt(wide.pow(2).mean(dim=-1, keepdim=True) + eps)
    return (wide * scale).to(x.dtype) * weight


def rms_norm_rotate(
    x: Tensor, weight: Tensor, eps: float, head_size: int, rope: Rotation | None, *, fused: bool
) -> Tensor:
    """Heads [B, T, N, D] of x [B, T, dim], in its dtype: normed over a token's heads, rotated if asked."""
    if fused and in_kernels(x) and (rope is None or rope.cos.dtype == torch.float32):
        from models.kernels import norm_rotate_cuda

        return norm_rotate_cuda(x.unflatten(-1, (-1, head_size)), weight, eps, rope, x.dtype)
    normed: Tensor = rms_norm(x, weight, eps, fused=fused).unflatten(-1, (-1, head_size))
    return (normed if rope is None else rotate(normed, rope)).to(x.dtype)


def store_heads(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weights: tuple[Tensor, Tensor],
    eps: float,
    rope: Rotation,
    keys: Tensor,
    values: Tensor,
    *,
    rotate_keys: bool,
    fused: bool,
    scales: HeadScales | None = None,
) -> Tensor:
    """Queries [B, T, N, D] of q [B, T, dim], normed and rotated; k, normed and rotated if asked, and v
    [B, T, N, D] go to keys and values [B, T, N, D], which are parts of a cache. Without gradient.

    weights: of the norms of queries and keys. scales: makes all three codes (models/fp8.py).
    """
    like = q.stride() == k.stride() == v.flatten(2).stride() and q.stride(2) == 1
    dense = all(x[0].is_contiguous() for x in (keys, values)) and keys.stride() == values.stride()
    if fused and in_kernels(q) and rope.cos.dtype == torch.float32 and like and dense:
        from models.kernels import store_heads_cuda

        q_heads, k_heads = (x.unflatten(-1, v.shape[2:]) for x in (q, k))
        return store_heads_cuda(
            q_heads, k_heads, v, weights, eps, rope, keys, values, rotate_keys=rotate_keys, scales=scales
        )
    size = v.shape[-1]
    queries = rms_norm_rotate(q, weights[0], eps, size, rope, fused=fused)
    normed = rms_norm_rotate(k, weights[1], eps, size, rope if rotate_keys else None, fused=fused)
    if scales is not None:
        queries, normed = quantise_heads(queries, scales.q), quantise_heads(normed, scales.k)
        v = quantise_heads(v, scales.v)
    keys.copy_(normed)
    values.copy_(v)
    return queries


def joined_linear(*layers: LinearLayer) -> tuple[Tensor, Tensor] | None:
    """Weight and bias of several linear layers as one layer whose outputs follow one another; None unless
    `join_linear` put them beside each other.
    """
    if any(type(layer) is not nn.Linear for layer in layers):
        return None
    wholes = []
    for parts in ([layer.weight for layer in layers], [layer.bias for layer in layers]):
        first, place = parts[0], parts[0].storage_offset()
        for part in parts:
            beside = part.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
            if not (beside and part.storage_offset() == place and part.is_contiguous()):
                return None
            place += part.numel()
        shape = (sum(len(part) for part in parts), *first.shape[1:])
        wholes.append(first.detach().as_strided(shape, first.stride()))
    return wholes[0], wholes[1]


def join_linear(*layers: LinearLayer) -> None:
    """Put the weights of frozen linear layers of one input beside each other, values as they are, so that
    one product gives the outputs of all (`joined_linear`). Layers with adapters stay as they are.
    """
    if any(type(layer) is not nn.Linear for layer in layers) or joined_linear(*layers) is not None:
        return
    for name in ("weight", "bias"):
        parts = [getattr(layer, name) for layer in layers]
        whole = torch.cat([part.data for part in parts])
        for part, place in zip(parts, whole.split([len(part) for part in parts]), strict=True):
            part.data = place


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """Rotate q or k [B, T, N, D]; pairs are (2i, 2i+1). Computed in the rotation's dtype, returned in x's.

    float64 tables give the bits of complex128 arithmetic (models/backbone.md#rotary-embedding). With float32
    tables, on CUDA and without gradient, it is one kernel; on a CPU a complex product of the same bits.
    """
    if x.is_cuda and by.cos.dtype == torch.float32 and not torch.is_grad_enabled():
        from models.kernels import norm_rotate_cuda

        return norm_rotate_cuda(x, None, 0.0, by, x.dtype)
    pairs = x.to(by.cos.dtype).unflatten(-1, (-1, 2))
    if x.is_cuda:  # whose complex product rounds once less
        even, odd = pairs.unbind(-1)
        rotated = torch.stack((even * by.cos - odd * by.sin, even * by.sin + odd * by.cos), dim=-1)
    else:
        rotated = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * torch.complex(*by))
    return rotated.flatten(-2).to(x.dtype)


def linear_gelu(
    layer: LinearLayer, gelu: nn.Module, x: Tensor | QuantisedRows, *, fused: bool
) -> Tensor | QuantisedRows:
    """GELU of a linear layer; on CUDA, without adapter or gradient, part of the matrix product's kernel. Of a
    layer in fp8 it comes as codes.
    """
    if isinstance(layer, Fp8Linear):
        return quantise_rows(layer(x), gelu=True)
    assert isinstance(x, Tensor), "only layers in fp8 take codes"
    dtype, gradient = products_dtype(layer, x.device), torch.is_grad_enabled()
    bare = type(layer) is nn.Linear
    if fused and in_kernels(x) and bare and not gradient and dtype == torch.bfloat16:
        bias, weight, rows = layer.bias.to(dtype), layer.weight.to(dtype), x.flatten(0, -2)
        product = torch._addmm_activation(bias, rows, weight.t(), use_gelu=True)
        return product.view(*x.shape[:-1], -1)
    out: Tensor = gelu(apply_linear(layer, x))
    return out


class Room(NamedTuple):
    """Where a causal convolution's input of a step of T frames goes. C channels, channels-last."""

    now: Tensor
    """[B, C, 2 + T, H, W], the two frames before this step in front; or with 3 taps [B, 3 C, T, H, W], which
    holds for every frame the two before it and itself, side by side along C. The past is in place."""
    later: Tensor
    """The same for the next step: the last two frames are put where it has its past."""
    taps: int
    """1 or 3."""


def add_norm_silu(
    x: Tensor,
    bias: Tensor,
    residual: Tensor | None,
    gamma: Tensor | None,
    out: Room | None,
    *,
    keep_sum: bool,
) -> Tensor | None:
    """out <- silu(rms_norm(x + bias + residual)), for the VAE's decoder; the plain sum if gamma is None.
    Returns the sum, in x's dtype, where keep_sum asks for it.

    x, residual: [B, C, T, H, W], channels-last; bias, gamma: [C]; out: of `CausalConv.room` of
    models/wan_decoder.py. The norm divides by the length over C and multiplies by sqrt(C) gamma.
    """
    if x.is_cuda:
        from models.kernels import add_norm_silu_cuda

        return add_norm_silu_cuda(x, bias, residual, gamma, out, keep_sum=keep_sum)
    total = _sum(x, bias, residual)
    if out is not None:
        _place(total if gamma is None else _norm_silu(total, gamma), out)
    return total.to(x.dtype) if keep_sum else None


def _sum(x: Tensor, bias: Tensor, residual: Tensor | None) -> Tensor:
    total = x.float() + bias.float()[:, None, None, None]
    return total if residual is None else total + residual.float()


def _norm_silu(total: Tensor, gamma: Tensor) -> Tensor:
    length: float = total.shape[1] ** 0.5
    return functional.silu(functional.normalize(total, dim=1) * (length * gamma.float()[:, None, None, None]))


def _place(value: Tensor, out: Room) -> None:
    """Write frames [B, C, T, H, W] into this step's buffer, and the last two into the next one's past."""
    channels, frames = value.shape[1], value.shape[2]
    now, later = out.now, out.later
    if out.taps == 1:
        now[:, :, 2:] = value
        later[:, :, :2] = now[:, :, -2:]
        return
    for back in range(min(out.taps, frames)):
        tap = out.taps - 1 - back
        now[:, tap * channels : (tap + 1) * channels, back:] = value[:, :, : frames - back]
    later[:, : 2 * channels, 0] = now[:, channels:, -1]
    if later.shape[2] > 1:
        later[:, :channels, 1] = now[:, 2 * channels :, -1]


def norm_silu_products(
    x: Tensor, bias: Tensor, residual: Tensor | None, gamma: Tensor, weight: Tensor, depth: int
) -> Tensor:
    """Products of silu(rms_norm(x + bias + residual)) [B, C, T, H, W] with the first `depth` columns of
    `weight` [C, a power of two], every pixel for itself: [B, depth, T, H, W], contiguous; float16 for a
    bfloat16 weight, which keeps more of their bits.
    """
    if x.is_cuda:
        from models.kernels import norm_silu_products_cuda

        return norm_silu_products_cuda(x, bias, residual, gamma, weight, depth, product_dtype(weight))
    features = _norm_silu(_sum(x, bias, residual), gamma).to(weight.dtype)
    products = torch.einsum("bcthw,ck->bkthw", features.float(), weight[:, :depth].float())
    return products.to(product_dtype(weight)).contiguous()


def product_dtype(weight: Tensor) -> torch.dtype:
    """What the products of `norm_silu_products` are stored in."""
    return torch.float16 if weight.dtype == torch.bfloat16 else weight.dtype


def gather_taps(products: Tensor, before: Tensor | None, bias: Tensor) -> Tensor:
    """Pixels [B, O, T, H, W] of a causal 3x3x3 convolution, in the bias' dtype, from products of its input
    with every tap.

    products: [B, 27 O, T, H, W], taps in the order of the kernel and O innermost; before: those of the step
    before, None for none; bias: [O]. What lies outside of picture and clip counts as zero. One rounding.
    """
    if products.is_cuda:
        from models.kernels import gather_taps_cuda

        return gather_taps_cuda(products, before, bias)
    batch, depth, frames, height, width = products.shape
    past = products.new_zeros(batch, depth, 2, height, width)
    if before is not None:
        kept = before[:, :, -2:]
        past[:, :, 2 - kept.shape[2] :] = kept
    padded = functional.pad(torch.cat([past, products], dim=2).float(), (1, 1, 1, 1))
    taps = padded.unflatten(1, (3, 3, 3, -1))
    total = bias.float()[:, None, None, None].expand(batch, -1, frames, height, width)
    for t in range(3):
        for row in range(3):
            for column in range(3):
                own = taps[:, t, row, column]
                total = total + own[:, :, t : t + frames, row : row + height, column : column + width]
    return total.to(bias.dtype)


def attend_one_head(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D)) v of one head too wide for attention kernels, [B, T, D] each, D = 384 in the
    VAE. Scores and softmax are in float32, the weights of v rounded to its dtype.
    """
    if not in_kernels(q) or q.dtype == torch.float32:
        return functional.scaled_dot_product_attention(q, k, v)
    from models.kernels import softmax_cuda

    scores = torch.bmm(q, k.mT, out_dtype=torch.float32)
    return torch.bmm(softmax_cuda(scores, q.shape[-1] ** -0.5, v.dtype), v)
