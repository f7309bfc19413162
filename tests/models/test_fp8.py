"""fp8: what a code is off by, products and attention against a naive reference, and who computes in it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.build import Precision, Sampler, build_sampler, dtypes_of, ready_network
from baselines.spec import load_baseline
from models.attention import best_kernel
from models.cache import KVCache
from models.config import DtypePolicy, WanConfig
from models.fp8 import (
    E4M3,
    Fp8Linear,
    HeadScales,
    QuantisedRows,
    attend_heads,
    quantise_heads,
    quantise_rows,
    require_fp8,
)
from models.noise import SampleKey
from models.quantise import LAYERS, head_bounds, is_quantised, quantise_network
from models.wan import Wan, init_weights

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
CONFIG = WanConfig(
    dim=48, ffn_dim=96, num_layers=2, num_heads=3, freq_dim=32, text_dim=20, text_len=12,
    in_channels=4, out_channels=4,
)  # fmt: skip
CACHE_POLICIES = ["self_forcing", "raven", "longlive", "reward_forcing", "rolling_forcing", "sgf_plus"]
FP8: tuple[Precision, ...] = ("fp8", "fp8_linear", "fp8_attention")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def hopper() -> bool:
    return DEVICE.type == "cuda" and torch.cuda.get_device_capability(DEVICE) == (9, 0)


def on_hopper(*, fa3: bool = False) -> pytest.MarkDecorator:
    missing = not hopper() or (fa3 and not best_kernel((9, 0)).name.startswith("fa3"))
    return pytest.mark.skipif(
        missing, reason="needs a Hopper GPU" + (" with FlashAttention 3" if fa3 else "")
    )


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def value_of(rows: QuantisedRows) -> Tensor:
    return rows.codes.double() * rows.scale.double()[..., None]


def nearest(value: float) -> float:
    """The nearest number of e4m3, by trying all 256."""
    codes = torch.arange(256, dtype=torch.uint8).view(E4M3).double()
    known = codes[codes.isfinite()]
    return float(known[(known - value).abs().argmin()])


def test_codes_are_the_nearest_numbers_there_are() -> None:
    """A naive search over all codes, for numbers of all magnitudes and both signs."""
    x = (normal(1, 200) * torch.logspace(-4, 0, 200)).double()
    rows = quantise_rows(x)
    assert float(rows.codes.double().abs().max()) == 448
    for number, code in zip(x[0] / rows.scale[0].double(), rows.codes[0].double(), strict=True):
        assert abs(float(code) - float(number)) <= abs(nearest(float(number)) - float(number)) + 1e-4


@pytest.mark.parametrize("largest", [1e-3, 1.0, 3e4])
def test_a_number_is_off_by_a_sixteenth_at_most(largest: float) -> None:
    """Half a step: 2^-4 of the number above 2^-6 scales, 2^-10 scales below."""
    x = normal(64, 512) * largest
    rows = quantise_rows(x)
    bound = torch.maximum(x.abs().double() / 16, rows.scale.double()[:, None] / 1024) * (1 + 1e-5)
    assert bool(((value_of(rows) - x.double()).abs() <= bound).all())


def test_rows_of_zeros_stay_zeros_and_faults_stay_faults() -> None:
    assert bool((value_of(quantise_rows(torch.zeros(2, 8))) == 0).all())
    for fault in (torch.nan, torch.inf):
        x = normal(2, 8)
        x[1, 3] = fault
        rows = quantise_rows(x)
        assert bool(value_of(rows)[0].isfinite().all())
        assert not bool(value_of(rows)[1].isfinite().all())
        assert not bool(Fp8Linear.joined(nn.Linear(8, 4))(x)[1].isfinite().any())


def test_what_a_heads_scale_is_too_small_for_is_no_number() -> None:
    """Guards against saturation, which would make a fault a number."""
    x = torch.full((1, 1, 1, 4), 10.0)
    assert bool(quantise_heads(x, torch.tensor([10 / 448])).double().isfinite().all())
    assert bool(quantise_heads(x, torch.tensor([10 / 500])).double().isnan().all())


def test_a_linear_layer_equals_its_naive_reference() -> None:
    """Codes times scales, multiplied in float64; what both sides are off by bounds the error."""
    layer, x = nn.Linear(64, 40), normal(2, 5, 64, seed=1)
    layer.requires_grad_(False)
    found = Fp8Linear.joined(layer)(x)
    weight, tokens = value_of(quantise_rows(layer.weight.detach())), value_of(quantise_rows(x))
    exact = tokens @ weight.t() + layer.bias.double()
    torch.testing.assert_close(found.double(), exact, atol=1e-5, rtol=1e-5)
    true = x.double() @ layer.weight.double().t() + layer.bias.double()
    bound = (x.abs().double() @ layer.weight.abs().double().t()) * (2 / 16 + 1 / 256) + 1e-3
    assert bool(((found.double() - true).abs() <= bound).all())
    assert float((found.double() - true).norm() / true.norm()) > 1e-3, "nothing was quantised"


def test_joined_layers_are_the_layers_beside_each_other() -> None:
    layers, x = [nn.Linear(16, 8) for _ in range(3)], normal(4, 16)
    joined = Fp8Linear.joined(*layers)
    for number, layer in enumerate(layers):
        own = Fp8Linear.joined(layer)(x)
        torch.testing.assert_close(joined(x)[:, 8 * number : 8 * number + 8], own, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(joined.part(8 * number, 8 * number + 8)(x), own, atol=1e-6, rtol=1e-6)
    with pytest.raises(ValueError, match="fold adapters"):
        Fp8Linear.joined(nn.Identity())


def heads(seed: int, tokens: int = 7) -> Tensor:
    return normal(2, tokens, 3, 16, seed=seed)


def test_attention_equals_its_naive_reference() -> None:
    """softmax in float64 on what codes stand for; codes that are there already are taken as they are."""
    q, k, v = heads(1), heads(2, 9), heads(3, 9)
    scales = HeadScales(*(torch.tensor([6.0, 7.0, 8.0]) / 448 for _ in range(3)))
    found = attend_heads(q, k, v, scales, torch.float32)
    wide = [
        quantise_heads(x, s).double() * s.double()[:, None] for x, s in zip((q, k, v), scales, strict=True)
    ]
    weights = torch.einsum("btnd,bsnd->bnts", wide[0], wide[1]).div(4).softmax(-1)
    torch.testing.assert_close(
        found.double(), torch.einsum("bnts,bsnd->btnd", weights, wide[2]), atol=1e-5, rtol=1e-5
    )
    assert torch.equal(found, attend_heads(q, quantise_heads(k, scales.k), v, scales, torch.float32))
    true = functional.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)
    assert 1e-3 < float((found - true).norm() / true.norm()) < 0.1


def network(precision: Precision, name: str = "self_forcing") -> tuple[Wan, Sampler]:
    baseline = load_baseline(ROOT / f"baselines/{name}.yaml")
    dtypes = dtypes_of(baseline, precision)
    wan = Wan(CONFIG, dtypes.network)
    if baseline.weights.memory is not None:
        wan.memory = Wan(CONFIG, dtypes.network)
    for seed, one in enumerate(wan.weight_sets):
        init_weights(one, torch.Generator().manual_seed(seed), zero_head=False)
    wan = ready_network(wan, dtypes, CPU)
    return wan, build_sampler(baseline, wan, latent_shape=(21, 4, 4, 4), precision=precision)


def clip_of(sampler: Sampler, batch: int = 1) -> Tensor:
    text = normal(batch, 5, CONFIG.text_dim, seed=9)
    noise = sampler.portable_noise("fp8", [SampleKey(str(row), 0) for row in range(batch)])
    with torch.inference_mode():
        return torch.cat([one.latents for one in sampler.sample(text, noise)], dim=1).float()


@pytest.mark.slow
@pytest.mark.parametrize("name", CACHE_POLICIES)
def test_every_cache_policy_samples_in_fp8(name: str) -> None:
    """Each switch changes the clip, by what e4m3 is off by; both by no more than twice the larger."""
    fast = clip_of(network("fast", name)[1])
    errors = {
        precision: float((clip_of(network(precision, name)[1]) - fast).norm() / fast.norm())
        for precision in FP8
    }
    assert all(5e-4 < error < 0.2 for error in errors.values()), errors
    assert errors["fp8"] < 2 * max(errors["fp8_linear"], errors["fp8_attention"]), errors


@pytest.mark.parametrize("name", ["self_forcing", "reward_forcing"])
def test_a_cache_of_codes_is_as_good_as_one_of_numbers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes are kept where keys are stored as they are read, and nothing but the moment of rounding
    changes: a number that is stored in bfloat16 first is rounded twice.
    """
    made: list[torch.dtype] = []
    original = KVCache.for_calls

    def noted(config: WanConfig, x: Tensor, capacity: int, dtype: torch.dtype) -> KVCache:
        made.append(dtype)
        return original(config, x, capacity, dtype)

    monkeypatch.setattr(KVCache, "for_calls", noted)
    kept = clip_of(network("fp8_attention", name)[1])
    assert made == [E4M3 if name == "self_forcing" else torch.bfloat16]
    monkeypatch.setattr(KVCache, "for_calls", lambda *given: original(*given[:3], torch.bfloat16))
    other = clip_of(network("fp8_attention", name)[1])
    assert float((kept - other).norm() / other.norm()) < 0.01


