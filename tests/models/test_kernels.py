"""The Triton kernels of the DiT against their plain forms, on a GPU, or on a CPU with TRITON_INTERPRET=1
where Triton is installed.
"""

import importlib.util
import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.config import DtypePolicy
from models.fused import add_gated, rotate
from models.rope import Rotation, rotation
from models.wan import Wan, init_weights
from models.wan_layers import RMSNorm
from tests.models.training_toys import CHUNKS, CONFIG, SHAPE

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
    """Guards against rows of the wrong frame, a sum that keeps the narrow dtype under a float32 gate (RAVEN's
    first block), and padding to a power of two that counts in mean or variance. Modulated by rows of a frame,
    and by one row for all.
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


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("updated", ["nothing", "update", "gated"])
def test_the_gradients_of_add_norm(
    dtype: torch.dtype, updated: str, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against rows' gradients that miss tokens at a border of programs, frames that are mixed up, and
    a residual whose gradient is lost or counted twice; against autograd of the plain form in float64.
    """
    from models import kernels

    monkeypatch.setattr(kernels, "PROGRAMS", 24)
    frames, tokens = 3, 11  # 4 programs a frame, of 3 tokens each and the last of 2
    x, update = (normal(2, frames, tokens, 24, dtype=dtype, seed=seed) for seed in (0, 1))
    rows = normal(2, frames, 6, 24, dtype=torch.float32, seed=2).unsqueeze(3)
    weight = normal(2, 24, dtype=torch.float32, seed=3)
    of_total, of_out = (normal(2, frames, tokens, 24, dtype=torch.float32, seed=seed) for seed in (4, 5))
    leaves = [x, update, rows, weight]

    def outputs(
        x: Tensor, update: Tensor, rows: Tensor, weight: Tensor, plain: bool
    ) -> tuple[Tensor, Tensor]:
        shift, scale, gate = rows.unbind(2)[:3]
        factor, offset = weight if shared else (scale, shift)
        own_update, own_gate = {"nothing": (None, None), "update": (update, None), "gated": (update, gate)}[
            updated
        ]
        if not plain:
            return kernels.add_norm_cuda(
                x, own_update, own_gate, factor, offset, eps=1e-6, one=not shared, dtype=dtype
            )
        total = add_gated(x, own_update, own_gate)
        return total, functional.layer_norm(total, (24,), eps=1e-6) * (factor + (not shared)) + offset

    found = gradients(lambda *given: outputs(*given, plain=False), leaves, (of_total, of_out))
    expected = gradients(
        lambda *given: outputs(*given, plain=True),
        [leaf.double() for leaf in leaves],
        (of_total.double(), of_out.double()),
    )
    for mine, wanted in zip(found, expected, strict=True):
        near_gradient(mine, wanted, dtype)


