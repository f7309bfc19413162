"""The Triton kernels of the DiT against their plain forms, on a GPU, or on a CPU with TRITON_INTERPRET=1 where Triton is installed."""

import importlib.util
import os

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.rope import rotate, rotation
from models.wan import RMSNorm

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1" and importlib.util.find_spec("triton") is not None
DEVICE = "cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu"
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2**-7}  # of the largest value: a rounding of the result

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cpu" and not INTERPRETED, reason="needs a CUDA GPU"),
    pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16]),
]


def normal(*shape: int, dtype: torch.dtype, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def near(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    assert found.dtype == dtype
    assert float((found.double() - expected).abs().max() / expected.abs().max()) <= TOLERANCE[dtype]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("updated", ["nothing", "update", "gated"])
def test_add_norm(dtype: torch.dtype, updated: str, wide: bool) -> None:
    """Guards against rows of the wrong frame, a sum that keeps the narrow dtype under a float32 gate (RAVEN's first block), and
    padding to a power of two that counts in mean or variance. Modulated by rows of a frame, and by one row for all.
    """
    from models.kernels import add_norm_cuda

    x, update = normal(2, 3, 5, 24, dtype=dtype, seed=0), normal(2, 3, 5, 24, dtype=dtype, seed=1)
    rows_dtype = torch.float32 if wide else dtype
    shift, scale, gate = normal(2, 3, 6, 24, dtype=rows_dtype, seed=2).unsqueeze(3).unbind(2)[:3]
    weight, bias = normal(2, 24, dtype=rows_dtype, seed=3)
    given = {"nothing": (None, None), "update": (update, None), "gated": (update, gate)}[updated]
    expected = x.double()
    if given[0] is not None:
        expected = expected + update.double() * (1 if given[1] is None else gate.double())
    for factor, offset, one in ((scale, shift, True), (weight, bias, False)):
        total, out = add_norm_cuda(x, *given, factor, offset, eps=1e-6, one=one, dtype=dtype)
        summed = rows_dtype if updated == "gated" else dtype
        near(total, expected, summed)
        normed = functional.layer_norm(total.double(), (24,), eps=1e-6)
        near(out, normed * (factor.double() + one) + offset.double(), dtype)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("normed", [False, True])
def test_norm_rotate(dtype: torch.dtype, turned: bool, normed: bool) -> None:
    """Guards against pairs, heads, positions and clips that are mixed up, also where tokens lie in the middle of a larger cache."""
    from models.kernels import norm_rotate_cuda

    if not turned and not normed:
        pytest.skip("nothing to compute")
    x = normal(2, 4, 12, 3, 16, dtype=dtype, seed=0)[:, 1:3].flatten(
        1, 2
    )  # 2 frames of 3 x 4 tokens out of 4
    turn = rotation((5, 6), 3, 4, (4, 2, 2), torch.float32, torch.device(DEVICE))
    norm = RMSNorm(48, 1e-6, fused=True).to(DEVICE)
    norm.weight.data = normal(48, dtype=torch.float32, seed=1)
    expected = x.double().cpu()
    if normed:
        weight = norm.weight.detach().double().cpu()
        expected = functional.rms_norm(expected.flatten(-2), (48,), weight, 1e-6).unflatten(-1, (3, 16))
    if turned:
        wide = rotation((5, 6), 3, 4, (4, 2, 2), torch.float64, torch.device("cpu"))
        expected = rotate(expected, wide)
    found = norm_rotate_cuda(
        x, norm.weight.detach() if normed else None, 1e-6, turn if turned else None, dtype
    )
    near(found.cpu(), expected, dtype)
