"""One block and one network call in bfloat16 against a second implementation with every rounding spelled
out.
"""

from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.checkpoints.lora import LoraSettings, add_lora, inner_wan
from models.config import DtypePolicy, WanConfig
from models.fused import Residual
from models.wan import Wan, cast_parameters, init_weights
from models.wan_layers import Projected
from tests.models.naive_wan import BF16, F32, NaiveWan, attention_by_definition, sdpa, turned

SMALL = WanConfig(
    dim=48, ffn_dim=96, num_layers=3, num_heads=3, freq_dim=32, text_dim=20, text_len=12,
    in_channels=4, out_channels=4,
)  # fmt: skip
REAL_HEADS = WanConfig(
    dim=256, ffn_dim=320, num_layers=1, num_heads=2, freq_dim=256, text_dim=24, text_len=512,
    in_channels=16, out_channels=16,
)  # fmt: skip
TIMES = torch.tensor([[882.3529052734375, 882.3529052734375, 0.0, 937.5]])
Islands = Literal["parameters", "float32"]


def pair(
    config: WanConfig, fp32_modules: Islands, *, lora: LoraSettings | None = None
) -> tuple[Wan, NaiveWan]:
    """Our network in the exact profile's dtypes, and the naive one on the same float32 weights."""
    wan = Wan(config, DtypePolicy(rotary="float64", fp32_modules=fp32_modules, operators="plain"))
    generator = torch.Generator().manual_seed(0)
    init_weights(wan, generator, zero_head=False)
    if lora is not None:
        wan = inner_wan(add_lora(wan, lora, seed=1))
    for (
        name,
        parameter,
    ) in wan.named_parameters():  # biases and adapters start at 0, where a lost one would not show
        if name.endswith("bias") or ".lora_B." in name:
            parameter.data.normal_(std=0.2, generator=generator)
    weights = {name: value.clone() for name, value in wan.state_dict().items()}
    naive = NaiveWan(
        weights,
        fp32_modules == "float32",
        config.num_layers,
        config.num_heads,
        config.text_len,
        config.freq_dim,
    )
    return cast_parameters(wan, torch.bfloat16).requires_grad_(False), naive


