"""Triton kernels of the fast profile. Imported on CUDA only; every one has a plain torch form beside its caller, and a test.

Legend: B batch, C channels, T frames or tokens, H, W size, N heads, D head size, G frames of P tokens each.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _add_norm_silu(
    x, bias, residual, gamma, total, out, rows, frame_rows, frames, out_stride, scale,
    C: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, RESIDUAL: tl.constexpr, KEEP: tl.constexpr,
    NORM: tl.constexpr, TAPS: tl.constexpr,
):  # fmt: skip
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, WIDTH)
    inside = r < rows
    mask = inside[:, None] & (c < C)[None, :]
    at = r[:, None] * C + c[None, :]
    value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    value += tl.load(bias + c, mask=c < C, other=0.0).to(tl.float32)[None, :]
    if RESIDUAL:
        value += tl.load(residual + at, mask=mask, other=0.0).to(tl.float32)
    value = tl.where(mask, value, 0.0)
    if KEEP:
        tl.store(total + at, value.to(total.dtype.element_ty), mask=mask)
    if NORM:
        length = tl.sqrt(tl.sum(value * value, axis=1))
        normed = value / tl.maximum(length, 1e-12)[:, None] * scale
        normed *= tl.load(gamma + c, mask=c < C, other=0.0).to(tl.float32)[None, :]
        normed = (normed * tl.sigmoid(normed)).to(out.dtype.element_ty)
        clip = r // (frame_rows * frames)
        within = r - clip * (frame_rows * frames)
        to = clip[:, None] * out_stride + within[:, None] * (TAPS * C) + c[None, :]
        tl.store(out + to + (TAPS - 1) * C, normed, mask=mask)
        for later in tl.static_range(1, TAPS):
            shown = (within // frame_rows + later < frames)[:, None] & mask
            tl.store(out + to + later * frame_rows * (TAPS * C) + (TAPS - 1 - later) * C, normed, mask=shown)


def add_norm_silu_cuda(
    x: Tensor,
    bias: Tensor,
    residual: Tensor | None,
    gamma: Tensor | None,
    out: Tensor | None,
    *,
    keep_sum: bool,
) -> Tensor | None:
    """models/wan_decoder.py add_norm_silu on CUDA. All tensors channels-last; out may be a part of a larger buffer along T.

    Raises ValueError for another layout.
    """
    batch, channels, frames, height, width = x.shape
    taps = 1 if out is None else out.shape[1] // channels
    for name, value in (("x", x), ("residual", residual), ("out", out)):
        if value is None:
            continue
        depth = value.shape[1]
        inner = (1, height * width * depth, width * depth, depth)  # strides of C, T, H, W
        if any(
            stride != wanted and size > 1
            for stride, wanted, size in zip(value.stride()[1:], inner, value.shape[1:], strict=True)
        ):
            raise ValueError(
                f"{name} has strides {value.stride()}, expected channels-last; convert it first."
            )
    total = x.new_empty(batch, *x.shape[2:], channels).permute(0, 4, 1, 2, 3) if keep_sum else None
    rows, padded = batch * frames * height * width, triton.next_power_of_2(channels)
    block = max(1, 4096 // padded)
    _add_norm_silu[(triton.cdiv(rows, block),)](
        x, bias, x if residual is None else residual, bias if gamma is None else gamma, x if total is None else total,
        x if out is None else out, rows, height * width, frames, 0 if out is None else out.stride(0), channels**0.5,
        C=channels, WIDTH=padded, ROWS=block, RESIDUAL=residual is not None, KEEP=keep_sum, NORM=gamma is not None, TAPS=taps,
        num_warps=8,
    )  # fmt: skip
    return total


@triton.jit
def _add_norm(
    x, update, gate, scale, shift, total, out, tokens, gate_stride, scale_stride, shift_stride, eps,
    C: tl.constexpr, WIDTH: tl.constexpr, UPDATE: tl.constexpr, GATE: tl.constexpr, ONE: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    frame = row // tokens
    c = tl.arange(0, WIDTH)
    mask = c < C
    value = tl.load(x + row * C + c, mask=mask, other=0.0).to(tl.float32)
    if UPDATE:
        added = tl.load(update + row * C + c, mask=mask, other=0.0).to(tl.float32)
        if GATE:
            added *= tl.load(gate + frame * gate_stride + c, mask=mask, other=0.0).to(tl.float32)
        rounded = (value + added).to(total.dtype.element_ty)
        tl.store(total + row * C + c, rounded, mask=mask)
        value = rounded.to(tl.float32)
    mean = tl.sum(value, axis=0) / C
    centred = tl.where(mask, value - mean, 0.0)
    normed = centred * tl.rsqrt(tl.sum(centred * centred, axis=0) / C + eps)
    factor = tl.load(scale + frame * scale_stride + c, mask=mask, other=0.0).to(tl.float32) + ONE
    normed = normed * factor + tl.load(shift + frame * shift_stride + c, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + row * C + c, normed.to(out.dtype.element_ty), mask=mask)


def add_norm_cuda(
    x: Tensor,
    update: Tensor | None,
    gate: Tensor | None,
    scale: Tensor,
    shift: Tensor,
    *,
    eps: float,
    one: bool,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """models/wan.py add_norm on CUDA: (x + update * gate, its LayerNorm times (scale, or 1 + scale) plus shift, in `dtype`).

    x, update: [B, G, P, C]; gate: [B, G, 1, C]; scale, shift: [B, G, 1, C], or [C] for all frames alike. The sum is computed in
    float32 and rounded once, to the dtype that torch would give it.
    """
    x = x.contiguous()
    channels, tokens = x.shape[-1], x.shape[2]
    total, out = x, torch.empty(x.shape, dtype=dtype, device=x.device)
    if update is not None:
        wide = torch.promote_types(x.dtype, update.dtype if gate is None else gate.dtype)
        total = torch.empty(x.shape, dtype=wide, device=x.device)
    rows = x.numel() // channels
    _add_norm[(rows,)](
        x, x if update is None else update.contiguous(), x if gate is None else gate, scale, shift, total, out, tokens,
        _frame_stride(gate), _frame_stride(scale), _frame_stride(shift), eps,
        C=channels, WIDTH=triton.next_power_of_2(channels), UPDATE=update is not None, GATE=gate is not None, ONE=int(one),
        num_warps=4,
    )  # fmt: skip
    return total, out


def _frame_stride(row: Tensor | None) -> int:
    """Elements from one frame's row to the next, over batch and frames; 0 for one row that all share."""
    if row is None or row.ndim == 1:
        return 0
    if row.stride(-1) != 1 or (row.shape[0] > 1 and row.stride(0) != row.shape[1] * row.stride(1)):
        raise ValueError(f"Rows of strides {row.stride()} are not evenly spaced; make them contiguous.")
    return row.stride(1)


