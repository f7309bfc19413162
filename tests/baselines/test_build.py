"""Every baseline's sampler against an obvious reference without a cache, its draws, its batches, and the
teeth of its policy.
"""

import copy
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from baselines.build import (
    Precision,
    Sampler,
    build_policy,
    build_sampler,
    dtypes_of,
    schedules_of,
)
from baselines.native import Baseline
from baselines.spec import load_all
from models.attention import attend
from models.checkpoints.lora import LoraSettings, add_lora, inner_wan
from models.config import WanConfig
from models.fused import rotate
from models.graphs import GraphRunner
from models.noise import GeneratorNoise, JointWindow, NoiseSource, SampleKey, TensorNoise
from models.plan import AbsolutePolicy, AnchoredSinkPolicy, SlotRelativePolicy, chunk_sizes
from models.rollout import Denoised, Finished, plain_runner
from models.rope import rotation
from models.schedule import Schedule
from models.wan import Wan, cast_parameters, init_weights
from models.wan_layers import Projected
from tests.baselines.visibility import OWN_RULE, SeesRule, sees_all, span

ALL = load_all(Path(__file__).parents[2] / "baselines")
BASELINES = {name: row for name, row in ALL.items() if row.cache is not None}
CONFIG = WanConfig(
    dim=48,
    ffn_dim=96,
    num_layers=2,
    num_heads=3,
    freq_dim=32,
    text_dim=20,
    text_len=12,
    in_channels=4,
    out_channels=4,
)
CHANNELS, SIZE = 4, 4
KEYS = [SampleKey("red_ball", 0), SampleKey("blue_box", 1)]
SAMPLERS = list({str(baseline.sampled()): name for name, baseline in reversed(BASELINES.items())}.values())[
    ::-1
]
"""One row of each way to sample: those that share it differ in weights alone."""
UPSTREAM_SIX = ("causvid", "causvid_4step", "self_forcing", "reward_forcing", "causal_forcing", "longlive")


@pytest.fixture(scope="module")
def wan() -> Wan:
    """Two layers with attention sharp enough that a wrong key changes the output by far more than
    rounding.
    """
    network = Wan(CONFIG, dtypes_of(BASELINES["raven"], "float32").network)
    init_weights(network, torch.Generator().manual_seed(0), zero_head=False)
    with torch.no_grad():
        for block in network.blocks:
            block.self_attn.norm_q.weight.mul_(2)
            block.modulation.add_(
                torch.randn(block.modulation.shape, generator=torch.Generator().manual_seed(1))
            )
    return network.requires_grad_(False)


def text(batch: int) -> Tensor:
    return torch.randn(2, 5, CONFIG.text_dim, generator=torch.Generator().manual_seed(9))[:batch]


def with_memory(wan: Wan, seed: int | None = 5) -> Wan:
    """The network with a second set of weights for context passes: its own, moved at random unless seed is
    None.
    """
    both = copy.copy(wan)  # shares the first set
    both._modules = dict(wan._modules)
    both.memory = copy.deepcopy(wan)
    if seed is not None:
        draws = torch.Generator().manual_seed(seed)
        for weight in both.memory.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=draws))
    return both


def sampler_of(wan: Wan, baseline: Baseline, frames: int = 21) -> Sampler:
    if baseline.weights.memory and wan.memory is None:
        wan = with_memory(wan)
    return build_sampler(baseline, wan, latent_shape=(frames, CHANNELS, SIZE, SIZE), precision="float32")


def sample(sampler: Sampler, keys: Sequence[SampleKey] = KEYS[:1]) -> Tensor:
    noise = sampler.portable_noise("test", keys)
    return torch.cat([chunk.latents for chunk in sampler.sample(text(len(keys)), noise)], dim=1)


@pytest.fixture(scope="module")
def clip_of(wan: Wan) -> Callable[[str, int], Tensor]:
    """Latents of KEYS by one method, [2, frames, ...]; each clip is sampled once, however many tests look at
    it.
    """

    @cache
    def clip(name: str, frames: int) -> Tensor:
        return sample(sampler_of(wan, BASELINES[name], frames), KEYS)

    return clip


# -- a reference that recomputes everything
# ---------------------------------------------------------------------------


ALPHA = 0.999


