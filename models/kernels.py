"""Triton kernels of the `fast` precision. models/fused.py imports them on CUDA only, and has the same in
plain torch; tests compare the two.

Legend: B batch, C channels, T frames or tokens, H, W size, N heads, D head size, G frames of P tokens each.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

PROGRAMS = 1056  # of a backward kernel, each over some rows: 8 for each of an H200's 132 multiprocessors


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
    """`add_norm_silu` of models/fused.py on CUDA. Raises ValueError unless all is channels-last."""
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
        x, bias, x if residual is None else residual, bias if gamma is None else gamma,
        x if total is None else total,
        x if out is None else out, rows, height * width, frames, 0 if out is None else out.stride(0),
        channels**0.5,
        C=channels, WIDTH=padded, ROWS=block, RESIDUAL=residual is not None, KEEP=keep_sum,
        NORM=gamma is not None, TAPS=taps,
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
    """models/wan.py add_norm on CUDA: (x + update * gate, its LayerNorm times (scale, or 1 + scale) plus
    shift, in `dtype`).

    x, update: [B, G, P, C]; gate: [B, G, 1, C]; scale, shift: [B, G, 1, C], or [C] for all frames alike. The
    sum is computed in float32 and rounded once, to the dtype that torch would give it. Differentiable.
    """
    return _AddNorm.apply(x.contiguous(), update, gate, scale, shift, eps, one, dtype)


class _AddNorm(torch.autograd.Function):
    """Keeps the sum alone and norms it again on the way back; rows' gradients are added up in float32, in an
    order that never changes.
    """

    @staticmethod
    def forward(ctx, x, update, gate, scale, shift, eps, one, dtype):
        channels, tokens = x.shape[-1], x.shape[2]
        gate, scale, shift = (_evenly_spaced(row) for row in (gate, scale, shift))
        total, out = x, torch.empty(x.shape, dtype=dtype, device=x.device)
        if update is not None:
            update = update.contiguous()
            wide = torch.promote_types(x.dtype, update.dtype if gate is None else gate.dtype)
            total = torch.empty(x.shape, dtype=wide, device=x.device)
        _add_norm[(x.numel() // channels,)](
            x, x if update is None else update, x if gate is None else gate, scale, shift, total, out, tokens,
            _frame_stride(gate), _frame_stride(scale), _frame_stride(shift), eps,
            C=channels, WIDTH=triton.next_power_of_2(channels), UPDATE=update is not None,
            GATE=gate is not None, ONE=int(one),
            num_warps=4,
        )  # fmt: skip
        ctx.save_for_backward(total, None if gate is None else update, gate, scale)
        ctx.eps, ctx.one = eps, one
        ctx.dtypes = x.dtype, None if update is None else update.dtype, shift.dtype
        return total, out

    @staticmethod
    def backward(ctx, d_total, d_out):
        total, update, gate, scale = ctx.saved_tensors
        x_dtype, update_dtype, shift_dtype = ctx.dtypes
        batch, frames, tokens, channels = total.shape
        splits = triton.cdiv(PROGRAMS, batch * frames)
        rows = triton.cdiv(tokens, splits)
        d_x = torch.empty(total.shape, dtype=x_dtype, device=total.device)
        d_update = (
            None
            if update_dtype is None
            else torch.empty(total.shape, dtype=update_dtype, device=total.device)
        )
        sums = torch.empty(batch * frames, splits, 3, channels, dtype=torch.float32, device=total.device)
        _add_norm_backward[(batch * frames, splits)](
            total, d_total.contiguous(), d_out.contiguous(), total if update is None else update,
            total if gate is None else gate,
            scale, d_x, d_x if d_update is None else d_update, sums, tokens, splits,
            _frame_stride(gate), _frame_stride(scale), ctx.eps,
            C=channels, WIDTH=triton.next_power_of_2(channels), ROWS=rows, UPDATE=d_update is not None,
            GATE=gate is not None,
            ONE=int(ctx.one), num_warps=4,
        )  # fmt: skip
        d_gate, d_scale, d_shift = sums.sum(1).view(batch, frames, 1, 3, channels).unbind(3)
        if scale.ndim == 1:
            d_scale, d_shift = d_scale.sum((0, 1, 2)), d_shift.sum((0, 1, 2))
        return (
            d_x,
            d_update,
            None if gate is None else d_gate.to(gate.dtype),
            d_scale.to(scale.dtype),
            d_shift.to(shift_dtype),
            None,
            None,
            None,
        )


@triton.jit
def _add_norm_backward(
    total, d_total, d_out, update, gate, scale, d_x, d_update, sums, tokens, splits, gate_stride,
    scale_stride, eps,
    C: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, UPDATE: tl.constexpr, GATE: tl.constexpr,
    ONE: tl.constexpr,
):  # fmt: skip
    frame, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    c = tl.arange(0, WIDTH)
    inside = c < C
    factor = tl.load(scale + frame * scale_stride + c, mask=inside, other=0.0).to(tl.float32) + ONE
    if GATE:
        opened = tl.load(gate + frame * gate_stride + c, mask=inside, other=0.0).to(tl.float32)
    to_gate = tl.zeros((WIDTH,), dtype=tl.float32)
    to_scale = tl.zeros((WIDTH,), dtype=tl.float32)
    to_shift = tl.zeros((WIDTH,), dtype=tl.float32)
    for step in range(ROWS):
        token = split * ROWS + step
        mask = inside & (token < tokens)
        at = (frame * tokens + token) * C + c
        value = tl.load(total + at, mask=mask, other=0.0).to(tl.float32)
        slope = tl.load(d_out + at, mask=mask, other=0.0).to(tl.float32)
        passed = tl.load(d_total + at, mask=mask, other=0.0).to(tl.float32)
        centred = tl.where(mask, value - tl.sum(value, axis=0) / C, 0.0)
        scaled = tl.rsqrt(tl.sum(centred * centred, axis=0) / C + eps)
        normed = centred * scaled
        to_shift += slope
        to_scale += slope * normed
        slope *= factor
        along = tl.sum(slope * normed, axis=0) / C
        passed += scaled * (slope - tl.sum(slope, axis=0) / C - normed * along)
        tl.store(d_x + at, passed.to(d_x.dtype.element_ty), mask=mask)
        if UPDATE:
            if GATE:
                to_gate += passed * tl.load(update + at, mask=mask, other=0.0).to(tl.float32)
                passed *= opened
            tl.store(d_update + at, passed.to(d_update.dtype.element_ty), mask=mask)
    to = sums + (frame * splits + split) * (3 * C) + c
    tl.store(to, to_gate, mask=inside)
    tl.store(to + C, to_scale, mask=inside)
    tl.store(to + 2 * C, to_shift, mask=inside)


def _frame_stride(row: Tensor | None) -> int:
    """Elements from one frame's row to the next, over batch and frames; 0 for one row that all share."""
    return 0 if row is None or row.ndim == 1 else row.stride(1)


