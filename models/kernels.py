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
def _sum_norm_silu(
    x, bias, residual, gamma, at, c, mask, scale,
    C: tl.constexpr, RESIDUAL: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """(x + bias + residual, its normed and activated form, or itself without a norm) of rows by channels."""
    value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    value += tl.load(bias + c, mask=c < C, other=0.0).to(tl.float32)[None, :]
    if RESIDUAL:
        value += tl.load(residual + at, mask=mask, other=0.0).to(tl.float32)
    value = tl.where(mask, value, 0.0)
    normed = value
    if NORM:
        length = tl.sqrt(tl.sum(value * value, axis=1))
        normed = value / tl.maximum(length, 1e-12)[:, None] * scale
        normed *= tl.load(gamma + c, mask=c < C, other=0.0).to(tl.float32)[None, :]
        normed *= tl.sigmoid(normed)
    return value, normed


@triton.jit
def _add_norm_silu(
    x, bias, residual, gamma, total, now, later, rows, pixels, frames, later_frames, now_stride, later_stride,
    scale,
    C: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, RESIDUAL: tl.constexpr, KEEP: tl.constexpr,
    NORM: tl.constexpr, TAPS: tl.constexpr, SINGLE: tl.constexpr,
):  # fmt: skip
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, WIDTH)
    mask = (r < rows)[:, None] & (c < C)[None, :]
    at = r[:, None] * C + c[None, :]
    value, normed = _sum_norm_silu(x, bias, residual, gamma, at, c, mask, scale, C, RESIDUAL, NORM)
    if KEEP:
        tl.store(total + at, value.to(total.dtype.element_ty), mask=mask)
    if TAPS > 0:
        shown = normed.to(now.dtype.element_ty)
        clip = r // (pixels * frames)
        within = r - clip * (pixels * frames)
        back = frames - 1 - within // pixels  # 0 in the last frame
        pixel = within - within // pixels * pixels
        here = now + clip[:, None] * now_stride + c[None, :]
        there = later + clip[:, None] * later_stride + c[None, :]
    if TAPS == 1:  # frames one after another, behind two of the past
        tl.store(here + (2 * pixels + within)[:, None] * C, shown, mask=mask)
        past = mask & (back < 2)[:, None]
        tl.store(there + ((1 - back) * pixels + pixel)[:, None] * C, shown, mask=past)
        if SINGLE:
            older = tl.load(here + (pixels + pixel)[:, None] * C, mask=mask)
            tl.store(there + pixel[:, None] * C, older, mask=mask)
    if TAPS == 3:  # for every frame the two before it and itself
        depth: tl.constexpr = 3 * C
        for tap in tl.static_range(0, 3):
            own = mask & (back >= 2 - tap)[:, None]
            tl.store(here + (within + (2 - tap) * pixels)[:, None] * depth + tap * C, shown, mask=own)
        last, second = mask & (back == 0)[:, None], mask & (back == 1)[:, None]
        tl.store(there + pixel[:, None] * depth + C, shown, mask=last)
        tl.store(there + (pixels + pixel)[:, None] * depth, shown, mask=last & (later_frames > 1))
        tl.store(there + pixel[:, None] * depth, shown, mask=second)
        if SINGLE:
            older = tl.load(here + pixel[:, None] * depth + C, mask=mask)
            tl.store(there + pixel[:, None] * depth, older, mask=mask)