def test_a_clip_does_not_depend_on_those_beside_it() -> None:
    """Scales are a token's or a head's own, never a batch's."""
    layer, x, louder = Fp8Linear.joined(nn.Linear(48, 8)), normal(1, 6, 48), 50 * normal(1, 6, 48, seed=1)
    torch.testing.assert_close(layer(torch.cat([x, louder]))[:1], layer(x))
    scales = HeadScales(*(torch.full((3,), 400 / 448) for _ in range(3)))
    one = [heads(seed)[:1] for seed in (1, 2, 3)]
    both = attend_heads(*(torch.cat([x, 50 * x]) for x in one), scales, torch.float32)
    torch.testing.assert_close(both[:1], attend_heads(*one, scales, torch.float32))


def test_no_query_key_or_value_leaves_the_bounds() -> None:
    """Rows that are as bad as rows can be: all of a row's length on one channel, at every time."""
    wan = Wan(CONFIG, DtypePolicy(rotary="float32"))
    init_weights(wan, torch.Generator().manual_seed(0), zero_head=False)
    times = torch.linspace(0, 1000, 41)[None]
    with torch.no_grad():
        e0 = wan.embed_time(times)[1][0]
        for block in wan.blocks:
            bounds = head_bounds(block, e0)
            own, rows = (
                block.self_attn,
                torch.cat([CONFIG.dim**0.5 * torch.eye(CONFIG.dim), normal(64, CONFIG.dim)]),
            )
            rows = rows / rows.pow(2).mean(1, keepdim=True).sqrt()
            for norm, bound in ((own.norm_q, bounds.q), (own.norm_k, bounds.k)):
                largest = norm(rows).view(-1, 3, 16).abs().amax((0, 2))
                assert bool((largest <= bound * 1.001).all())
                assert bool((largest >= bound * 0.2).all()), "a bound that says nothing"
            shift, scale = (block.modulation + e0)[:, :2].unbind(1)
            values = own.v((1 + scale)[:, None] * rows + shift[:, None]).view(-1, 3, 16).abs().amax((0, 2))
            assert bool((values <= bounds.v).all())
            assert bool((values >= bounds.v * 0.1).all()), "a bound that says nothing"