@pytest.mark.parametrize("turned", [False, True])
def test_the_gradients_of_norm_rotate(
    dtype: torch.dtype, turned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a rotation that is not turned back, and sums over heads or tokens that miss some; clips
    of a larger tensor.
    """
    from models import kernels

    monkeypatch.setattr(kernels, "PROGRAMS", 14)  # of 7 tokens each, the last of 5
    frames = 4
    turn = rotation(tuple(range(frames)), 3, 4, (4, 2, 2), torch.float64, torch.device("cpu"))
    x = normal(2, frames * 12 + 5, 48, dtype=dtype, seed=0)
    weight, of_out = (
        normal(48, dtype=torch.float32, seed=1),
        normal(2, frames * 12, 3, 16, dtype=dtype, seed=2),
    )

    def kernel(x: Tensor, weight: Tensor) -> tuple[Tensor]:
        narrow = Rotation(turn.cos.float().to(DEVICE), turn.sin.float().to(DEVICE))
        heads = x[:, 5:].unflatten(-1, (3, 16))
        return (kernels.norm_rotate_cuda(heads, weight, 1e-6, narrow if turned else None, dtype),)

    def plain(x: Tensor, weight: Tensor) -> tuple[Tensor]:
        normed = functional.rms_norm(x[:, 5:], (48,), weight, 1e-6).unflatten(-1, (3, 16))
        return (rotate(normed, turn) if turned else normed,)

    found = gradients(kernel, [x, weight], (of_out,))
    expected = gradients(plain, [x.double().cpu(), weight.double().cpu()], (of_out.double().cpu(),))
    for mine, wanted in zip(found, expected, strict=True):
        assert mine is not None and wanted is not None
        near_gradient(mine.cpu(), wanted, dtype)


def gradients(
    function: Callable[..., tuple[Tensor, ...]], leaves: list[Tensor], weights: tuple[Tensor, ...]
) -> list[Tensor | None]:
    """Gradients at the leaves of the sum of all outputs times weights; None where an output does not depend
    on a leaf.
    """
    own = [leaf.detach().requires_grad_() for leaf in leaves]
    total = sum(
        (out.to(weight.dtype) * weight).sum() for out, weight in zip(function(*own), weights, strict=True)
    )
    assert isinstance(total, Tensor)
    return list(torch.autograd.grad(total, own, allow_unused=True))


def near_gradient(found: Tensor | None, expected: Tensor | None, dtype: torch.dtype) -> None:
    """Within the rounding of what the kernel reads and writes, and a sum's own in float32."""
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert float((found.double() - expected).abs().max() / expected.abs().max()) <= 4 * TOLERANCE[dtype]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("normed", [False, True])
def test_norm_rotate(dtype: torch.dtype, turned: bool, normed: bool) -> None:
    """Guards against pairs, heads, positions and clips that are mixed up, also where tokens lie in the middle
    of a larger cache.
    """
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


@pytest.mark.parametrize("rotate_keys", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_store_heads(dtype: torch.dtype, together: bool, rotate_keys: bool) -> None:
    """Guards against keys and values in the wrong slots, clips or tokens, and neighbours in the cache that
    are overwritten; q, k and v of one product or of three.
    """
    from models.kernels import norm_rotate_cuda, store_heads_cuda

    whole = normal(2, 24, 144, dtype=dtype, seed=0)
    parts = [part if together else part.contiguous() for part in whole.chunk(3, dim=-1)]
    q, k, v = (part.unflatten(-1, (3, 16)) for part in parts)
    turn = rotation((5, 6), 3, 4, (4, 2, 2), torch.float32, torch.device(DEVICE))
    weights = normal(48, dtype=torch.float32, seed=1), normal(48, dtype=torch.float32, seed=2)
    caches = [normal(2, 60, 3, 16, dtype=dtype, seed=seed) for seed in (3, 4)]
    expected = [cache.clone() for cache in caches]
    expected[0][:, 12:36] = norm_rotate_cuda(k, weights[1], 1e-6, turn if rotate_keys else None, dtype)
    expected[1][:, 12:36] = v
    places = [cache[:, 12:36] for cache in caches]
    found = store_heads_cuda(q, k, v, weights, 1e-6, turn, *places, rotate_keys=rotate_keys)
    assert torch.equal(found, norm_rotate_cuda(q, weights[0], 1e-6, turn, dtype))
    assert all(torch.equal(cache, wanted) for cache, wanted in zip(caches, expected, strict=True))


@pytest.mark.parametrize("recompute", [False, True])
def test_a_network_trains_as_in_plain_operations(
    dtype: torch.dtype, recompute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a kernel that is right alone and wrong in its place: rows of the last block, which drops
    the history of a packed clip, are spaced unevenly between two clips; the first block has no update yet.
    float32 weights, products in float32 or bfloat16.
    """
    if INTERPRETED:
        monkeypatch.setattr("models.fused.in_kernels", lambda _: True)
    products = "bfloat16" if dtype == torch.bfloat16 else "parameters"
    clips = [normal(2, *SHAPE, dtype=torch.float32, seed=seed) for seed in (1, 2)]
    t, text = torch.full((2, SHAPE[0]), 833.0), normal(2, 4, 8, dtype=torch.float32, seed=3)
    found = []
    for device, dtypes in (
        (DEVICE, DtypePolicy(rotary="float32", products=products, fp32_modules="float32")),
        ("cpu", DtypePolicy(rotary="float64", operators="plain")),
    ):
        plain = dtypes.operators == "plain"
        wan = Wan(CONFIG, dtypes)
        init_weights(wan, torch.Generator().manual_seed(0), zero_head=False)
        wan = wan.to(device, torch.float64 if plain else torch.float32)
        wan.activation_checkpointing = recompute and not plain
        x, clean, own_t, rows = (value.to(device, wan.head.head.weight.dtype) for value in (*clips, t, text))
        v = wan.interleaved(x, clean, own_t, wan.embed_text(rows), chunks=CHUNKS)
        v.square().mean().backward()
        found.append([v.detach(), *(value.grad for value in wan.parameters())])
        monkeypatch.undo()
    for mine, wanted in zip(*found, strict=True):
        gap = float((mine.double().cpu() - wanted).norm() / wanted.norm())
        assert gap <= (2e-5 if dtype == torch.float32 else 0.03)