def velocity_without_cache(
    wan: Wan,
    context: Tensor,
    history: Tensor,
    times: list[float],
    x: Tensor,
    t: Tensor,
    rule: SeesRule,
    sizes: Sequence[int],
) -> Tensor:
    """Velocity of x given history [B, start, ...] at its frames' times: one forward over history and x
    together, every layer from scratch.

    Each chunk of history frames and x itself attends densely to the keys its rule names; keys are
    rotated and blended here.
    """
    if wan.memory is not None:
        return velocity_with_memory(wan, context, history, times, x, t, rule, sizes)
    start, frames = history.shape[1], x.shape[1]
    tokens = CONFIG.tokens_per_frame(SIZE, SIZE)
    firsts = [sum(sizes[:c]) for c in range(len(sizes))]
    queries = [(first, size, True) for first, size in zip(firsts, sizes, strict=True) if first < start]
    queries += [(start, frames, False)]

    def turn(k_BTND: Tensor, positions: list[int]) -> Tensor:
        grid = SIZE // 2
        return rotate(k_BTND, rotation(positions, grid, grid, CONFIG.rotary_pairs, torch.float32, x.device))

    def take(of_BTND: Tensor, ids: list[int]) -> Tensor:
        return torch.cat([of_BTND[:, i * tokens : (i + 1) * tokens] for i in ids], dim=1)

    def self_attend(_: int, here: Projected) -> Tensor:
        q, k, v = here.normed_q(), here.normed_k(), here.v
        pieces = []
        for first, length, clean in queries:
            sees = rule(first, length, clean)
            keys, values = take(k, sees.keys), take(v, sees.keys)
            for left in sees.blended:
                blend = slice(0, len(left) * tokens)
                keys[:, blend] = ALPHA * keys[:, blend] + (1 - ALPHA) * take(k, left)
                values[:, blend] = ALPHA * values[:, blend] + (1 - ALPHA) * take(v, left)
            own = take(q, span(first, first + length - 1))
            pieces.append(attend(turn(own, sees.query_positions), turn(keys, sees.key_positions), values))
        return torch.cat(pieces, dim=1)

    sequence = torch.cat([history, x], dim=1)
    all_times = torch.cat([torch.tensor([times]).expand(x.shape[0], -1), t], dim=1)
    return wan._run(sequence, all_times, wan.text_kv(context), self_attend)[:, start:]


def velocity_with_memory(
    wan: Wan,
    text: Tensor,
    history: Tensor,
    times: list[float],
    x: Tensor,
    t: Tensor,
    rule: SeesRule,
    sizes: Sequence[int],
) -> Tensor:
    """The same for two networks: the second makes the keys and values of all history from scratch, the first
    attends to them and to its own. text: [B, L, text_dim], which both embed themselves.
    """
    assert wan.memory is not None
    start, frames, grid = history.shape[1], x.shape[1], SIZE // 2
    tokens = CONFIG.tokens_per_frame(SIZE, SIZE)
    kept: list[tuple[Tensor, Tensor]] = []

    def turn(k_BTND: Tensor, positions: list[int]) -> Tensor:
        return rotate(k_BTND, rotation(positions, grid, grid, CONFIG.rotary_pairs, torch.float32, x.device))

    def take(of_BTND: Tensor, ids: list[int]) -> Tensor:
        return torch.cat([of_BTND[:, i * tokens : (i + 1) * tokens] for i in ids], dim=1)

    def attended(q: Tensor, k: Tensor, v: Tensor, first: int, size: int, clean: bool) -> Tensor:
        sees = rule(first, size, clean)
        return attend(
            turn(q, sees.query_positions), turn(take(k, sees.keys), sees.key_positions), take(v, sees.keys)
        )

    def write(_: int, here: Projected) -> Tensor:
        kept.append((here.normed_k(), here.v))
        q, pieces, first = here.normed_q(), [], 0
        for size in sizes:
            if first < start:
                own = take(q, span(first, first + size - 1))
                pieces.append(attended(own, *kept[-1], first, size, True))
            first += size
        return torch.cat(pieces, dim=1)

    def read(layer: int, here: Projected) -> Tensor:
        k, v = here.normed_k(), here.v
        if kept:
            k, v = torch.cat([kept[layer][0], k], dim=1), torch.cat([kept[layer][1], v], dim=1)
        return attended(here.normed_q(), k, v, start, frames, False)

    if start:
        told = torch.tensor([times]).expand(x.shape[0], -1)
        wan.memory._run(history, told, wan.memory.text_kv(wan.memory.embed_text(text)), write)
    return wan._run(x, t, wan.text_kv(wan.embed_text(text)), read)