def _evenly_spaced(row: Tensor | None) -> Tensor | None:
    """Rows [B, G, 1, C] with one stride over batch and frames: those of parts of clips are copied."""
    if row is None or row.ndim == 1:
        return row
    even = row.stride(-1) == 1 and (row.shape[0] == 1 or row.stride(0) == row.shape[1] * row.stride(1))
    return row if even else row.contiguous()


@triton.jit
def _norm_rotate(
    x, weight, cos, sin, out, tokens, batch_stride, token_stride, eps,
    N: tl.constexpr, D: tl.constexpr, HEADS: tl.constexpr, PAIRS: tl.constexpr, NORM: tl.constexpr,
    ROPE: tl.constexpr,
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
    if ROPE:
        even, odd = tl.split(tl.reshape(value, (HEADS, PAIRS, 2)))
        c = tl.load(cos + token * (D // 2) + pair, mask=pair < D // 2, other=0.0)[None, :]
        s = tl.load(sin + token * (D // 2) + pair, mask=pair < D // 2, other=0.0)[None, :]
        value = tl.reshape(tl.join(even * c - odd * s, even * s + odd * c), (HEADS, 2 * PAIRS))
    tl.store(out + row * (N * D) + at, value.to(out.dtype.element_ty), mask=mask)


def norm_rotate_cuda(
    x: Tensor, weight: Tensor | None, eps: float, rope: tuple[Tensor, Tensor] | None, dtype: torch.dtype
) -> Tensor:
    """RMS norm over all heads of a token and rotation of each, either left out where it is None; one
    rounding, to `dtype`.

    x: [B, T, N, D]; weight: [N * D]; rope: cos and sin [T, 1, D / 2], float32. Differentiable with a norm.
    """
    if x.stride(3) != 1 or x.stride(2) != x.shape[3]:
        x = x.contiguous()
    if weight is None:
        return _normed_rotated(x, None, eps, rope, dtype)
    return _NormRotate.apply(x, weight, eps, rope, dtype)


def _normed_rotated(
    x: Tensor, weight: Tensor | None, eps: float, rope: tuple[Tensor, Tensor] | None, dtype: torch.dtype
) -> Tensor:
    batch, tokens, heads, size = x.shape
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    cos, sin = (x, x) if rope is None else rope
    _norm_rotate[(batch * tokens,)](
        x, x if weight is None else weight, cos, sin, out, tokens, x.stride(0), x.stride(1), eps,
        N=heads, D=size, HEADS=triton.next_power_of_2(heads), PAIRS=triton.next_power_of_2(size) // 2,
        NORM=weight is not None, ROPE=rope is not None, num_warps=4,
    )  # fmt: skip
    return out


class _NormRotate(torch.autograd.Function):
    """Keeps what is normed, and norms it again on the way back."""

    @staticmethod
    def forward(ctx, x, weight, eps, rope, dtype):
        ctx.save_for_backward(x, weight, *(() if rope is None else rope))
        ctx.eps = eps
        return _normed_rotated(x, weight, eps, rope, dtype)

    @staticmethod
    def backward(ctx, d_out):
        x, weight, *rope = ctx.saved_tensors
        batch, tokens, heads, size = x.shape
        rows = triton.cdiv(batch * tokens, PROGRAMS)
        d_x = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        sums = torch.empty(PROGRAMS, heads * size, dtype=torch.float32, device=x.device)
        cos, sin = rope or (x, x)
        _norm_rotate_backward[(PROGRAMS,)](
            x, weight, cos, sin, d_out.contiguous(), d_x, sums, batch * tokens, tokens, x.stride(0),
            x.stride(1), ctx.eps,
            N=heads, D=size, HEADS=triton.next_power_of_2(heads), PAIRS=triton.next_power_of_2(size) // 2,
            ROWS=rows, ROPE=bool(rope), num_warps=4,
        )  # fmt: skip
        return d_x, sums.sum(0).to(weight.dtype), None, None, None


@triton.jit
def _norm_rotate_backward(
    x, weight, cos, sin, d_out, d_x, sums, end, tokens, batch_stride, token_stride, eps,
    N: tl.constexpr, D: tl.constexpr, HEADS: tl.constexpr, PAIRS: tl.constexpr, ROWS: tl.constexpr,
    ROPE: tl.constexpr,
):  # fmt: skip
    start = tl.program_id(0).to(tl.int64) * ROWS
    head, pair, place = tl.arange(0, HEADS), tl.arange(0, PAIRS), tl.arange(0, 2 * PAIRS)
    at = head[:, None] * D + place[None, :]
    inside = (head < N)[:, None] & (place < D)[None, :]
    factor = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    to_weight = tl.zeros((HEADS, 2 * PAIRS), dtype=tl.float32)
    for step in range(ROWS):
        row = start + step
        mask = inside & (row < end)
        clip, token = row // tokens, row % tokens
        slope = tl.load(d_out + row * (N * D) + at, mask=mask, other=0.0).to(tl.float32)
        if ROPE:
            even, odd = tl.split(tl.reshape(slope, (HEADS, PAIRS, 2)))
            turned = (pair < D // 2) & (row < end)
            c = tl.load(cos + token * (D // 2) + pair, mask=turned, other=0.0)[None, :]
            s = tl.load(sin + token * (D // 2) + pair, mask=turned, other=0.0)[None, :]
            slope = tl.reshape(tl.join(even * c + odd * s, odd * c - even * s), (HEADS, 2 * PAIRS))
        value = tl.load(x + clip * batch_stride + token * token_stride + at, mask=mask, other=0.0).to(
            tl.float32
        )
        scaled = tl.rsqrt(tl.sum(value * value) / (N * D) + eps)
        normed = value * scaled
        to_weight += slope * normed
        slope *= factor
        along = tl.sum(slope * normed) / (N * D)
        tl.store(
            d_x + row * (N * D) + at, (scaled * (slope - normed * along)).to(d_x.dtype.element_ty), mask=mask
        )
    tl.store(sums + tl.program_id(0) * (N * D) + at, to_weight, mask=inside)
