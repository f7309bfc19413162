"""8-bit floating point (e4m3) products and self-attention of a frozen network: the precision `fp8`.

Linear layers: a scale for every token and one for every output channel, dynamic on the side of the tokens.
Attention: a scale a head for queries, keys and values, from the weights alone: RMS norm and Cauchy-Schwarz
say what the numbers cannot exceed, so that nothing is calibrated, nothing saturates, and a clip does not
depend on those beside it. e4m3 keeps 3 bits over a factor of 28,672 (2^-6 to 448), so that a scale that is
too wide by two orders of magnitude costs nothing (models/backbone.md#fp8).

On Hopper the products are torch's and attention is FlashAttention 3; elsewhere the same codes are multiplied
in float32, which shows what fp8 costs but is slow.

Legend: M tokens, K inputs, O outputs of a layer, B batch, T tokens of a clip, N heads, D head size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.attention import attend, fp8_kernel
from models.config import DtypePolicy

E4M3 = torch.float8_e4m3fn
LARGEST = 448.0
"""The largest number that e4m3 has."""
LEAST = 1e-12
"""The least magnitude that a scale is made for: rows of zeros have one, too."""


class QuantisedRows(NamedTuple):
    """Rows of numbers, codes * scale."""

    codes: Tensor
    """[..., K], e4m3."""
    scale: Tensor
    """[...], float32."""

    def flatten(self, first: int, last: int) -> QuantisedRows:
        """The same rows under fewer axes; the last axis, K, stays."""
        return QuantisedRows(self.codes.flatten(first, last), self.scale.flatten(first, last))


def quantise_rows(x: Tensor, *, gelu: bool = False) -> QuantisedRows:
    """x [..., K], or its tanh GELU computed in float32, with the scale that makes a row's largest number 448.

    The relative error of a number is at most 2^-4; of one below 2^-6 scales, 2^-10 scales. What is not finite
    makes its row not finite.
    """
    if x.is_cuda:
        from models.kernels import quantise_rows_cuda

        return QuantisedRows(*quantise_rows_cuda(x, gelu=gelu))
    wide = functional.gelu(x.float(), approximate="tanh") if gelu else x.float()
    scale = wide.abs().amax(dim=-1).clamp(min=LEAST) / LARGEST
    return QuantisedRows((wide / scale[..., None]).to(E4M3), scale)


class Fp8Linear(nn.Module):
    """A frozen linear layer with weights in e4m3; takes the place of nn.Linear."""

    codes: Tensor
    """[O, K]."""
    scale: Tensor
    """[O], float32."""
    bias: Tensor
    """[O], in `dtype`."""

    def __init__(self, codes: Tensor, scale: Tensor, bias: Tensor) -> None:
        super().__init__()
        for name, value in (("codes", codes), ("scale", scale), ("bias", bias)):
            self.register_buffer(name, value)
        self.dtype = bias.dtype
        """What it returns: the dtype that its weights had."""

    @classmethod
    def joined(cls, *layers: Any) -> Fp8Linear:
        """One layer that gives the outputs of linear layers of one input, one after another. Raises
        ValueError for a layer that is no plain nn.Linear with a bias.
        """
        for layer in layers:
            if type(layer) is not nn.Linear or layer.bias is None:
                raise ValueError(
                    f"A {type(layer).__name__} cannot be quantised to fp8, only a linear layer with a bias; "
                    "fold adapters into the weights first."
                )
        weight = torch.cat([layer.weight.detach() for layer in layers])
        return cls(*quantise_rows(weight), torch.cat([layer.bias.detach() for layer in layers]))

    def part(self, start: int, stop: int) -> Fp8Linear:
        """The layer of some outputs, on the same memory."""
        return Fp8Linear(self.codes[start:stop], self.scale[start:stop], self.bias[start:stop])

    def forward(self, x: Tensor | QuantisedRows) -> Tensor:
        """[..., O], sums in float32, rounded once."""
        rows = x if isinstance(x, QuantisedRows) else quantise_rows(x)
        codes, scale = rows.codes.flatten(0, -2), rows.scale.reshape(-1, 1)
        if codes.is_cuda:
            out = torch._scaled_mm(
                codes, self.codes.t(), scale_a=scale, scale_b=self.scale[None], bias=self.bias,
                out_dtype=self.dtype, use_fast_accum=True,
            )  # fmt: skip
        else:
            products = codes.float() @ self.codes.float().t()
            out = (products * scale * self.scale + self.bias.float()).to(self.dtype)
        return out.view(*rows.codes.shape[:-1], -1)


class HeadScales(NamedTuple):
    """What one code of a head stands for, [N] float32 each."""

    q: Tensor
    k: Tensor
    v: Tensor


def quantise_heads(x: Tensor, scale: Tensor) -> Tensor:
    """Codes [B, T, N, D] of heads x [B, T, N, D]; x itself if it holds codes. What a scale is too small for
    becomes NaN.
    """
    if x.dtype == E4M3:
        return x
    if x.is_cuda:
        from models.kernels import quantise_heads_cuda

        return quantise_heads_cuda(x, scale)
    wide = x.float() / scale[:, None]
    return wide.where(wide.abs() <= LARGEST, torch.nan).to(E4M3)


def attend_heads(q: Tensor, k: Tensor, v: Tensor, scales: HeadScales, dtype: torch.dtype) -> Tensor:
    """`attend` of models/attention.py on codes of q, k and v, which are made where they are not codes yet.
    Returns [B, T, N, D] in `dtype`.
    """
    codes = [quantise_heads(x, scale) for x, scale in zip((q, k, v), scales, strict=True)]
    if q.is_cuda:
        descale = [scale.expand(q.shape[0], -1) for scale in scales]
        run = fp8_kernel(torch.cuda.get_device_capability(q.device))
        return run(*codes, q_descale=descale[0], k_descale=descale[1], v_descale=descale[2]).to(dtype)
    wide = (code.float() * scale[:, None] for code, scale in zip(codes, scales, strict=True))
    return attend(*(x.to(dtype) for x in wide))


def require_fp8(policy: DtypePolicy, device: torch.device) -> None:
    """Raises ValueError, in one sentence, if a device cannot compute as the policy says; a CPU cannot, since
    a reference is all that it has.
    """
    if not policy.uses_fp8:
        return
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    if capability is None or capability < (9, 0):
        has = "this job has a CPU" if capability is None else f"this GPU has {capability[0]}.{capability[1]}"
        raise ValueError(
            f"Precision fp8 needs a GPU of compute capability 9.0 (Hopper) or more, but {has}; sample the "
            "row there, or take its precision out of the suite's `variants`."
        )
    if policy.attention == "fp8":
        fp8_kernel(capability)
