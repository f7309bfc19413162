"""Triton kernels of the fast profile. Imported on CUDA only; every one has a plain torch form beside its caller, and a test.

Legend: B batch, C channels, T frames, H, W size; R rows (pixels).
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _add_norm_silu(
    x, bias, residual, gamma, total, out, rows, rows_per_clip, out_stride, scale,
    C: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, RESIDUAL: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, WIDTH)
    mask = (r < rows)[:, None] & (c < C)[None, :]
    at = r[:, None] * C + c[None, :]
    value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    value += tl.load(bias + c, mask=c < C, other=0.0).to(tl.float32)[None, :]
    if RESIDUAL:
        value += tl.load(residual + at, mask=mask, other=0.0).to(tl.float32)
    value = tl.where(mask, value, 0.0)
    if KEEP:
        tl.store(total + at, value.to(total.dtype.element_ty), mask=mask)
    length = tl.sqrt(tl.sum(value * value, axis=1))
    normed = value / tl.maximum(length, 1e-12)[:, None] * scale
    normed *= tl.load(gamma + c, mask=c < C, other=0.0).to(tl.float32)[None, :]
    normed *= tl.sigmoid(normed)
    clip = r // rows_per_clip
    to = clip[:, None] * out_stride + (r - clip * rows_per_clip)[:, None] * C + c[None, :]
    tl.store(out + to, normed.to(out.dtype.element_ty), mask=mask)


def add_norm_silu_cuda(
    x: Tensor, bias: Tensor, residual: Tensor | None, gamma: Tensor, out: Tensor, *, keep_sum: bool
) -> Tensor | None:
    """models/wan_decoder.py add_norm_silu on CUDA. All tensors channels-last; out may be a part of a larger buffer along T.

    Raises ValueError for another layout.
    """
    batch, channels = x.shape[:2]
    per_clip = x.shape[2] * x.shape[3] * x.shape[4]
    inner = (1, x.shape[3] * x.shape[4] * channels, x.shape[4] * channels, channels)  # strides of C, T, H, W
    for name, value in (("x", x), ("residual", residual), ("out", out)):
        if value is not None and any(
            stride != wanted and size > 1
            for stride, wanted, size in zip(value.stride()[1:], inner, value.shape[1:], strict=True)
        ):
            raise ValueError(
                f"{name} has strides {value.stride()}, expected channels-last; convert it first."
            )
    total = x.new_empty(batch, *x.shape[2:], channels).permute(0, 4, 1, 2, 3) if keep_sum else None
    rows = batch * per_clip
    width = triton.next_power_of_2(channels)
    block = max(1, 4096 // width)
    _add_norm_silu[(triton.cdiv(rows, block),)](
        x, bias, residual if residual is not None else x, gamma, total if total is not None else x, out,
        rows, per_clip, out.stride(0), channels**0.5,
        C=channels, WIDTH=width, ROWS=block, RESIDUAL=residual is not None, KEEP=keep_sum, num_warps=8,
    )  # fmt: skip
    return total