@triton.jit
def _norm_rotate(
    x, weight, cos, sin, out, tokens, batch_stride, token_stride, eps,
    N: tl.constexpr, D: tl.constexpr, HEADS: tl.constexpr, PAIRS: tl.constexpr, NORM: tl.constexpr, TURN: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    clip, token = row // tokens, row % tokens
    head, pair, place = tl.arange(0, HEADS), tl.arange(0, PAIRS), tl.arange(0, 2 * PAIRS)
    at = head[:, None] * D + place[None, :]
    mask = (head < N)[:, None] & (place < D)[None, :]
    value = tl.load(x + clip * batch_stride + token * token_stride + at, mask=mask, other=0.0).to(tl.float32)
    if NORM:
        value *= tl.rsqrt(tl.sum(value * value) / (N * D) + eps)
        value *= tl.load(weight + at, mask=mask, other=0.0).to(tl.float32)
    if TURN:
        even, odd = tl.split(tl.reshape(value, (HEADS, PAIRS, 2)))
        c = tl.load(cos + token * (D // 2) + pair, mask=pair < D // 2, other=0.0)[None, :]
        s = tl.load(sin + token * (D // 2) + pair, mask=pair < D // 2, other=0.0)[None, :]
        value = tl.reshape(tl.join(even * c - odd * s, even * s + odd * c), (HEADS, 2 * PAIRS))
    tl.store(out + row * (N * D) + at, value.to(out.dtype.element_ty), mask=mask)


def norm_rotate_cuda(
    x: Tensor, weight: Tensor | None, eps: float, turn: tuple[Tensor, Tensor] | None, dtype: torch.dtype
) -> Tensor:
    """RMS norm over all heads of a token and rotation of each, either left out where it is None; one rounding, to `dtype`.

    x: [B, T, N, D]; weight: [N * D]; turn: cos and sin [T, 1, D / 2], float32.
    """
    batch, tokens, heads, size = x.shape
    if x.stride(3) != 1 or x.stride(2) != size:
        x = x.contiguous()
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    cos, sin = (x, x) if turn is None else turn
    _norm_rotate[(batch * tokens,)](
        x, x if weight is None else weight, cos, sin, out, tokens, x.stride(0), x.stride(1), eps,
        N=heads, D=size, HEADS=triton.next_power_of_2(heads), PAIRS=triton.next_power_of_2(size) // 2,
        NORM=weight is not None, TURN=turn is not None, num_warps=4,
    )  # fmt: skip
    return out
