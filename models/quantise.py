"""A network turned into one that computes in fp8 (models/fp8.py), with weights in e4m3 and scales of heads.

Legend: N heads, times: points of the noise schedule.
"""

from typing import Any

import torch
from torch import Tensor

from models.fp8 import LARGEST, LEAST, Fp8Linear, HeadScales
from models.wan import Wan

MARGIN = 1.2
"""Of the bounds of heads: modulations are looked at on a grid of times, and fp8 products may exceed exact
ones by (1 + 2^-4)^2."""
LAYERS = ("self_attn.o", "cross_attn.q", "cross_attn.o", "ffn.0", "ffn.2")
"""Linear layers of a block that compute in fp8, beside q, k and v of self-attention, which are one product.
Those of a prompt's keys and values run once a clip and stay as they are, as do embeddings and head."""


def quantise_network(wan: Wan) -> Wan:
    """Turn a frozen network, cast and on its device, into what its `dtypes` say, in place; nothing happens
    where they say nothing of fp8. Raises ValueError if it is quantised already, or a layer has an adapter.
    """
    policy = wan.dtypes
    if not policy.uses_fp8:
        return wan
    if is_quantised(wan):
        raise ValueError("The network computes in fp8 already; open its weights again to quantise them.")
    if policy.attention == "fp8":  # before the weights of v are gone
        _set_head_scales(wan)
    for one in wan.weight_sets if policy.linear == "fp8" else ():
        for block in one.blocks:
            own = block.self_attn
            own.qkv = Fp8Linear.joined(own.q, own.k, own.v)
            size = own.qkv.codes.shape[0] // 3
            own.q, own.k, own.v = (own.qkv.part(i * size, (i + 1) * size) for i in range(3))
            for name in LAYERS:
                parent, _, leaf = name.rpartition(".")
                setattr(block.get_submodule(parent), leaf, Fp8Linear.joined(block.get_submodule(name)))
    return wan


def is_quantised(wan: Wan) -> bool:
    """Whether `quantise_network` made a network what its `dtypes` say of fp8."""
    own = wan.blocks[0].self_attn
    linear, attention = isinstance(own.o, Fp8Linear), own.head_scales is not None
    return bool((wan.dtypes.linear == "fp8") == linear and (wan.dtypes.attention == "fp8") == attention)


@torch.no_grad()
def _set_head_scales(wan: Wan) -> None:
    """Scales of every layer; alike in the networks of one cache, whose codes both read."""
    times = torch.linspace(0, 1000, 1001, device=wan.patch_embedding.weight.device)[None]
    modulated = [one.embed_time(times)[1][0].float() for one in wan.weight_sets]
    for layers in zip(*(one.blocks for one in wan.weight_sets), strict=True):
        bounds = [head_bounds(block, e0) for block, e0 in zip(layers, modulated, strict=True)]
        widest = [torch.stack(part).amax(0) * (MARGIN / LARGEST) for part in zip(*bounds, strict=True)]
        for block in layers:
            block.self_attn.head_scales = HeadScales(*widest)


def head_bounds(block: Any, e0: Tensor) -> HeadScales:
    """What no query, key or value of a head exceeds at these times, [N] each.

    e0: modulations [times, 6, dim] of the time embedding. An RMS norm leaves sqrt(dim) times its weight at
    most, rotated or not. A LayerNorm's row is sqrt(dim) long, so v = W ((1 + scale) h + shift) + b stays
    below sqrt(dim) |W (1 + scale)| + |W shift + b|, by Cauchy-Schwarz.
    """
    own, heads = block.self_attn, block.self_attn.num_heads
    dim = e0.shape[-1]
    q, k = (norm.weight.float().abs().view(heads, -1).amax(1) * dim**0.5 for norm in (own.norm_q, own.norm_k))
    shift, scale = (block.modulation[0].float() + e0)[:, :2].unbind(1)
    weight, bias = own.v.weight.float(), own.v.bias.float()
    spread = ((1 + scale).square() @ weight.square().t()).sqrt() * dim**0.5
    v = (spread + (shift @ weight.t() + bias).abs()).amax(0).view(heads, -1).amax(1)
    return HeadScales(q, k, v.clamp(min=LEAST))
