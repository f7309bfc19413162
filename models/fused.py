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

from models.rope import Rotation

LinearLayer = Any
"""nn.Linear, or the layer with an adapter that peft puts in its place."""


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
    """dtype of a layer's matrix product: its weights', or autocast's where that is on."""
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    dtype: torch.dtype = layer.weight.dtype
    return dtype


def apply_linear(layer: LinearLayer, x: Tensor) -> Tensor:
    """A linear layer in the dtype of its product (the explicit form of autocast)."""
    out: Tensor = layer(x.to(products_dtype(layer, x.device)))
    return out


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
) -> tuple[Tensor, Tensor]:
    """(the stream's value, its LayerNorm times 1 + scale plus shift).

    scale, shift: [B, G, 1, dim]; fp32: see `layer_norm`; into: the layer that takes the result, which a
    kernel writes in that layer's dtype.
    """
    if fused and in_kernels(stream.x):
        from models.kernels import add_norm_cuda

        dtype = products_dtype(into, stream.x.device)
        return add_norm_cuda(*stream, scale, shift, eps=eps, one=True, dtype=dtype)
    x = add_gated(*stream)
    return x, layer_norm(x, eps, fp32=fp32) * (1 + scale) + shift


def add_affine_norm(
    stream: Residual, norm: nn.LayerNorm, *, into: LinearLayer, fused: bool
) -> tuple[Tensor, Tensor]:
    """(the stream's value, its LayerNorm with parameters, in their dtype); into: see `add_modulated_norm`."""
    if fused and in_kernels(stream.x):
        from models.kernels import add_norm_cuda

        dtype = products_dtype(into, stream.x.device)
        return add_norm_cuda(*stream, norm.weight, norm.bias, eps=norm.eps, one=False, dtype=dtype)
    x = add_gated(*stream)
    return x, norm(x.to(norm.weight.dtype))


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


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """Rotate q or k [B, T, N, D]; pairs are (2i, 2i+1). Computed in the rotation's dtype, returned in x's.

    float64 tables give the bits of complex128 arithmetic (models/backbone.md#rotary-embedding). With float32
    tables, on CUDA and without gradient, it is one kernel.
    """
    if x.is_cuda and by.cos.dtype == torch.float32 and not torch.is_grad_enabled():
        from models.kernels import norm_rotate_cuda

        return norm_rotate_cuda(x, None, 0.0, by, x.dtype)
    even, odd = x.to(by.cos.dtype).unflatten(-1, (-1, 2)).unbind(-1)
    rotated = torch.stack((even * by.cos - odd * by.sin, even * by.sin + odd * by.cos), dim=-1)
    return rotated.flatten(-2).to(x.dtype)


def linear_gelu(layer: LinearLayer, gelu: nn.Module, x: Tensor, *, fused: bool) -> Tensor:
    """GELU of a linear layer; on CUDA, without adapter or gradient, part of the matrix product's kernel."""
    dtype, gradient = products_dtype(layer, x.device), torch.is_grad_enabled()
    bare = type(layer) is nn.Linear
    if fused and in_kernels(x) and bare and not gradient and dtype == torch.bfloat16:
        bias, weight, rows = layer.bias.to(dtype), layer.weight.to(dtype), x.flatten(0, -2)
        product = torch._addmm_activation(bias, rows, weight.t(), use_gelu=True)
        return product.view(*x.shape[:-1], -1)
    out: Tensor = gelu(apply_linear(layer, x))
    return out


def add_norm_silu(
    x: Tensor,
    bias: Tensor,
    residual: Tensor | None,
    gamma: Tensor | None,
    out: Tensor | None,
    *,
    keep_sum: bool,
) -> Tensor | None:
    """out <- silu(rms_norm(x + bias + residual)), for the VAE's decoder. Returns the sum, in x's dtype, where
    keep_sum asks for it.

    x, residual: [B, C, T, H, W], channels-last; bias, gamma: [C]; out: what `CausalConv.room` of
    models/wan_decoder.py gives, in which every frame is written once, or three times. Without gamma and out,
    there is only the sum. The norm divides by the length over C and multiplies by sqrt(C) gamma.
    """
    if x.is_cuda:
        from models.kernels import add_norm_silu_cuda

        return add_norm_silu_cuda(x, bias, residual, gamma, out, keep_sum=keep_sum)
    total = x.float() + bias.float()[:, None, None, None]
    if residual is not None:
        total = total + residual.float()
    if gamma is not None and out is not None:
        channels, frames = x.shape[1], x.shape[2]
        normed = functional.normalize(total, dim=1) * (channels**0.5 * gamma.float()[:, None, None, None])
        taps = out.shape[1] // channels
        for later in range(min(taps, frames)):
            place = out.narrow(1, (taps - 1 - later) * channels, channels)
            place[:, :, later:] = functional.silu(normed[:, :, : frames - later])
    return total.to(x.dtype) if keep_sum else None