def sample_without_cache(sampler: Sampler, keys: Sequence[SampleKey], rule: SeesRule) -> Tensor:
    """Both rollouts of baselines/methods.md, chunked and rolling, on `velocity_without_cache`."""
    schedules, noise = schedules_of(sampler.baseline), sampler.portable_noise("test", keys)
    rollout, prompts = sampler.baseline.rollout, text(len(keys))
    context = prompts if sampler.wan.memory else sampler.wan.embed_text(prompts)
    z = noise.initial()
    total, done = z.shape[1], z[:, :0]
    seen, times = done, list[float]()  # what later chunks are given
    sizes, schedule = chunk_sizes(rollout.chunk, total), schedules[-1]
    last = schedule.num_steps - 1

    def predict(x: Tensor, steps: list[int], schedule: Schedule = schedule) -> Tensor:
        t = torch.tensor([[schedule.timesteps[k] for k in steps]]).expand(len(keys), -1)
        v = velocity_without_cache(sampler.wan, context, seen, times, x, t, rule, sizes)
        return schedule.to_x0(x, v, steps)

    if rollout.kind == "chunked":
        for c, size in enumerate(sizes):
            here, start = schedules[min(c, len(schedules) - 1)], done.shape[1]
            x = here.sigmas[0] * z[:, start : start + size]
            for k in range(here.num_steps):
                x0 = predict(x, [k] * size, here)
                if k < here.num_steps - 1:
                    x = here.add_noise(x0, noise.draw_renoise(c, k, size, None), k + 1)
            done = torch.cat([done, x0], dim=1)
            noisy = rollout.context == "last_step" and c >= rollout.context_from
            seen = torch.cat([seen, x if noisy else x0], dim=1)
            times += [here.timesteps[-1] if noisy else 0.0] * size
        return done
    blocks = list(z.split(3, dim=1))
    for w in range(len(blocks) + last):
        a, b = max(0, w - last), min(len(blocks) - 1, w)
        x0 = predict(torch.cat(blocks[a : b + 1], dim=1), [w - j for j in span(a, b) for _ in range(3)])
        for j, clean in zip(span(a, b), x0.split(3, dim=1), strict=True):
            if w - j < last:
                blocks[j] = schedule.add_noise(clean, noise.draw_renoise(j, w - j, 3, None), w - j + 1)
            else:
                seen = done = torch.cat([done, clean], dim=1)
                times += [0.0] * 3
    return done


LONG = (  # methods that sample more than 21 frames
    "raven", "longlive", "reward_forcing", "rolling_forcing", "self_forcing_window21",
    "self_forcing_window21_sink3", "longlive_infinity",
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        *((name, 21) for name in SAMPLERS),
        *(pytest.param(name, 36, marks=[] if name == "longlive" else pytest.mark.slow) for name in LONG),
    ],
)
def test_sampler_equals_recomputation_without_cache(
    wan: Wan, clip_of: Callable[[str, int], Tensor], name: str, frames: int
) -> None:
    """The whole sampler against dense recomputation: catches a key at a wrong place or position, a stale or
    noisy key, a blend too many, a first chunk on the others' steps. 36 frames exercise the moving sink,
    commits without sink and eviction. Chunk by chunk: max |a - b| / max |b| <= 1e-4.
    """
    sampler = sampler_of(wan, BASELINES[name], frames)
    with torch.no_grad():
        expected = sample_without_cache(sampler, KEYS, OWN_RULE.get(name, sees_all))
    sizes = chunk_sizes(BASELINES[name].rollout.chunk, frames)
    for number, (ours, theirs) in enumerate(
        zip(clip_of(name, frames).split(sizes, 1), expected.split(sizes, 1), strict=True)
    ):
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max(), f"chunk {number}"


def runs_at(name: str, frames: int) -> bool:
    """Whether a row can sample clips of that length."""
    try:
        BASELINES[name].at_length(frames)
    except ValueError:
        return False
    return True


LONG_ROWS = [name for name in SAMPLERS if runs_at(name, 63)]


@pytest.mark.parametrize("name", [name for name in LONG_ROWS if BASELINES[name].rollout.kind == "chunked"])
def test_a_long_clip_begins_with_the_short_one(wan: Wan, name: str) -> None:
    """baselines/methods.md#beyond-the-trained-length, bit for bit: with one key of noise, what comes later
    changes nothing.
    """
    short, long = (sample(sampler_of(wan, BASELINES[name], frames)) for frames in (21, 63))
    assert torch.equal(long[:, :21], short)


@pytest.mark.parametrize("name", [name for name in LONG_ROWS if BASELINES[name].rollout.kind == "rolling"])
def test_a_long_rolling_clip_begins_with_all_but_the_last_blocks(wan: Wan, name: str) -> None:
    """Its last S - 1 blocks are made in windows that the clip's end cuts short."""
    last = max(one.num_steps for one in schedules_of(BASELINES[name])) - 1
    short, long = (sample(sampler_of(wan, BASELINES[name], frames)) for frames in (21, 63))
    same = 21 - 3 * last
    assert torch.equal(long[:, :same], short[:, :same])
    assert not torch.equal(long[:, same : same + 3], short[:, same : same + 3])