def add_norm_silu_cuda(
    x: Tensor,
    bias: Tensor,
    residual: Tensor | None,
    gamma: Tensor | None,
    out: tuple[Tensor, Tensor, int] | None,
    *,
    keep_sum: bool,
) -> Tensor | None:
    """`add_norm_silu` of models/fused.py on CUDA; out: a `Room` of that module. Raises
    ValueError unless all is channels-last.
    """
    batch, channels, frames, height, width = x.shape
    now, later, taps = (x, x, 0) if out is None else out
    _check_layout(True, x=x, residual=residual)
    _check_layout(False, now=now, later=later)
    total = x.new_empty(batch, *x.shape[2:], channels).permute(0, 4, 1, 2, 3) if keep_sum else None
    rows, padded = batch * frames * height * width, triton.next_power_of_2(channels)
    block = max(1, 2048 // padded)
    _add_norm_silu[(triton.cdiv(rows, block),)](
        x, bias, x if residual is None else residual, bias if gamma is None else gamma,
        x if total is None else total, now, later, rows, height * width, frames, later.shape[2],
        now.stride(0), later.stride(0), channels**0.5,
        C=channels, WIDTH=padded, ROWS=block, RESIDUAL=residual is not None, KEEP=keep_sum,
        NORM=gamma is not None, TAPS=taps, SINGLE=frames == 1,
        num_warps=4,
    )  # fmt: skip
    return total


def _check_layout(dense: bool, **values: Tensor | None) -> None:
    """Raise ValueError unless all are channels-last; dense: clips one after another, too."""
    for name, value in values.items():
        if value is None:
            continue
        depth, frames, height, width = value.shape[1:]
        wanted = (1, height * width * depth, width * depth, depth)  # strides of C, T, H, W
        apart = frames * height * width * depth if dense else value.stride(0)
        if any(
            stride != right and size > 1
            for stride, right, size in zip(value.stride(), (apart, *wanted), value.shape, strict=True)
        ):
            raise ValueError(
                f"{name} has strides {value.stride()}, expected channels-last; convert it first."
            )


@triton.jit
def _norm_silu_products(
    x, bias, residual, gamma, weight, out, rows, plane, scale, K,
    C: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, DEPTH: tl.constexpr, RESIDUAL: tl.constexpr,
):  # fmt: skip
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    c, k = tl.arange(0, WIDTH), tl.arange(0, DEPTH)
    mask = (r < rows)[:, None] & (c < C)[None, :]
    at = r[:, None] * C + c[None, :]
    _, normed = _sum_norm_silu(x, bias, residual, gamma, at, c, mask, scale, C, RESIDUAL, True)
    factor = tl.load(weight + c[:, None] * DEPTH + k[None, :], mask=(c < C)[:, None], other=0.0)
    products = tl.dot(normed.to(factor.dtype), factor, input_precision="ieee")
    clip = r // plane
    to = (clip * K * plane + r - clip * plane)[:, None] + k[None, :].to(tl.int64) * plane
    shown = (r < rows)[:, None] & (k < K)[None, :]
    tl.store(out + to, products.to(out.dtype.element_ty), mask=shown)


def norm_silu_products_cuda(
    x: Tensor,
    bias: Tensor,
    residual: Tensor | None,
    gamma: Tensor,
    weight: Tensor,
    depth: int,
    dtype: torch.dtype,
) -> Tensor:
    """`norm_silu_products` of models/fused.py on CUDA, in `dtype`; weight: contiguous. Raises
    ValueError unless x and residual are channels-last.
    """
    _check_layout(True, x=x, residual=residual)
    batch, channels, frames, height, width = x.shape
    plane = frames * height * width
    products = torch.empty(batch, depth, *x.shape[2:], dtype=dtype, device=x.device)
    rows, block = batch * plane, 64
    _norm_silu_products[(triton.cdiv(rows, block),)](
        x, bias, x if residual is None else residual, gamma, weight, products, rows, plane, channels**0.5,
        depth,
        C=channels, WIDTH=max(16, triton.next_power_of_2(channels)), ROWS=block,
        DEPTH=weight.shape[1], RESIDUAL=residual is not None, num_warps=4,
    )  # fmt: skip
    return products


@triton.jit
def _gather_taps(
    products, before, bias, out, frames, before_frames, height, width,
    OUT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    pixels = (height * width).to(tl.int64)
    p = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    clip, frame = tl.program_id(1).to(tl.int64) // frames, tl.program_id(1) % frames
    for o in tl.static_range(OUT):
        total = tl.zeros((BLOCK,), dtype=tl.float32) + tl.load(bias + o).to(tl.float32)
        for t in tl.static_range(3):
            source, first = frame + (t - 2), clip * 27 * OUT + t * 9 * OUT + o
            if source >= 0:
                taps = products + (first * frames + source) * pixels
                total = _add_taps(total, taps, p, OUT * frames * pixels, height, width)
            else:
                if before_frames + source >= 0:
                    taps = before + (first * before_frames + before_frames + source) * pixels
                    total = _add_taps(total, taps, p, OUT * before_frames * pixels, height, width)
        to = ((clip * frames + frame) * pixels + p) * OUT + o
        tl.store(out + to, total.to(out.dtype.element_ty), mask=p < pixels)


@triton.jit
def _add_taps(total, taps, p, plane, height, width):
    """Add the nine taps of a frame, whose pictures lie `plane` elements apart, at pixels p."""
    row, column = p // width, p % width
    for i in tl.static_range(3):
        for j in tl.static_range(3):
            y, z = row + (i - 1), column + (j - 1)
            shown = (y >= 0) & (y < height) & (z >= 0) & (z < width)
            value = taps + (3 * i + j) * plane + p + (i - 1) * width + (j - 1)
            total += tl.load(value, mask=shown, other=0.0).to(tl.float32)
    return total


def gather_taps_cuda(products: Tensor, before: Tensor | None, bias: Tensor) -> Tensor:
    """`gather_taps` of models/fused.py on CUDA; products, before: contiguous. Channels-last."""
    batch, _, frames, height, width = products.shape
    channels = len(bias)
    out = torch.empty(batch, frames, height, width, channels, dtype=bias.dtype, device=bias.device)
    _gather_taps[(triton.cdiv(height * width, 512), batch * frames)](
        products, products if before is None else before, bias, out, frames,
        0 if before is None else before.shape[2], height, width, OUT=channels, BLOCK=512, num_warps=4,
    )  # fmt: skip
    return out.permute(0, 4, 1, 2, 3)


@triton.jit
def _softmax(x, out, length, scale, WIDTH: tl.constexpr):
    row, place = tl.program_id(0).to(tl.int64), tl.arange(0, WIDTH)
    value = tl.load(x + row * length + place, mask=place < length, other=float("-inf")) * scale
    value = tl.exp(value - tl.max(value, axis=0))
    value = value / tl.sum(value, axis=0)
    tl.store(out + row * length + place, value.to(out.dtype.element_ty), mask=place < length)


def softmax_cuda(x: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    """softmax(scale x), scale > 0, over the last axis of contiguous float32 values, rounded to `dtype`."""
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    length = x.shape[-1]
    _softmax[(x.numel() // length,)](x, out, length, scale, WIDTH=triton.next_power_of_2(length), num_warps=8)
    return out


@triton.jit
def _add_norm(
    x, update, gate, scale, shift, total, out, codes_scale, tokens, gate_stride, scale_stride, shift_stride,
    eps,
    C: tl.constexpr, WIDTH: tl.constexpr, UPDATE: tl.constexpr, GATE: tl.constexpr, ONE: tl.constexpr,
    CODES: tl.constexpr,
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
    if CODES:
        normed = _coded_row(normed, codes_scale + row)
    tl.store(out + row * C + c, normed.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _coded_row(row, scale):
    """A row over the scale that makes its largest number 448, which is stored."""
    one = tl.maximum(tl.max(tl.abs(row), axis=0), 1e-12) / 448.0
    tl.store(scale, one)
    return row / one


@triton.jit
def _quantise_rows(x, codes, scale, K: tl.constexpr, WIDTH: tl.constexpr, GELU: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, WIDTH)
    value = tl.load(x + row * K + k, mask=k < K, other=0.0).to(tl.float32)
    if GELU:  # 0.5 x (1 + tanh y) = x sigmoid(2 y)
        value *= tl.sigmoid(1.5957691216057308 * (value + 0.044715 * value * value * value))
    tl.store(codes + row * K + k, _coded_row(value, scale + row).to(codes.dtype.element_ty), mask=k < K)


def quantise_rows_cuda(x: Tensor, *, gelu: bool) -> tuple[Tensor, Tensor]:
    """`quantise_rows` of models/fp8.py on CUDA: codes of x's shape and their scales."""
    x, width = x.contiguous(), x.shape[-1]
    codes = torch.empty(x.shape, dtype=torch.float8_e4m3fn, device=x.device)
    scale = torch.empty(x.shape[:-1], dtype=torch.float32, device=x.device)
    padded = triton.next_power_of_2(width)
    _quantise_rows[(scale.numel(),)](
        x, codes, scale, K=width, WIDTH=padded, GELU=gelu, num_warps=4 if padded <= 2048 else 8
    )
    return codes, scale


@triton.jit
def _quantise_heads(
    x, scale, codes, tokens, batch_stride, token_stride,
    N: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, LIMIT: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    place = tl.arange(0, WIDTH)
    clip, token = row // tokens, row % tokens
    mask = (row < LIMIT)[:, None] & (place < N * D)[None, :]
    at = (clip * batch_stride + token * token_stride)[:, None] + place[None, :]
    one = tl.load(scale + place // D, mask=place < N * D, other=1.0)[None, :]
    value = _in_range(tl.load(x + at, mask=mask, other=0.0).to(tl.float32) / one)
    tl.store(codes + row[:, None] * (N * D) + place[None, :], value.to(codes.dtype.element_ty), mask=mask)


@triton.jit
def _in_range(value):
    """The value, or NaN where e4m3 has none: the conversion would clamp it, and hide the fault."""
    return tl.where(tl.abs(value) <= 448.0, value, float("nan"))


def quantise_heads_cuda(x: Tensor, scale: Tensor) -> Tensor:
    """`quantise_heads` of models/fp8.py on CUDA."""
    if x.stride(3) != 1 or x.stride(2) != x.shape[3]:
        x = x.contiguous()
    batch, tokens, heads, size = x.shape
    codes = torch.empty(x.shape, dtype=torch.float8_e4m3fn, device=x.device)
    _quantise_heads[(triton.cdiv(batch * tokens, 2),)](
        x, scale, codes, tokens, x.stride(0), x.stride(1), N=heads, D=size,
        WIDTH=triton.next_power_of_2(heads * size), ROWS=2, LIMIT=batch * tokens, num_warps=4,
    )  # fmt: skip
    return codes


def add_norm_codes_cuda(
    x: Tensor,
    update: Tensor | None,
    gate: Tensor | None,
    scale: Tensor,
    shift: Tensor,
    *,
    eps: float,
    one: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """`add_norm_cuda` whose norm comes as codes in e4m3 with a scale a row. Not differentiable."""
    total, out, scales, *_ = _launch_add_norm(
        x.contiguous(), update, gate, scale, shift, eps, one, torch.float8_e4m3fn
    )
    return total, out, scales


def _launch_add_norm(x, update, gate, scale, shift, eps, one, dtype):
    """The sum, its norm in `dtype`, scales of codes, and update, gate and scale as they were laid out."""
    channels, codes = x.shape[-1], dtype == torch.float8_e4m3fn
    gate, scale, shift = (_evenly_spaced(row) for row in (gate, scale, shift))
    total, out = x, torch.empty(x.shape, dtype=dtype, device=x.device)
    scales = torch.empty(x.shape[:-1], dtype=torch.float32, device=x.device) if codes else out
    if update is not None:
        update = update.contiguous()
        wide = torch.promote_types(x.dtype, update.dtype if gate is None else gate.dtype)
        total = torch.empty(x.shape, dtype=wide, device=x.device)
    _add_norm[(x.numel() // channels,)](
        x, x if update is None else update, x if gate is None else gate, scale, shift, total, out, scales,
        x.shape[2], _frame_stride(gate), _frame_stride(scale), _frame_stride(shift), eps,
        C=channels, WIDTH=triton.next_power_of_2(channels), UPDATE=update is not None,
        GATE=gate is not None, ONE=int(one), CODES=codes,
        num_warps=4,
    )  # fmt: skip
    return total, out, scales, update, gate, scale


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
        total, out, _, update, gate, scale = _launch_add_norm(x, update, gate, scale, shift, eps, one, dtype)
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


@triton.jit
def _store_heads(
    q, k, v, q_weight, k_weight, cos, sin, q_out, k_out, v_out, q_scale, k_scale, v_scale, tokens,
    batch_stride, token_stride, stored_stride, eps,
    N: tl.constexpr, D: tl.constexpr, HEADS: tl.constexpr, PAIRS: tl.constexpr, ROTATE_KEYS: tl.constexpr,
    CODES: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    clip, token = row // tokens, row % tokens
    head, pair, place = tl.arange(0, HEADS), tl.arange(0, PAIRS), tl.arange(0, 2 * PAIRS)
    at = head[:, None] * D + place[None, :]
    mask = (head < N)[:, None] & (place < D)[None, :]
    source = clip * batch_stride + token * token_stride + at
    query = tl.load(q + source, mask=mask, other=0.0).to(tl.float32)
    key = tl.load(k + source, mask=mask, other=0.0).to(tl.float32)
    value = tl.load(v + source, mask=mask, other=0.0)
    c = tl.load(cos + token * (D // 2) + pair, mask=pair < D // 2, other=0.0)[None, :]
    s = tl.load(sin + token * (D // 2) + pair, mask=pair < D // 2, other=0.0)[None, :]
    query *= tl.rsqrt(tl.sum(query * query) / (N * D) + eps)
    query *= tl.load(q_weight + at, mask=mask, other=0.0).to(tl.float32)
    even, odd = tl.split(tl.reshape(query, (HEADS, PAIRS, 2)))
    query = tl.reshape(tl.join(even * c - odd * s, even * s + odd * c), (HEADS, 2 * PAIRS))
    key *= tl.rsqrt(tl.sum(key * key) / (N * D) + eps)
    key *= tl.load(k_weight + at, mask=mask, other=0.0).to(tl.float32)
    if ROTATE_KEYS:
        even, odd = tl.split(tl.reshape(key, (HEADS, PAIRS, 2)))
        key = tl.reshape(tl.join(even * c - odd * s, even * s + odd * c), (HEADS, 2 * PAIRS))
    if CODES:
        query = _in_range(query / tl.load(q_scale + head, mask=head < N, other=1.0)[:, None])
        key = _in_range(key / tl.load(k_scale + head, mask=head < N, other=1.0)[:, None])
        value = _in_range(value.to(tl.float32) / tl.load(v_scale + head, mask=head < N, other=1.0)[:, None])
    to = clip * stored_stride + token * (N * D) + at
    tl.store(q_out + row * (N * D) + at, query.to(q_out.dtype.element_ty), mask=mask)
    tl.store(k_out + to, key.to(k_out.dtype.element_ty), mask=mask)
    tl.store(v_out + to, value.to(v_out.dtype.element_ty), mask=mask)


def store_heads_cuda(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weights: tuple[Tensor, Tensor],
    eps: float,
    rope: tuple[Tensor, Tensor],
    keys: Tensor,
    values: Tensor,
    *,
    rotate_keys: bool,
    scales: tuple[Tensor, Tensor, Tensor] | None = None,
) -> Tensor:
    """`store_heads` of models/fused.py in one kernel. q, k, v: [B, T, N, D], of equal strides, a token's
    heads in one piece; keys, values: [B, T, N, D], the tokens of a clip in one piece. Not differentiable.
    """
    batch, tokens, heads, size = q.shape
    out = torch.empty(q.shape, dtype=q.dtype if scales is None else keys.dtype, device=q.device)
    _store_heads[(batch * tokens,)](
        q, k, v, *weights, *rope, out, keys, values, *((q, k, v) if scales is None else scales), tokens,
        q.stride(0), q.stride(1), keys.stride(0), eps,
        N=heads, D=size, HEADS=triton.next_power_of_2(heads), PAIRS=triton.next_power_of_2(size) // 2,
        ROTATE_KEYS=rotate_keys, CODES=scales is not None, num_warps=4,
    )  # fmt: skip
    return out


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
