"""The backbone: state-dict names, attention and caching."""

import copy
import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.attention import (
    attend,
    block_causal_mask,
    interleaved_blocks,
    interleaved_mask,
    interleaved_ranges,
)
from models.cache import KVCache, blend
from models.config import DtypePolicy, WanConfig
from models.fused import joined_linear, rotate
from models.plan import AttendPlan, Move, Read, Write
from models.rope import Rotation, rotation
from models.wan import Wan, cast_parameters, join_projections

CHUNKS = (2, 2, 2, 2)
FRAMES, CHANNELS, SIZE = 8, 4, 4
SINK_WINDOW = list(itertools.product((0, 1, 2), (None, 1, 2)))


def draw(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def inputs(dtype: torch.dtype = torch.float64, batch: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """noisy, clean [B, F, C, H, W], t [B, F], text [B, 7, 20]."""
    shape = (batch, FRAMES, CHANNELS, SIZE, SIZE)
    t = torch.full((batch, FRAMES), 625.0, dtype=dtype)
    return (
        draw(*shape, seed=1, dtype=dtype),
        draw(*shape, seed=2, dtype=dtype),
        t,
        draw(batch, 7, 20, seed=3, dtype=dtype),
    )


def cached_loop(wan: Wan, noisy: Tensor, clean: Tensor, t: Tensor, text: Tensor, sink: int,
window: int | None,
                clean_t: float = 0.0) -> Tensor:  # fmt: skip
    """Naive cached reference: per chunk a read-only denoise call, then a clean call that stores its keys.

    The list `slots` is the cache's content by chunk, kept by hand; eviction follows
    models/backbone.md#visibility-rule.
    """
    tokens = wan.config.tokens_per_frame(SIZE, SIZE)
    cache = KVCache(
        wan.config,
        batch=noisy.shape[0],
        capacity=FRAMES,
        tokens_per_frame=tokens,
        device=noisy.device,
        dtype=noisy.dtype,
    )
    context = wan.text_kv(wan.embed_text(text))
    outputs = []
    for k, length in enumerate(CHUNKS):
        start = sum(CHUNKS[:k])
        here = slice(start, start + length)
        visible = [j for j in range(k) if j < sink or window is None or k - j <= window]
        reads = (*tuple(Read("cache", 2 * j, 2, None) for j in visible), Read("self", 0, length, start))
        plan = AttendPlan(frames=length, q_rotary_start=start, moves=(), absorb=None, write=None, reads=reads)
        outputs.append(wan.cached(noisy[:, here], t[:, here], context, cache, plan))
        store = AttendPlan(
            frames=length,
            q_rotary_start=start,
            moves=(),
            absorb=None,
            write=Write(start, length, 0, "rotated"),
            reads=reads,
        )
        wan.cached(clean[:, here], torch.full_like(t[:, here], clean_t), context, cache, store)
    return torch.cat(outputs, dim=1)


def test_state_dict_names_are_wans() -> None:
    """Guards checkpoint loading: 825 tensors and 1,418,996,800 parameters at 1.3B size
    (models/backbone.md#sizes).
    """
    with torch.device("meta"):
        wan = Wan(WanConfig())
    shapes = {name: tuple(tensor.shape) for name, tensor in wan.state_dict().items()}
    assert len(shapes) == 825
    assert sum(p.numel() for p in wan.parameters()) == 1_418_996_800
    top = {name for name in shapes if not name.startswith("blocks.")}
    linear = ["patch_embedding", "text_embedding.0", "text_embedding.2", "time_embedding.0",
        "time_embedding.2", "time_projection.1",
              "head.head"]  # fmt: skip
    assert top == {f"{name}.{kind}" for name in linear for kind in ("weight", "bias")} | {"head.modulation"}
    block = {name.removeprefix("blocks.29.") for name in shapes if name.startswith("blocks.29.")}
    attention = {
        f"{a}.{p}.{kind}" for a in ("self_attn", "cross_attn") for p in "qkvo" for kind in ("weight", "bias")
    }
    attention |= {f"{a}.norm_{p}.weight" for a in ("self_attn", "cross_attn") for p in "qk"}
    assert block == attention | {
        f"{n}.{k}" for n in ("norm3", "ffn.0", "ffn.2") for k in ("weight", "bias")
    } | {"modulation"}
    assert shapes["patch_embedding.weight"] == (1536, 16, 1, 2, 2)
    assert shapes["time_projection.1.weight"] == (9216, 1536)
    assert shapes["blocks.0.modulation"] == (1, 6, 1536)
    assert shapes["head.head.weight"] == (64, 1536)


@pytest.mark.parametrize(("sink", "window"), SINK_WINDOW)
@pytest.mark.parametrize("num_chunks", [1, 2, 3, 4])
def test_mask_is_the_visibility_rule(num_chunks: int, sink: int, window: int | None) -> None:
    """Blocks and dense mask equal a brute-force reading of models/backbone.md#visibility-rule, token by
    token.
    """
    chunks, tokens = (2, 3, 1, 2)[:num_chunks], 2
    noisy, clean, end = interleaved_ranges(chunks, tokens)
    mask = interleaved_mask(chunks, tokens, sink=sink, window=window)
    owner = {}
    for k in range(num_chunks):
        owner |= dict.fromkeys(range(noisy[k].start, noisy[k].stop), ("N", k))
        if k < num_chunks - 1:
            owner |= dict.fromkeys(range(clean[k].start, clean[k].stop), ("C", k))
    assert sorted(owner) == list(range(end))
    for a, b in itertools.product(range(end), repeat=2):
        (kind_a, k), (kind_b, j) = owner[a], owner[b]
        own = owner[a] == owner[b]
        history = kind_b == "C" and j < k and (j < sink or window is None or k - j <= window)
        assert bool(mask[a, b]) == (own or history), f"{kind_a}{k} -> {kind_b}{j}"
    assert len(interleaved_blocks(num_chunks)) == 2 * num_chunks - 1


@pytest.mark.parametrize(("sink", "window"), SINK_WINDOW)
def test_interleaved_equals_cached(toy_wan: Callable[..., Wan], sink: int, window: int | None) -> None:
    """Training-time test computes what inference computes. float64 round-off 1e-12; a cache pass at t = 7
    must differ.
    """
    wan = toy_wan()
    noisy, clean, t, text = inputs()
    packed = wan.interleaved(noisy, clean, t, wan.embed_text(text), chunks=CHUNKS, sink=sink, window=window)
    assert torch.allclose(packed, cached_loop(wan, noisy, clean, t, text, sink, window), atol=1e-12, rtol=0)
    wrong = cached_loop(wan, noisy, clean, t, text, sink, window, clean_t=7.0)
    assert window is not None or (packed - wrong).abs().max() > 1e-3


def test_interleaved_equals_cached_in_float32(toy_wan: Callable[..., Wan]) -> None:
    """The bar of the issue: 1e-5 in float32."""
    wan = toy_wan(torch.float32)
    noisy, clean, t, text = inputs(torch.float32)
    packed = wan.interleaved(noisy, clean, t, wan.embed_text(text), chunks=CHUNKS)
    assert (packed - cached_loop(wan, noisy, clean, t, text, 0, None)).abs().max() < 1e-5


def test_masked_and_blockwise_attention_agree(
    toy_wan: Callable[..., Wan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long sequences, and all on a CPU, take one call per block instead of a mask: the same function."""
    wan = toy_wan()
    noisy, clean, t, text = inputs()
    context = wan.embed_text(text)

    def both() -> list[Tensor]:
        packed = wan.interleaved(noisy, clean, t, context, chunks=CHUNKS, sink=1, window=1)
        return [packed, wan.block_causal(noisy, t, context, chunks=CHUNKS)]

    blockwise = both()
    masks = {
        "interleaved_attention": interleaved_mask(CHUNKS, wan._tokens_per_frame(noisy), sink=1, window=1),
        "block_causal_attention": block_causal_mask(CHUNKS, wan._tokens_per_frame(noisy)),
    }
    for name, mask in masks.items():

        def masked(q: Tensor, k: Tensor, v: Tensor, mask: Tensor = mask) -> Tensor:
            return attend(q, k, v, mask[: q.shape[1]])

        monkeypatch.setattr(f"models.wan.{name}", lambda *_, masked=masked, **__: masked)
    for with_mask, by_block in zip(both(), blockwise, strict=True):
        assert torch.allclose(with_mask, by_block, atol=1e-12, rtol=0)


def test_causality(toy_wan: Callable[..., Wan]) -> None:
    """A noisy chunk reaches only its own output; a clean chunk only later outputs; samples do not mix."""
    wan = toy_wan()
    noisy, clean, t, text = inputs()
    context = wan.embed_text(text)
    base = wan.interleaved(noisy, clean, t, context, chunks=CHUNKS)
    for k in range(4):
        frames = slice(2 * k, 2 * k + 2)
        changed = noisy.clone()
        changed[0, frames] += 1
        moved = (wan.interleaved(changed, clean, t, context, chunks=CHUNKS) - base).abs().amax((2, 3, 4)) > 0
        assert moved[0].tolist() == [2 * k <= f < 2 * k + 2 for f in range(FRAMES)]
        assert not moved[1].any()
        changed = clean.clone()
        changed[0, frames] += 1
        moved = (wan.interleaved(noisy, changed, t, context, chunks=CHUNKS) - base).abs().amax((2, 3, 4)) > 0
        assert moved[0].tolist() == [f >= 2 * k + 2 for f in range(FRAMES)]


def test_one_chunk_is_bidirectional(toy_wan: Callable[..., Wan]) -> None:
    """With a single chunk causal and bidirectional forwards are the same network."""
    wan = toy_wan()
    noisy, clean, t, text = inputs()
    context = wan.embed_text(text)
    whole = wan(noisy, t, context)
    assert torch.allclose(
        wan.interleaved(noisy, clean, t, context, chunks=(FRAMES,)), whole, atol=1e-12, rtol=0
    )
    assert torch.allclose(wan.block_causal(noisy, t, context, chunks=(FRAMES,)), whole, atol=1e-12, rtol=0)


def test_block_causal_equals_cache_of_noisy_chunks(toy_wan: Callable[..., Wan]) -> None:
    """Diffusion forcing: chunk k sees earlier chunks as they are, at their own timesteps."""
    wan = toy_wan()
    noisy, _, t, text = inputs()
    t = t.clone()
    t[:, 2:4] = 938
    t[:, 4:] = 1000
    context = wan.embed_text(text)
    out = wan.block_causal(noisy, t, context, chunks=CHUNKS)
    for k in range(1, 5):
        prefix = wan.block_causal(noisy[:, : 2 * k], t[:, : 2 * k], context, chunks=CHUNKS[:k])
        assert torch.allclose(prefix, out[:, : 2 * k], atol=1e-12, rtol=0)
    assert torch.allclose(wan(noisy[:, :2], t[:, :2], context), out[:, :2], atol=1e-12, rtol=0)


def test_rotary_is_relative() -> None:
    """Shifting query and key positions alike leaves their products unchanged, shifting the keys alone changes
    them.
    """
    pairs = (4, 2, 2)
    q, k = draw(1, 12, 3, 16, seed=4), draw(1, 12, 3, 16, seed=5)

    def scores(q_start: int, k_start: int) -> Tensor:
        def at(start: int) -> Rotation:
            return rotation(range(start, start + 3), 2, 2, pairs, torch.float64, torch.device("cpu"))

        return torch.einsum("btnd,bsnd->bnts", rotate(q, at(q_start)), rotate(k, at(k_start)))

    assert torch.allclose(scores(5, 5), scores(40, 40), atol=1e-10, rtol=0)
    assert (scores(5, 5) - scores(5, 8)).abs().max() > 1e-3


def test_rotary_closed_form() -> None:
    """Wan's table by definition: pair i of the time axis turns by position * 10000^(-2i/44) for a head of
    128.
    """
    turn = rotation((7,), 1, 1, WanConfig().rotary_pairs, torch.float64, torch.device("cpu"))
    assert WanConfig().rotary_pairs == (22, 21, 21)
    expected = torch.tensor([7 * 10000.0 ** (-2 * i / 44) for i in range(22)], dtype=torch.float64)
    assert torch.allclose(turn.cos[0, 0, :22], expected.cos(), atol=1e-12)
    one = torch.zeros(1, 1, 1, 128, dtype=torch.float64)
    one[..., 2] = 1.0
    turned = rotate(one, turn)
    assert turned[..., 2].item() == pytest.approx(expected[1].cos().item())
    assert turned[..., 3].item() == pytest.approx(expected[1].sin().item())
    with pytest.raises(ValueError, match="1024"):
        rotation((1024,), 1, 1, (22, 21, 21), torch.float64, torch.device("cpu"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_complex_product_rotates_to_the_bits_of_the_products_spelled_out(dtype: torch.dtype) -> None:
    """Forward and backward, of heads that do not lie beside each other."""
    table = rotation(range(3, 6), 2, 2, (6, 5, 5), dtype, torch.device("cpu"))
    x, weight = (draw(2, 12, 6, 32, seed=seed).to(torch.float32)[:, :, ::2] for seed in (3, 4))

    def spelled(heads: Tensor) -> Tensor:
        even, odd = heads.to(dtype).unflatten(-1, (-1, 2)).unbind(-1)
        turned = (even * table.cos - odd * table.sin, even * table.sin + odd * table.cos)
        return torch.stack(turned, dim=-1).flatten(-2).to(heads.dtype)

    found = []
    for turn in (lambda heads: rotate(heads, table), spelled):
        heads = x.clone().requires_grad_()
        turned = turn(heads)
        (turned * weight).sum().backward()
        found.append((turned.detach(), heads.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_text_padding_is_visible(toy_wan: Callable[..., Wan]) -> None:
    """Zero rows appended by hand change nothing; dropping the padding does (it is never masked)."""
    wan = toy_wan()
    noisy, _, t, text = inputs()
    padded = torch.cat([text, text.new_zeros(2, 3, 20)], dim=1)
    full = wan(noisy, t, wan.embed_text(text))
    assert torch.equal(full, wan(noisy, t, wan.embed_text(padded)))
    assert (full - wan(noisy, t, wan.embed_text(text)[:, :7])).abs().max() > 1e-3
    with pytest.raises(ValueError, match="13 rows"):
        wan.embed_text(draw(1, 13, 20))


def test_raw_keys_rotated_at_read_equal_stored_rotated(toy_wan: Callable[..., Wan]) -> None:
    """Slot-relative policies store raw keys: rotating them when read at the same position must give the same
    velocity.
    """
    wan = toy_wan()
    noisy, _, t, text = inputs()
    context = wan.embed_text(text)
    results = []
    for form, rotary in (("rotated", None), ("raw", 0)):
        cache = KVCache(
            wan.config, batch=2, capacity=4, tokens_per_frame=4, device=noisy.device, dtype=noisy.dtype
        )
        first = AttendPlan(2, 0, (), None, Write(0, 2, 0, form), (Read("cache", 0, 2, rotary),))
        second = AttendPlan(2, 2, (), None, Write(2, 2, 0, form), (Read("cache", 0, 4, rotary),))
        wan.cached(noisy[:, :2], t[:, :2], context, cache, first)
        results.append(wan.cached(noisy[:, 2:4], t[:, 2:4], context, cache, second))
    assert torch.allclose(*results, atol=1e-12, rtol=0)


def test_one_product_for_queries_keys_and_values(toy_wan: Callable[..., Wan]) -> None:
    """Guards against a part of the joined weights in another's place, names or values that joining changes,
    and weights that lie elsewhere by now.
    """
    wan = toy_wan()
    x, _, t, text = inputs()
    names = {name: value.clone() for name, value in wan.state_dict().items()}
    with torch.no_grad():
        apart = wan(x, t, wan.embed_text(text))
        join_projections(wan)
        own = wan.blocks[0].self_attn
        together = joined_linear(own.q, own.k, own.v)
        assert together is not None
        assert torch.equal(together[0], torch.cat([own.q.weight, own.k.weight, own.v.weight]))
        assert torch.equal(together[1], torch.cat([own.q.bias, own.k.bias, own.v.bias]))
        torch.testing.assert_close(wan(x, t, wan.embed_text(text)), apart, atol=1e-12, rtol=1e-12)
        assert all(torch.equal(value, names[name]) for name, value in wan.state_dict().items())
        own.k.weight.data = own.k.weight.clone()
        assert joined_linear(own.q, own.k, own.v) is None


def test_cache_moves_then_writes(toy_wan: Callable[..., Wan]) -> None:
    """Overlapping left shifts keep frames in order, and a plan that leaves the cache is refused with a
    sentence.
    """
    wan = toy_wan()
    noisy, _, t, text = inputs()
    context = wan.embed_text(text)
    cache = KVCache(
        wan.config, batch=2, capacity=6, tokens_per_frame=4, device=noisy.device, dtype=noisy.dtype
    )
    wan.cached(
        noisy[:, :6],
        t[:, :6],
        context,
        cache,
        AttendPlan(6, 0, (), None, Write(0, 6, 0, "rotated"), (Read("self", 0, 6, 0),)),
    )
    before = copy.deepcopy(cache)
    plan = AttendPlan(
        2, 6, (Move(dst=1, src=3, length=3),), None, Write(4, 2, 0, "rotated"), (Read("cache", 0, 6, None),)
    )
    wan.cached(noisy[:, 6:], t[:, 6:], context, cache, plan)
    for layer in range(3):
        assert torch.equal(cache.keys[layer][:, :1], before.keys[layer][:, :1])
        assert torch.equal(cache.keys[layer][:, 1:4], before.keys[layer][:, 3:6])
    outside = AttendPlan(2, 6, (), None, Write(5, 2, 0, "rotated"), (Read("self", 0, 2, 6),))
    with pytest.raises(ValueError, match="slot 7 of a cache with 6"):
        wan.cached(noisy[:, 6:], t[:, 6:], context, cache, outside)


def test_gradient_flows_through_own_keys_only(toy_wan: Callable[..., Wan]) -> None:
    """A call that writes, then reads its own slots, must have the gradient of a call that attends to itself
    directly.
    """
    wan = toy_wan().requires_grad_(True)
    noisy, _, t, text = inputs()
    gradients = []
    for reads, write in (
        ((Read("cache", 0, 4, None),), Write(2, 2, 0, "rotated")),
        ((Read("cache", 0, 2, None), Read("self", 0, 2, 2)), None),
    ):
        cache = KVCache(
            wan.config, batch=2, capacity=4, tokens_per_frame=4, device=noisy.device, dtype=noisy.dtype
        )
        context = wan.text_kv(wan.embed_text(text))
        with torch.no_grad():
            wan.cached(
                noisy[:, :2],
                t[:, :2],
                context,
                cache,
                AttendPlan(2, 0, (), None, Write(0, 2, 0, "rotated"), (Read("self", 0, 2, 0),)),
            )
        out = wan.cached(noisy[:, 2:4], t[:, 2:4], context, cache, AttendPlan(2, 2, (), None, write, reads))
        wan.zero_grad()
        out.square().sum().backward()
        gradients.append({name: p.grad.clone() for name, p in wan.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name in gradients[0]:
        assert torch.allclose(gradients[0][name], gradients[1][name], atol=1e-10, rtol=1e-8), name


def test_bfloat16_decay_is_a_no_op() -> None:
    """baselines/methods.md#reward-forcing: bf16(0.999 * x) == x for every finite bf16 value, so the sink only
    ever grows by bf16(0.001 * E).
    """
    every = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    finite = every[every.isfinite()]
    assert torch.equal(blend(finite, torch.zeros_like(finite), 0.999, "bfloat16"), finite)
    sink, leaving = draw(4096, dtype=torch.bfloat16), draw(4096, seed=9, dtype=torch.bfloat16)
    expected = sink + (leaving * (1 - 0.999))
    assert torch.equal(blend(sink, leaving, 0.999, "bfloat16"), expected)


@pytest.mark.parametrize("fp32_modules", ["parameters", "float32"])
def test_low_precision_profiles_stay_close_to_float32(toy_wan: Callable[..., Wan], fp32_modules: str) -> None:
    """bfloat16 parameters, with and without float32 fp32_modules, are the float32 network up to bf16 rounding
    (2^-8 a step).
    """
    reference = toy_wan(torch.float32)
    noisy, _, t, text = inputs(torch.float32)
    expected = reference(noisy, t, reference.embed_text(text))
    wan = Wan(reference.config, DtypePolicy(rotary="float64", fp32_modules=fp32_modules)).requires_grad_(
        False
    )
    wan.load_state_dict(reference.state_dict())
    cast_parameters(wan, torch.bfloat16)
    kept = {name for name, p in wan.named_parameters() if p.dtype == torch.float32}
    assert ("head.head.weight" in kept) == ("blocks.0.modulation" in kept) == (fp32_modules == "float32")
    assert "blocks.0.ffn.0.weight" not in kept
    error = (wan(noisy, t, wan.embed_text(text)).float() - expected).norm() / expected.norm()
    assert 0 < error < 0.05