def test_only_what_asks_for_fp8_computes_in_it() -> None:
    """And a network that was not made ready is refused, as one that was made ready twice is."""
    for precision in ("exact", "fast", "float32"):
        wan, _ = network(precision)
        assert is_quantised(wan)
        assert not any(isinstance(part, Fp8Linear) for part in wan.modules())
        assert all(block.self_attn.head_scales is None for block in wan.blocks)
    wan, sampler = network("fp8")
    for block in wan.blocks:
        assert all(isinstance(block.get_submodule(name), Fp8Linear) for name in LAYERS)
        assert isinstance(block.cross_attn.k, nn.Linear)
    with pytest.raises(ValueError, match="fp8 already"):
        quantise_network(wan)
    dtypes = dtypes_of(sampler.baseline, "fp8")
    plain = Wan(CONFIG, dtypes.network).to(torch.bfloat16).requires_grad_(False)
    with pytest.raises(ValueError, match="ready_network"):
        build_sampler(sampler.baseline, plain, latent_shape=(21, 4, 4, 4), precision="fp8")


def test_a_cpu_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    policies = {
        one: dtypes_of(load_baseline(ROOT / "baselines/raven.yaml"), one).network for one in (*FP8, "fast")
    }
    require_fp8(policies["fast"], CPU)
    for precision in FP8:
        with pytest.raises(ValueError, match=r"^Precision fp8 needs a GPU of compute capability 9\.0 .* CPU"):
            require_fp8(policies[precision], CPU)
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 9))
    with pytest.raises(ValueError, match=r"this GPU has 8\.9"):
        require_fp8(policies["fp8_linear"], gpu)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (10, 0))
    require_fp8(policies["fp8_linear"], gpu)
    with pytest.raises(ValueError, match="fp8 attention needs FlashAttention 3"):
        require_fp8(policies["fp8"], gpu)


