"""Which attention kernel is taken, and that every one computes attention."""

import sys
import types
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from models.attention import FORCED, attend, best_kernel

HOPPER, AMPERE, BLACKWELL, TURING = (9, 0), (8, 0), (10, 0), (7, 5)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No choice is remembered, and none of this machine's packages count."""
    monkeypatch.delenv(FORCED, raising=False)
    best_kernel.cache_clear()
    yield
    best_kernel.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch, name: str, *, pair: bool = False) -> None:
    """A package of that name whose flash_attn_func marks what it returns."""
    module = types.ModuleType(name)
    module.__spec__ = types.SimpleNamespace(name=name)  # type: ignore[assignment]
    module.flash_attn_func = lambda q, k, v: (q + 1, None) if pair else q + 1  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, module)


def test_the_kernel_follows_gpu_and_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlashAttention 3 knows Hopper alone; there torch's cuDNN kernel beats FlashAttention 2
    (models/backbone.md#attention-kernels), which is taken on Ampere.
    """
    if not torch.cuda.is_available():
        assert best_kernel(HOPPER).name == best_kernel(AMPERE).name == "sdpa (cuDNN first)"
    install(monkeypatch, "flash_attn")
    best_kernel.cache_clear()
    assert best_kernel(AMPERE).name.startswith("fa2 (flash_attn")
    for capability in (HOPPER, BLACKWELL, TURING):
        assert best_kernel(capability).name.startswith(("sdpa", "fa3 (fa3_fwd"))
    install(monkeypatch, "flash_attn_interface", pair=True)
    best_kernel.cache_clear()
    assert best_kernel(HOPPER).name == "fa3 (flash_attn_3 of unknown version)"
    assert best_kernel(AMPERE).name.startswith("fa2")
    assert best_kernel(BLACKWELL).name.startswith("sdpa")
    q = torch.zeros(1, 2, 3, 4)
    assert torch.equal(best_kernel(HOPPER).run(q, q, q), q + 1)
    assert torch.equal(best_kernel(AMPERE).run(q, q, q), q + 1)


def test_a_kernel_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a wish that is silently not granted."""
    install(monkeypatch, "flash_attn")
    install(monkeypatch, "flash_attn_interface")
    for wish, name in (("sdpa", "sdpa"), ("fa2", "fa2"), ("fa3", "fa3")):
        monkeypatch.setenv(FORCED, wish)
        best_kernel.cache_clear()
        assert best_kernel(HOPPER).name.startswith(name)
    with pytest.raises(
        ValueError, match=r"asks for attention kernel fa3, .* compute capability 8\.0; install it or unset"
    ):
        best_kernel(AMPERE)
    monkeypatch.setenv(FORCED, "flash")
    best_kernel.cache_clear()
    with pytest.raises(ValueError, match="not one of fa3, fa2, sdpa"):
        best_kernel(HOPPER)


def test_a_broken_kernel_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build for another torch must be named, not be passed over in silence."""
    install(monkeypatch, "flash_attn_interface")
    del sys.modules["flash_attn_interface"].flash_attn_func  # type: ignore[attr-defined]
    with pytest.raises(
        ValueError, match="Attention kernel fa3 is installed but flash_attn_interface cannot be used"
    ):
        best_kernel(HOPPER)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("keys", [7, 512, 1000])
def test_this_machine_s_kernel_computes_attention(keys: int) -> None:
    """softmax(q k^T / sqrt(D)) v in float64 from the same bfloat16 inputs, keys in the middle of a larger
    cache.
    """

    def normal(tokens: int) -> Tensor:
        return torch.randn(2, tokens, 12, 128, device="cuda", dtype=torch.bfloat16)

    q, k, v = normal(33), normal(keys + 5)[:, 2 : keys + 2], normal(keys + 5)[:, 2 : keys + 2]
    scores = torch.einsum("btnd,bsnd->bnts", q.double(), k.double()) / 128**0.5
    expected = torch.einsum("bnts,bsnd->btnd", scores.softmax(-1), v.double())
    with torch.no_grad():
        found = attend(q, k, v).double()
    assert float((found - expected).norm() / expected.norm()) < 5e-3