def test_every_row_that_goes_on_is_tried() -> None:
    """Each row of the suites of long clips is one of those above, or samples as one of them does."""
    tried = {str(BASELINES[name].sampled()) for name in LONG_ROWS}
    listed = {"raven", "cm_grpo", "longlive", "longlive_infinity", "reward_forcing", "rolling_forcing"}
    listed |= {"causal_forcing_long", "self_forcing_window21", "self_forcing_window21_sink3"}
    assert {name for name in listed if str(BASELINES[name].sampled()) not in tried} == set()


@pytest.mark.parametrize(("sink", "window"), [(0, None), (1, 2), (0, 1), (2, 1)])
def test_replaying_a_rollout_through_the_interleaved_forward(wan: Wan, sink: int, window: int | None) -> None:
    """Recorded states and endpoints, fed to the training-time-test forward at each step, give the recorded
    velocities of every chunk (`rollout_replay`, models/training/methods.md#properties-that-must-hold).
    Catches any difference between what is trained and what is sampled.
    """
    cache = {"sink": 3 * sink, "window": None if window is None else 3 * window}
    baseline = BASELINES["raven"]
    sampler = sampler_of(wan, baseline.model_copy(update={"cache": baseline.cache.model_copy(update=cache)}))
    records = list(sampler.records(text(2), sampler.portable_noise("test", KEYS)))
    calls = [record for record in records if isinstance(record, Denoised)]
    endpoints = torch.cat([record.latents for record in records if isinstance(record, Finished)], dim=1)
    for step, timestep in enumerate(sampler.rollout.schedule.timesteps):
        states, velocities = (
            torch.cat([part(call) for call in calls if call.step == step], dim=1)
            for part in (lambda call: call.x_t, lambda call: call.v)
        )
        replayed = wan.interleaved(
            states, endpoints, torch.full((2, 21), timestep), wan.embed_text(text(2)),
            chunks=(3,) * 7, sink=sink, window=window,
        )  # fmt: skip
        torch.testing.assert_close(replayed, velocities, rtol=0, atol=1e-5)


# -- teeth
# ------------------------------------------------------------------------------------------------------------


def with_cache_of(baseline: Baseline, other: str) -> Baseline:
    return baseline.model_copy(update={"cache": BASELINES[other].cache})


def changed_chunks(one: Tensor, other: Tensor) -> list[int]:
    """Numbers of the chunks whose latents differ by more than rounding."""
    gaps = (one - other).abs().unflatten(1, (-1, 3)).amax(dim=(0, 2, 3, 4, 5))
    return (gaps > 1e-5).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("name", "other", "first_changed"),
    [
        ("self_forcing", "longlive", 4),
        ("self_forcing", "reward_forcing", 3),
        ("longlive", "reward_forcing", 3),
    ],
)
def test_another_policy_changes_late_chunks_only(wan: Wan, name: str, other: str, first_changed: int) -> None:
    """Swapping a cache policy shows from the chunk where the windows part, and not before."""
    baseline = BASELINES[name]
    swapped = sample(sampler_of(wan, with_cache_of(baseline, other)))
    assert changed_chunks(sample(sampler_of(wan, baseline)), swapped) == list(range(first_changed, 7))


def test_equal_policies_sample_equal_latents(wan: Wan) -> None:
    """Self Forcing and Causal Forcing differ in weights alone; RAVEN's own counting of the window changes
    nothing without one.
    """
    reference = sample(sampler_of(wan, BASELINES["self_forcing"]))
    assert torch.equal(sample(sampler_of(wan, BASELINES["causal_forcing"])), reference)
    assert torch.equal(sample(sampler_of(wan, with_cache_of(BASELINES["self_forcing"], "raven"))), reference)


def test_the_blended_sink_is_used(wan: Wan) -> None:
    """Reward Forcing without its blend differs from chunk 3 on, where the first block is absorbed."""
    baseline = BASELINES["reward_forcing"]
    strong = baseline.model_copy(update={"cache": baseline.cache.model_copy(update={"alpha": 0.9})})
    frozen = baseline.model_copy(update={"cache": baseline.cache.model_copy(update={"alpha": None})})
    assert changed_chunks(sample(sampler_of(wan, strong)), sample(sampler_of(wan, frozen))) == [3, 4, 5, 6]


def test_every_method_samples_its_own_clip(clip_of: Callable[[str, int], Tensor]) -> None:
    """With the same weights and noise the recipes differ, except where a window as long as the clip hides
    that positions are counted in it.
    """
    clips = {name: clip_of(name, 21)[:1] for name in SAMPLERS}
    windows = ("self_forcing_window21", "self_forcing_window21_sink3")
    same = {("causal_forcing_framewise", "sgf_framewise"), windows, *(("causal_forcing", w) for w in windows)}
    for one in clips:
        for other in clips:
            if one < other:
                assert bool(changed_chunks(clips[one], clips[other])) != ((one, other) in same), (one, other)