# on a GPU, against the reference above


def on_gpu(reference: Callable[..., Tensor], *given: Tensor) -> tuple[Tensor, Tensor]:
    return reference(*(x.cuda() for x in given)).cpu().double(), reference(*given).double()


@pytest.mark.gpu
@on_hopper()
@pytest.mark.parametrize("gelu", [False, True])
def test_kernels_make_the_same_rows(gelu: bool) -> None:
    x = normal(129, 8960).to(torch.bfloat16)
    found, expected = on_gpu(lambda x: value_of(quantise_rows(x, gelu=gelu)), x)
    assert float((found - expected).norm() / expected.norm()) < 3e-3  # a few codes next to a tie


@pytest.mark.gpu
@on_hopper()
def test_products_are_those_of_the_reference() -> None:
    layer, x = nn.Linear(1536, 512).to(torch.bfloat16), normal(2, 300, 1536).to(torch.bfloat16)
    own = Fp8Linear.joined(layer.requires_grad_(False))
    expected, found = own(x), own.cuda()(x.cuda()).cpu()
    assert float((found - expected).double().norm() / expected.double().norm()) < 6e-3


@pytest.mark.gpu
@on_hopper(fa3=True)
def test_attention_is_that_of_the_reference() -> None:
    """FlashAttention rounds the weights of v to e4m3 too, which the reference does not."""
    q, k, v = (normal(1, tokens, 12, 128, seed=tokens).to(torch.bfloat16) for tokens in (260, 1000, 1000))
    scales = HeadScales(*(torch.full((12,), 8 / 448) for _ in range(3)))
    expected = attend_heads(q, k, v, scales, torch.bfloat16)
    on_card = HeadScales(*(scale.cuda() for scale in scales))
    found = attend_heads(q.cuda(), k.cuda(), v.cuda(), on_card, torch.bfloat16).cpu()
    assert float((found - expected).double().norm() / expected.double().norm()) < 0.06
    with_numbers = quantise_heads(k.cuda(), on_card.k)
    assert torch.equal(found, attend_heads(q.cuda(), with_numbers, v.cuda(), on_card, torch.bfloat16).cpu())


@pytest.mark.gpu
@on_hopper(fa3=True)
@pytest.mark.parametrize("precision", FP8)
def test_a_network_call_is_that_of_the_reference(precision: Precision) -> None:
    """Fused kernels, joined products and a cache of codes against the same weights on the CPU."""
    config = WanConfig(
        dim=512, ffn_dim=1024, num_layers=2, num_heads=4, freq_dim=32, text_dim=32, text_len=16,
        in_channels=4, out_channels=4,
    )  # fmt: skip
    baseline = load_baseline(ROOT / "baselines/self_forcing.yaml")
    dtypes = dtypes_of(baseline, precision)
    chunks = {}
    for device in (CPU, DEVICE):
        wan = Wan(config, dtypes.network)
        init_weights(wan, torch.Generator().manual_seed(0), zero_head=False)
        wan = ready_network(wan, dtypes, device)
        sampler = build_sampler(baseline, wan, latent_shape=(6, 4, 8, 8), precision=precision)
        text = normal(1, 5, 32, seed=9).to(device)
        noise = sampler.portable_noise("fp8", [SampleKey("0", 0)])
        with torch.inference_mode():
            chunks[device.type] = [one.latents.cpu().double() for one in sampler.sample(text, noise)]
    for found, expected in zip(chunks["cuda"], chunks["cpu"], strict=True):
        assert float((found - expected).norm() / expected.norm()) < 0.03
