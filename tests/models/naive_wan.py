"""A second Wan, written from models/backbone.md alone, with every rounding spelled out.

It imports nothing of ours; it takes a float32 state dict with Wan's names and casts it as that page says.
Elementwise operations run in float32 and are rounded one by one, which is what an eager bfloat16 operation
does; matrix products, LayerNorm, GELU, SiLU and attention call torch's own functions, so that equal inputs
give equal bits.

Legend: B batch, F frames of the call, P tokens per frame, D width, N heads, H head size; x [B, F, C, h, w].
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

BF16, F32, F64 = torch.bfloat16, torch.float32, torch.float64
FLOAT32_PARTS = ("time_embedding", "time_projection", "modulation", "norm", "head")

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, q, k, v), each [B, F, P, N, H] and not rotated -> [B, F, P, N, H]."""


class NaiveWan(NamedTuple):
    """weights: float32, by Wan's names. wide: RAVEN's policy (float32 time path, modulation, residual, norms,
    head) in place of pure bfloat16.
    """

    weights: Mapping[str, Tensor]
    wide: bool
    layers: int
    heads: int
    text_len: int
    freq_dim: int
    eps: float = 1e-6

    def parameter(self, name: str) -> Tensor:
        """A weight as this policy stores it."""
        stays = self.wide and any(part in name for part in FLOAT32_PARTS)
        return self.weights[name].to(F32 if stays else BF16)

    def linear(self, name: str, x: Tensor) -> Tensor:
        """x W^T + b in the weight's dtype. With an adapter: bf16(base(x)) + bf16(B bf16(A x)), rounded
        (baselines/methods.md#longlive).
        """
        if f"{name}.weight" in self.weights:
            weight, bias = self.parameter(f"{name}.weight"), self.parameter(f"{name}.bias")
            return functional.linear(x.to(weight.dtype), weight, bias)
        weight, bias = (self.parameter(f"{name}.base_layer.{kind}") for kind in ("weight", "bias"))
        down, up = (self.parameter(f"{name}.lora_{kind}.default.weight") for kind in "AB")
        x = x.to(weight.dtype)
        return add(functional.linear(x, weight, bias), functional.linear(functional.linear(x, down), up))

    def rms(self, name: str, x: Tensor) -> Tensor:
        """float32 inside, rounded to x's dtype, then times the weight: two roundings
        (models/backbone.md#precision).
        """
        wide = x.to(F32)
        normed = (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype)
        return times(normed, self.parameter(f"{name}.weight"))

    def layer_norm(self, x: Tensor) -> Tensor:
        """Pure: on bfloat16. RAVEN: in float32, rounded to x's dtype, then widened for the modulation
        (models/backbone.md#precision).
        """
        if self.wide:
            return functional.layer_norm(x.to(F32), x.shape[-1:], eps=self.eps).to(x.dtype).to(F32)
        return functional.layer_norm(x, x.shape[-1:], eps=self.eps)

    def qkv(self, name: str, query: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q = self.rms(f"{name}.norm_q", self.linear(f"{name}.q", query))
        k = self.rms(f"{name}.norm_k", self.linear(f"{name}.k", source))
        v = self.linear(f"{name}.v", source)
        return tuple(part.unflatten(-1, (self.heads, -1)) for part in (q, k, v))  # type: ignore[return-value]

    def time(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """e [B, F, D] and e0 [B, F, 6, D]; the sinusoid is float64, rounded before the first layer."""
        half = self.freq_dim // 2
        angle = t.to(F64)[..., None] * torch.tensor([10000.0 ** (-j / half) for j in range(half)], dtype=F64)
        sinusoid = torch.cat([angle.cos(), angle.sin()], dim=-1).to(F32 if self.wide else BF16)
        e = self.linear("time_embedding.2", functional.silu(self.linear("time_embedding.0", sinusoid)))
        return e, self.linear("time_projection.1", functional.silu(e)).unflatten(-1, (6, -1))

    def text(self, rows: Tensor) -> Tensor:
        """[B, L, 4096] -> [B, text_len, D], zero rows included and never masked."""
        padded = rows.new_zeros(rows.shape[0], self.text_len, rows.shape[2])
        padded[:, : rows.shape[1]] = rows
        hidden = functional.gelu(self.linear("text_embedding.0", padded), approximate="tanh")
        return self.linear("text_embedding.2", hidden)

    def block(self, i: int, x: Tensor, e0: Tensor, text: Tensor, attend: Attend) -> Tensor:
        """x [B, F, P, D] -> the same; text [B, text_len, D] embedded."""
        name = f"blocks.{i}"
        m = [
            add(self.parameter(f"{name}.modulation")[:, None, row], e0[:, :, row])[:, :, None]
            for row in range(6)
        ]
        one = torch.ones((), dtype=m[0].dtype)
        hidden = add(times(self.layer_norm(x), add(one, m[1])), m[0])
        q, k, v = self.qkv(f"{name}.self_attn", hidden, hidden)
        y = self.linear(f"{name}.self_attn.o", attend(i, q, k, v).flatten(-2))
        x = add(x, times(y, m[2]))

        weight, bias = (self.parameter(f"{name}.norm3.{kind}") for kind in ("weight", "bias"))
        hidden = functional.layer_norm(x, x.shape[-1:], weight, bias, self.eps)
        q, k, v = self.qkv(f"{name}.cross_attn", hidden, text)
        y = sdpa(q.flatten(1, 2), k, v).unflatten(1, x.shape[1:3])
        x = add(x, self.linear(f"{name}.cross_attn.o", y.flatten(-2)))

        hidden = add(times(self.layer_norm(x), add(one, m[4])), m[3])
        hidden = functional.gelu(self.linear(f"{name}.ffn.0", hidden), approximate="tanh")
        return add(x, times(self.linear(f"{name}.ffn.2", hidden), m[5]))

    def velocity(self, x: Tensor, t: Tensor, rows: Tensor, attend: Attend) -> Tensor:
        """One network call, models/backbone.md#forward-pass. t [B, F]; rows [B, L, text_dim]."""
        weight, bias = self.parameter("patch_embedding.weight"), self.parameter("patch_embedding.bias")
        patches = functional.conv3d(x.transpose(1, 2).to(BF16), weight, bias, stride=(1, 2, 2))
        height, width = patches.shape[3:]
        hidden = patches.flatten(3).permute(0, 2, 3, 1)
        e, e0 = self.time(t)
        text = self.text(rows)
        for i in range(self.layers):
            hidden = self.block(i, hidden, e0, text, attend)
        modulation = self.parameter("head.modulation")
        shift, scale = (add(modulation[:, None, row], e)[:, :, None] for row in (0, 1))
        one = torch.ones((), dtype=scale.dtype)
        out = self.linear("head.head", add(times(self.layer_norm(hidden), add(one, scale)), shift))
        pixels = out.unflatten(2, (height, width)).unflatten(-1, (2, 2, -1))  # [B, F, row, column, ph, pw, C]
        return pixels.permute(0, 1, 6, 2, 4, 3, 5).flatten(3, 4).flatten(4, 5)


def add(a: Tensor, b: Tensor) -> Tensor:
    """a + b in float32, rounded to the wider of the two dtypes."""
    return (a.to(F32) + b.to(F32)).to(torch.promote_types(a.dtype, b.dtype))


def times(a: Tensor, b: Tensor) -> Tensor:
    """a * b in float32, rounded to the wider of the two dtypes."""
    return (a.to(F32) * b.to(F32)).to(torch.promote_types(a.dtype, b.dtype))


def sdpa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """[B, T, N, H] attention on bfloat16 inputs, by torch's kernel."""
    q, k, v = (part.to(BF16).transpose(1, 2) for part in (q, k, v))
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def attention_by_definition(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same in float32 from the bfloat16 inputs, rounded once: softmax(q k^T / sqrt(H)) v."""
    q, k, v = (part.to(BF16).to(F32) for part in (q, k, v))
    scores = torch.einsum("btnh,bsnh->bnts", q, k) / q.shape[-1] ** 0.5
    return torch.einsum("bnts,bsnh->btnh", scores.softmax(dim=-1), v).to(BF16)


def turned(x: Tensor, positions: list[int], height: int, width: int) -> Tensor:
    """[B, F, P, N, H] rotated at time positions (one a frame), in complex128, rounded to x's dtype
    (models/backbone.md#rotary-embedding).
    """
    pairs = x.shape[-1] // 2
    third = pairs // 3
    axes = (pairs - 2 * third, third, third)
    phase = torch.empty(len(positions), height * width, pairs, dtype=F64)
    for f, position in enumerate(positions):
        for token in range(height * width):
            where = (position, token // width, token % width)
            angles = [
                place / 10000.0 ** (2 * i / (2 * size))
                for place, size in zip(where, axes, strict=True)
                for i in range(size)
            ]
            phase[f, token] = torch.tensor(angles, dtype=F64)
    spin = torch.polar(torch.ones_like(phase), phase)[:, :, None]
    complex_x = torch.view_as_complex(x.to(F64).unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(complex_x * spin).flatten(-2).to(x.dtype)