def test_rows_that_share_a_sampler_are_those_that_say_so() -> None:
    """Only weights tell these apart; a setting that moved in one of them would show."""
    shared: dict[str, list[str]] = {}
    for name, baseline in BASELINES.items():
        shared.setdefault(str(baseline.sampled()), []).append(name)
    assert [names for names in shared.values() if len(names) > 1] == [
        ["causal_forcing", "self_forcing", "self_forcing_gan", "self_forcing_sid", "self_forcing_sid_v2"],
        ["causal_forcing_pp_1step", "one_forcing"],
        ["causal_rcm_c3_4step", "causal_rcm_scm_c3_4step"],
        ["cm_grpo", "raven"],
        ["longlive_infinity", "opsdv_longlive", "opsdv_self_forcing", "sgf"],
    ]


@pytest.mark.parametrize("name", ["sgf_plus", "sgf_plus_framewise"])
def test_two_equal_sets_of_weights_are_sgf(wan: Wan, name: str) -> None:
    """baselines/methods.md#sgf-plus: bit for bit; other weights in context passes show from chunk 1 on."""
    plain = sample(sampler_of(wan, BASELINES[name.replace("_plus", "")]))
    assert torch.equal(sample(sampler_of(with_memory(wan, seed=None), BASELINES[name])), plain)
    other = sample(sampler_of(wan, BASELINES[name]))
    first = 1 if name.endswith("framewise") else 3
    assert torch.equal(other[:, :first], plain[:, :first])  # no context yet
    assert not torch.allclose(other[:, first:], plain[:, first:], atol=1e-2)


def test_a_second_set_of_weights_is_neither_missed_nor_made_up(wan: Wan) -> None:
    shape = (21, CHANNELS, SIZE, SIZE)
    with pytest.raises(ValueError, match="with a second set of weights, but the network has none"):
        build_sampler(BASELINES["sgf_plus"], wan, latent_shape=shape, precision="float32")
    with pytest.raises(ValueError, match="with its weights, but the network has a second set"):
        build_sampler(BASELINES["sgf"], with_memory(wan), latent_shape=shape, precision="float32")


# -- batches, streams, draws
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_clip_does_not_depend_on_its_batch(
    wan: Wan, clip_of: Callable[[str, int], Tensor], name: str
) -> None:
    """workflow/README.md#stages: the second sample of a batch is what it is alone, up to kernel rounding."""
    sampler = sampler_of(wan, BASELINES[name])
    noise = sampler.portable_noise("test", KEYS[1:])
    alone = torch.cat([chunk.latents for chunk in sampler.sample(text(2)[1:], noise)], dim=1)
    torch.testing.assert_close(clip_of(name, 21)[1:], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_chunks_stream_in_order_and_final(wan: Wan, name: str) -> None:
    """models/README.md: chunk by chunk, each yielded once, before later ones are computed, without gradient,
    never rewritten.
    """
    sampler = sampler_of(wan, BASELINES[name])
    stream = sampler.records(text(1), sampler.portable_noise("test", KEYS[:1]))
    finished, calls_before_first = [], 0
    for record in stream:
        calls_before_first += isinstance(record, Denoised) and not finished
        if isinstance(record, Finished):
            assert not record.latents.requires_grad
            finished.append((record.start, record.latents, record.latents.clone()))
    sizes = chunk_sizes(BASELINES[name].rollout.chunk, 21)
    assert [start for start, _, _ in finished] == [sum(sizes[:c]) for c in range(len(sizes))]
    assert all(torch.equal(kept, copy) for _, kept, copy in finished)
    assert calls_before_first == sampler.rollout.schedules[0].num_steps


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("causvid", 27),
        ("causvid_4step", 34),
        ("self_forcing", 34),
        ("reward_forcing", 34),
        ("causal_forcing", 34),
        ("longlive", 34),
        ("raven", 34),
        ("cm_grpo", 34),
        ("rolling_forcing", 17),
        ("causal_forcing_framewise", 104),
        ("causal_forcing_pp_2step", 64),
        ("causal_forcing_pp_1step", 44),
        ("sgf", 34),
        ("sgf_framewise", 104),
        ("sgf_plus", 34),
        ("sgf_plus_framewise", 104),
        ("one_forcing_ffe", 38),
        ("causal_forcing_long", 16),
        ("causal_rcm_c1_4step", 104),
        ("causal_rcm_c1_2step", 64),
        ("causal_rcm_c1_1step", 44),
        ("causal_rcm_c3_4step", 34),
        ("causal_rcm_c3_2step", 22),
        ("causal_rcm_c3_2step_noisy", 17),
    ],
)
def test_network_calls_of_a_clip(wan: Wan, name: str, calls: int) -> None:
    """The calls of baselines/methods.md#sampling-settings less the context passes that nobody reads: one
    after the last chunk, and in Rolling Forcing four on the unfinished block 0; so 28 - 1, 35 - 1, 22 - 5,
    and frame-wise 105 - 1.
    """
    sampler = sampler_of(wan, BASELINES[name])
    records = sampler.records(text(1), sampler.portable_noise("test", KEYS[:1]))
    assert sum(not isinstance(record, Finished) for record in records) == calls