def inputs(config: WanConfig, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """x [1, 4, C, 4, 6] and text rows [1, 7, text_dim]."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(1, 4, config.in_channels, 4, 6, generator=generator).to(dtype)
    return x, torch.randn(1, 7, config.text_dim, generator=generator).to(BF16)


def joint_attention(kernel=sdpa):  # type: ignore[no-untyped-def]
    """All frames of the call see each other, at positions 0..3."""

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k = (turned(part, [0, 1, 2, 3], 2, 3) for part in (q, k))
        out = kernel(*(part.flatten(1, 2) for part in (q, k, v)))
        return out.unflatten(1, v.shape[1:3])

    return attend


@pytest.mark.parametrize("fp32_modules", ["parameters", "float32"])
@pytest.mark.parametrize("config", [SMALL, REAL_HEADS], ids=["small", "head_128"])
def test_one_network_call_is_bit_equal(config: WanConfig, fp32_modules: Islands) -> None:
    """Every rounding is where models/backbone.md#precision puts it, so the bits agree: of the time sinusoid
    (882.35 would move if rounded before), modulation, gates, residual, both norms, rotation, head.
    """
    wan, naive = pair(config, fp32_modules)
    x, rows = inputs(config, F32 if fp32_modules == "float32" else BF16)
    found = wan(x, TIMES, wan.embed_text(rows))
    assert found.dtype == (F32 if fp32_modules == "float32" else BF16)
    assert torch.equal(found, naive.velocity(x, TIMES, rows, joint_attention()))


@pytest.mark.parametrize("fp32_modules", ["parameters", "float32"])
def test_one_block_is_bit_equal(fp32_modules: Islands) -> None:
    """One block alone on a bfloat16 residual stream, which is what block 0 gets: RAVEN's first LayerNorm is
    rounded to bfloat16 before it is modulated in float32 (models/backbone.md#precision), and the residual
    leaves the block in float32.
    """
    wan, naive = pair(SMALL, fp32_modules)
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(1, 4, 6, SMALL.dim, generator=generator).to(BF16)
    _, rows = inputs(SMALL, BF16)
    _, e0 = wan.embed_time(TIMES)
    assert torch.equal(e0, naive.time(TIMES)[1])
    context = wan.embed_text(rows)
    assert torch.equal(context, naive.text(rows))
    attend = joint_attention()

    def self_attend(tokens: Projected) -> Tensor:
        q, k = (
            part.unflatten(-1, (SMALL.num_heads, -1))
            for part in (tokens.norm_q(tokens.q), tokens.norm_k(tokens.k))
        )
        return attend(0, *(part.unflatten(1, (4, 6)) for part in (q, k, tokens.v))).flatten(1, 2)

    found = wan.blocks[0](Residual(x), e0, wan.blocks[0].cross_attn.key_value(context), self_attend, 4).x
    assert found.dtype == (F32 if fp32_modules == "float32" else BF16)
    assert torch.equal(found, naive.block(0, x, e0, context, attend))


def test_patch_embedding_is_a_convolution() -> None:
    """At the real width the matrix product of the fused form rounds some outputs otherwise."""
    config = WanConfig(num_layers=0, ffn_dim=8, text_dim=8)
    wan = cast_parameters(Wan(config, DtypePolicy(operators="plain")), BF16).requires_grad_(False)
    x = torch.randn(1, 3, 16, 8, 8, generator=torch.Generator().manual_seed(1)).to(BF16)
    weight, bias = wan.patch_embedding.weight, wan.patch_embedding.bias
    expected = functional.conv3d(x.transpose(1, 2), weight, bias, stride=(1, 2, 2)).flatten(3)
    assert torch.equal(wan._patchify(x), expected.permute(0, 2, 3, 1))


@pytest.mark.parametrize(("fp32_modules", "outer"), [("parameters", False), ("float32", True)])
def test_unmerged_adapter_is_bit_equal(fp32_modules: Islands, outer: bool) -> None:
    """baselines/methods.md#longlive: out = bf16(base(x)) + bf16(B(A(x))), each stage rounded; peft, whose
    adapters are cast like the base, does exactly that. Adapters of the float32 fp32_modules (CM-GRPO) stay
    float32. Merged weights would give other bits.
    """
    wan, naive = pair(SMALL, fp32_modules, lora=LoraSettings(rank=4, alpha=4, outer=outer))
    for name, parameter in wan.named_parameters():
        wide = fp32_modules == "float32" and any(
            part in name for part in ("time_", "norm", "modulation", "head")
        )
        assert parameter.dtype == (F32 if wide else BF16), name
    x, rows = inputs(SMALL, F32 if outer else BF16)
    found = wan(x, TIMES, wan.embed_text(rows))
    assert torch.equal(found, naive.velocity(x, TIMES, rows, joint_attention()))


@pytest.mark.parametrize("fp32_modules", ["parameters", "float32"])
def test_attention_is_the_definition(fp32_modules: Islands) -> None:
    """With attention written out in float32 the bits may differ: torch's kernel rounds the softmax weights to
    bfloat16 before the second product. 2^-7 of the norm is twice a bfloat16 rounding; a wrong scale or a mask
    gives 10 times that.
    """
    wan, naive = pair(SMALL, fp32_modules)
    x, rows = inputs(SMALL, F32 if fp32_modules == "float32" else BF16)
    expected = naive.velocity(x, TIMES, rows, joint_attention(attention_by_definition)).to(F32)
    gap = (wan(x, TIMES, wan.embed_text(rows)).to(F32) - expected).norm() / expected.norm()
    assert gap < 2**-7