class Drawn(NamedTuple):
    """One draw: its shape and dtype, and the seed of the generator it came from."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    seed: int


class DrawLog(TorchFunctionMode):
    """Every torch.randn while active."""

    def __init__(self) -> None:
        super().__init__()
        self.draws: list[Drawn] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = kwargs or {}
        if func is torch.randn:
            self.draws.append(Drawn(tuple(args[0]), kwargs["dtype"], kwargs["generator"].initial_seed()))
        return func(*args, **kwargs)


def upstream_draws(wan: Wan, name: str) -> list[Drawn]:
    """The draws of item 7 of the expanded list."""
    sampler, rows = sampler_of(wan, BASELINES[name]), text(1)
    with DrawLog() as log:
        for _ in sampler.sample(rows, sampler.upstream_noise([7], torch.device("cpu"))):
            pass
    return log.draws


@pytest.mark.parametrize("name", list(UPSTREAM_SIX))
def test_draw_log_of_the_chunked_six(wan: Wan, name: str) -> None:
    """baselines/methods.md#noise: one bfloat16 draw of the whole clip, then steps - 1 draws a chunk
    (CausVid 2, others 3).
    """
    per_chunk = 2 if name == "causvid" else 3
    expected = [((1, 21, 4, 4, 4), torch.bfloat16, 7)] + [((3, 4, 4, 4), torch.bfloat16, 7)] * (7 * per_chunk)
    assert upstream_draws(wan, name) == expected


@pytest.mark.parametrize(
    ("name", "later"),
    [("causal_forcing_framewise", 60), ("causal_forcing_pp_2step", 20), ("causal_forcing_pp_1step", 0)],
)
def test_draw_log_of_the_frame_wise_variants(wan: Wan, name: str, later: int) -> None:
    """baselines/methods.md#causal-forcing: draws of one frame, three for the first frame and steps - 1 for
    each of 20 later ones.
    """
    expected = [((1, 21, 4, 4, 4), torch.bfloat16, 7)] + [((1, 4, 4, 4), torch.bfloat16, 7)] * (3 + later)
    assert upstream_draws(wan, name) == expected


def test_draw_log_of_rolling_forcing(wan: Wan) -> None:
    """baselines/methods.md#rolling-forcing: one draw of the whole joint window per block that goes on, 330
    frames in all.
    """
    table = [(1, 3), (2, 6), (3, 9), (4, 12), (4, 15), (4, 15), (4, 15), (3, 12), (2, 9), (1, 6)]
    expected = [((1, 21, 4, 4, 4), torch.bfloat16, 7)]
    expected += [((frames, 4, 4, 4), torch.bfloat16, 7) for draws, frames in table for _ in range(draws)]
    assert upstream_draws(wan, "rolling_forcing") == expected
    assert sum(shape[0] for shape, _, _ in expected[1:]) == 330


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name.startswith("causal_rcm")])
def test_draw_log_of_causal_rcm(wan: Wan, name: str) -> None:
    """baselines/methods.md#causal-rcm: the whole clip once for the start and once for each step but the last
    of the first chunk, float32 and channel-major, from one generator; later chunks draw nothing of their own.
    """
    assert upstream_draws(wan, name)[0] == ((1, 4, 21, 4, 4), torch.float32, 7)
    assert upstream_draws(wan, name)[1:] == [((4, 21, 4, 4), torch.float32, 7)] * 3


@pytest.mark.parametrize("name", ["raven", "cm_grpo"])
def test_draw_log_of_raven(wan: Wan, name: str) -> None:
    """baselines/methods.md#noise: float32, channel-major, four draws a chunk including the one after the last
    step, these from a second generator: (1103515245 * 20001026 + 12345) mod 2^31 = 1751951891.
    """
    expected = [((1, 4, 21, 4, 4), torch.float32, 20001026)]
    expected += [((4, 3, 4, 4), torch.float32, 1751951891)] * 28
    assert upstream_draws(wan, name) == expected


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_method_takes_given_noise(wan: Wan, name: str) -> None:
    """One clip from a torch generator equals the clip from tensors that hold the same
    numbers, and a recording of upstream's draws equals upstream's noise. A missing or misshapen tensor is
    named. Five blocks fill Rolling Forcing's joint window; the others' draws do not grow with the clip: three
    chunks.
    """
    rollout = BASELINES[name].rollout
    frames = 15 if rollout.kind == "rolling" else 3 * max(chunk_sizes(rollout.chunk, 21))
    sampler, rows = sampler_of(wan, BASELINES[name], frames), text(1)
    asked: dict[tuple[int, int], Tensor] = {}

    class Recording(GeneratorNoise):
        def draw_renoise(self, chunk: int, step: int, frames: int, window: JointWindow | None) -> Tensor:
            asked[chunk, step] = super().draw_renoise(chunk, step, frames, window)
            return asked[chunk, step]

    def clip(noise: NoiseSource) -> Tensor:
        return torch.cat([chunk.latents for chunk in sampler.sample(rows, noise)], dim=1)

    generator = torch.Generator().manual_seed(3)
    from_generator = clip(Recording(generator=generator, batch=1, shape=sampler.latent_shape))
    start = torch.randn(1, *sampler.latent_shape, generator=torch.Generator().manual_seed(3))
    assert torch.equal(clip(TensorNoise(start=start, draws=asked)), from_generator)
    if asked:
        (chunk, step), *_ = sorted(asked)
        fewer = {key: value for key, value in asked.items() if key != (chunk, step)}
        with pytest.raises(ValueError, match=f"no draw for chunk {chunk} after step {step}; add it to draws"):
            clip(TensorNoise(start=start, draws=fewer))

    with DrawLog() as log:
        upstream = clip(sampler.upstream_noise([7], torch.device("cpu")))
    generators = {seed: torch.Generator().manual_seed(seed) for _, _, seed in log.draws}
    recording = [torch.randn(d.shape, dtype=d.dtype, generator=generators[d.seed]) for d in log.draws]
    assert torch.equal(clip(sampler.recorded_noise(recording)), upstream)
    other_axes = [draw[0] if draw.dim() == 5 else draw[None] for draw in recording]
    assert torch.equal(clip(sampler.recorded_noise(other_axes)), upstream)
    with pytest.raises(
        ValueError, match=f"holds {len(recording) - 1} draws but draw number {len(recording)}"
    ):
        clip(sampler.recorded_noise(recording[:-1]))
    with pytest.raises(ValueError, match="Draw number 1 of the recording has shape"):
        clip(sampler.recorded_noise([recording[0][:, :1], *recording[1:]]))


# -- precision
# --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["self_forcing", "reward_forcing", "rolling_forcing", "raven"])
@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_lower_precision_profiles_run_and_stay_close(wan: Wan, name: str, precision: str) -> None:
    """Latents come out in the profile's dtype, and the first chunk is the float32 one up to bfloat16 steps
    (8 bits, 4 steps).
    """
    dtypes = dtypes_of(BASELINES[name], precision)  # type: ignore[arg-type]
    half = Wan(CONFIG, dtypes.network)
    half.load_state_dict(wan.state_dict())
    cast_parameters(half, dtypes.matmul).requires_grad_(False)
    sampler = build_sampler(BASELINES[name], half, latent_shape=(21, 4, 4, 4), precision=precision)  # type: ignore[arg-type]
    done = sample(sampler)
    assert done.dtype == (torch.float32 if name == "raven" else torch.bfloat16)
    assert done.isfinite().all()
    gap = (done.float() - sample(sampler_of(wan, BASELINES[name])))[:, :3].abs().mean().item()
    assert 0 < gap < 0.1


def test_policies_are_those_of_the_plan_tables() -> None:
    """tests/models/test_plan.py proves the composition tables for these; a baseline file must not name other
    numbers."""
    everything = AbsolutePolicy(capacity=21)
    expected = {
        **dict.fromkeys(BASELINES, everything),
        **dict.fromkeys(("raven", "cm_grpo"), AbsolutePolicy(denoise_writes=False, counting="history_only")),
        "longlive": AbsolutePolicy(window=12, sink=3, capacity=12),
        "longlive_infinity": SlotRelativePolicy(window=12, sink=3),
        "self_forcing_window21": AbsolutePolicy(window=21, capacity=21),
        "self_forcing_window21_sink3": AbsolutePolicy(window=21, sink=3, capacity=21),
        "reward_forcing": SlotRelativePolicy(window=9, sink=3, alpha=0.999),
        **dict.fromkeys(
            ("rolling_forcing", "causal_forcing_long"), AnchoredSinkPolicy(window=21, sink=3, capacity=24)
        ),
        **dict.fromkeys(
            ("sgf", "sgf_plus", "opsdv_longlive", "opsdv_self_forcing"),
            SlotRelativePolicy(window=12, sink=3),
        ),
        **dict.fromkeys(("sgf_framewise", "sgf_plus_framewise"), SlotRelativePolicy(window=21, sink=4)),
        **{
            name: AbsolutePolicy(capacity=21, denoise_writes="noisy" in name)
            for name in BASELINES
            if name.startswith("causal_rcm")
        },
    }
    assert {name: build_policy(b.cache, "exact") for name, b in BASELINES.items()} == expected


def test_sink_is_blended_in_the_profile_s_precision() -> None:
    """baselines/methods.md#reward-forcing: parity needs the three bfloat16 roundings; a float32 run must not
    round the sink to bfloat16.
    """
    cache = BASELINES["reward_forcing"].cache
    rounded = {
        precision: build_policy(cache, precision).ema_dtype for precision in ("exact", "fast", "float32")
    }
    assert rounded == {"exact": "bfloat16", "fast": "bfloat16", "float32": "float32"}


def test_faults_are_sentences(wan: Wan) -> None:
    """A network of the wrong precision, or noise of the wrong size or batch, is refused before it is used."""
    with pytest.raises(ValueError, match="cast them with cast_parameters"):
        build_sampler(BASELINES["raven"], wan, latent_shape=(21, 4, 4, 4), precision="exact")
    half = Wan(CONFIG, dtypes_of(BASELINES["longlive"], "exact").network)
    late = inner_wan(add_lora(cast_parameters(half, torch.bfloat16), LoraSettings(rank=2, alpha=2), seed=0))
    with pytest.raises(
        ValueError, match="cast the network with cast_parameters after its adapters are in place"
    ):
        build_sampler(BASELINES["longlive"], late, latent_shape=(21, 4, 4, 4), precision="exact")
    with pytest.raises(ValueError, match="24 latent frames need 24 cached frames"):
        sampler_of(wan, BASELINES["self_forcing"], frames=24)
    sampler = sampler_of(wan, BASELINES["raven"])
    with pytest.raises(ValueError, match="make noise and text agree"):
        next(sampler.sample(text(1), sampler.portable_noise("test", KEYS)))
    halved = TensorNoise(start=torch.zeros(1, 21, 4, 4, 4, dtype=torch.bfloat16), draws={})
    with pytest.raises(
        ValueError, match=r"keeps latents in torch\.float32 between network calls; cast the noise"
    ):
        next(sampler.sample(text(1), halved))
    larger = build_sampler(BASELINES["raven"], wan, latent_shape=(21, 4, 6, 4), precision="float32")
    with pytest.raises(ValueError, match="make noise and latent_shape agree"):
        next(sampler.sample(text(1), larger.portable_noise("test", KEYS[:1])))


def assert_replays_are_plain_calls(
    wan: Wan, name: str, precision: Precision, graphs: GraphRunner, device: str, *, frames: int, clips: int
) -> None:
    """Clip after clip, each of its own prompt and noise, bit for bit, with every set of weights in use."""
    dtypes = dtypes_of(BASELINES[name], precision)
    network = Wan(CONFIG, dtypes.network).requires_grad_(False)
    network.load_state_dict(wan.state_dict())
    if BASELINES[name].weights.memory:
        network = with_memory(network)
    cast_parameters(network.to(device), dtypes.matmul)
    plain, graphed = (
        build_sampler(
            BASELINES[name],
            network,
            latent_shape=(frames, CHANNELS, SIZE, SIZE),
            precision=precision,
            runner=runner,
        )
        for runner in (plain_runner, graphs)
    )
    for number in range(clips):
        key, rows = [SampleKey("clip", number)], text(2)[number % 2 :][:1].to(device)
        made = [
            torch.cat([c.latents for c in s.sample(rows, s.portable_noise("test", key))], dim=1)
            for s in (plain, graphed)
        ]
        assert torch.equal(made[0], made[1])
    assert graphs._bound is not None
    assert {key[0] for key in graphs._bound.calls} == set(range(len(network.weight_sets)))


@pytest.mark.parametrize("name", ["sgf_plus", "causal_rcm_c3_2step_noisy", "one_forcing_ffe"])
def test_kept_calls_are_plain_calls_without_a_gpu(wan: Wan, name: str) -> None:
    """The runner's bookkeeping on a CPU, where nothing is captured: a second set of weights with prompts of
    its own, calls that are not repeated at t = 0, chunks of two sizes.
    """
    graphs = GraphRunner(capture=False)
    assert_replays_are_plain_calls(wan, name, "float32", graphs, "cpu", frames=15, clips=2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("precision", ["exact", "fast", "float32"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_graphs_replay_what_plain_calls_compute(wan: Wan, name: str, precision: Precision) -> None:
    """Guards against stale inputs, a cache that a capture moved, text of an earlier clip, and a graph of the
    one set of weights in place of the other (SGF+): equal bit for bit, clip after clip.
    """
    assert_replays_are_plain_calls(wan, name, precision, GraphRunner(), "cuda", frames=21, clips=3)
