"""The two rollout loops, with networks whose answer is known in closed form and with a tiny real Wan for
gradients.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from models.cache import KVCache
from models.noise import GeneratorNoise, PortableNoise, SampleKey
from models.plan import AbsolutePolicy, AnchoredSinkPolicy, AttendPlan, Planner
from models.rollout import ContextPass, Denoised, Finished, NetworkCall, RolloutRecord, chunked, rolling
from models.schedule import Schedule, build_schedule
from models.wan import Wan
from tests.models.test_plan import Slots

SHAPE = (21, 4, 4, 4)
ROLLING = AnchoredSinkPolicy(window=21, sink=3, capacity=24)


def schedule(*steps: int) -> Schedule:
    return build_schedule(
        steps,
        shift=5.0,
        warp=True,
        timestep_dtype="float32",
        sigma="table",
        x0_dtype="float64",
        add_noise_dtype="float32",
    )


FOUR, FIVE = schedule(1000, 750, 500, 250), schedule(1000, 800, 600, 400, 200)


def noise(batch: int = 1) -> PortableNoise:
    return PortableNoise(suite="test", samples=[SampleKey("p", i) for i in range(batch)], shape=SHAPE)


def contraction(x: Tensor, t: Tensor, plan: AttendPlan) -> Tensor:
    """A network without attention: its velocity depends on a frame's own latents and timestep only."""
    return 0.7 * x - torch.sin(3 * x) * (t / 1000)[:, :, None, None, None]


def latents(records: Iterable[RolloutRecord]) -> Tensor:
    return torch.cat([record.latents for record in records if isinstance(record, Finished)], dim=1)


def wan_call(wan: Wan, batch: int, capacity: int) -> NetworkCall:
    """A real tiny network behind the rollout's interface."""
    text = torch.randn(batch, 5, wan.config.text_dim, generator=torch.Generator().manual_seed(9))
    text_kv = wan.text_kv(wan.embed_text(text))
    cache = KVCache(
        wan.config,
        batch=batch,
        capacity=capacity,
        tokens_per_frame=4,
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
    return lambda x, t, plan: wan.cached(x, t, text_kv, cache, plan)


@pytest.mark.parametrize("batch", [1, 2])
def test_both_loops_reach_the_target_of_a_perfect_network(batch: int) -> None:
    """With the exact velocity towards a target every step predicts it, so all chunks must be it, in place and
    in order.

    Tolerance: float32 rounding of sigma * v.
    """
    target = torch.randn(batch, *SHAPE, generator=torch.Generator().manual_seed(5))

    def perfect(for_schedule: Schedule) -> NetworkCall:
        sigma_of = dict(zip(for_schedule.timesteps, for_schedule.sigmas, strict=True))

        def network(x: Tensor, t: Tensor, plan: AttendPlan) -> Tensor:
            if not t.any():  # a context pass; its velocity is not used
                return torch.full_like(x, torch.nan)
            sigma = torch.tensor([sigma_of[value] for value in t[0].tolist()])[:, None, None, None]
            return (x - target[:, plan.q_rotary_start : plan.q_rotary_start + plan.frames]) / sigma

        return network

    done = latents(
        chunked(perfect(FOUR), FOUR, AbsolutePolicy().planner(), noise(batch), total=SHAPE[0], chunk=3)
    )
    torch.testing.assert_close(done, target, rtol=0, atol=1e-5)
    done = latents(rolling(perfect(FIVE), FIVE, ROLLING.planner(), noise(batch), total=SHAPE[0], chunk=3))
    torch.testing.assert_close(done, target, rtol=0, atol=1e-5)


def test_rolling_equals_chunked_without_attention() -> None:
    """Invariant: blocks that do not see each other take the same steps with the same noise in either
    order.
    """
    one = latents(chunked(contraction, FIVE, AbsolutePolicy().planner(), noise(2), total=SHAPE[0], chunk=3))
    other = latents(rolling(contraction, FIVE, ROLLING.planner(), noise(2), total=SHAPE[0], chunk=3))
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert one.shape == (2, *SHAPE)


def test_chunked_follows_the_written_algorithm() -> None:
    """baselines/methods.md#chunked-rollout as a plain loop over chunks and steps; noise after step k goes
    into step k + 1, none after the last.
    """
    source, expected = noise(), []
    for c in range(7):
        x = source.initial()[:, 3 * c : 3 * c + 3]
        for k, step in enumerate(FOUR.steps):
            v = contraction(x, torch.full((1, 3), step.timestep), AttendPlan(3, 0, (), None, None, ()))
            x0 = (x.double() - step.sigma * v.double()).float()
            if k < 3:
                s = torch.tensor(FOUR.steps[k + 1].sigma)
                x = (1 - s) * x0 + s * source.draw_renoise(c, k, 3, None)
        expected.append(x0)
    done = latents(chunked(contraction, FOUR, AbsolutePolicy().planner(), noise(), total=SHAPE[0], chunk=3))
    torch.testing.assert_close(done, torch.cat(expected, dim=1), rtol=0, atol=0)


def test_rolling_windows_follow_the_table() -> None:
    """baselines/methods.md#rolling-forcing: blocks, step indices and re-noise draws of all 11 windows; a
    block finishes with index 4, in order.
    """
    asked: list[tuple[int, int]] = []

    class Counting(PortableNoise):
        def draw_renoise(self, chunk: int, step: int, frames: int, window: object) -> Tensor:
            asked.append((window.frames, window.offset))  # type: ignore[attr-defined]
            return super().draw_renoise(chunk, step, frames, None)

    source = Counting(suite="test", samples=[SampleKey("p", 0)], shape=SHAPE)
    records = list(rolling(contraction, FIVE, ROLLING.planner(), source, total=SHAPE[0], chunk=3))
    calls = [record for record in records if isinstance(record, Denoised)]
    assert [(call.start, call.start + call.frames - 1, call.steps[::3]) for call in calls] == [
        (0, 2, (0,)), (0, 5, (1, 0)), (0, 8, (2, 1, 0)), (0, 11, (3, 2, 1, 0)), (0, 14, (4, 3, 2, 1, 0)),
        (3, 17, (4, 3, 2, 1, 0)), (6, 20, (4, 3, 2, 1, 0)), (9, 20, (4, 3, 2, 1)), (12, 20, (4, 3, 2)), (15,
         20, (4, 3)),
        (18, 20, (4,)),
    ]  # fmt: skip
    assert all(
        call.steps[i : i + 3] == (call.steps[i],) * 3 for call in calls for i in range(0, call.frames, 3)
    )
    assert sorted(Counter(frames for frames, _ in asked).items()) == [
        (3, 1),
        (6, 3),
        (9, 5),
        (12, 7),
        (15, 12),
    ]
    assert sum(frames for frames, _ in asked) == 330
    assert [record.start for record in records if isinstance(record, Finished)] == list(range(0, 21, 3))
    assert [record.start for record in records if isinstance(record, ContextPass)] == list(range(0, 18, 3))


def test_chunked_calls_and_context_passes() -> None:
    """7 * 4 + 6 = 34 forwards; nobody would read the context pass after the last chunk."""
    records = chunked(contraction, FOUR, AbsolutePolicy().planner(), noise(), total=SHAPE[0], chunk=3)
    kinds = Counter(type(record).__name__ for record in records)
    assert kinds == {"Denoised": 28, "Finished": 7, "ContextPass": 6}


def test_the_first_chunk_may_have_steps_of_its_own() -> None:
    """Causal Forcing++ (baselines/methods.md#causal-forcing): five steps for chunk 0, four for each later
    one; chunk 0 is that of a rollout with the first schedule alone, and without attention every later one
    that of a rollout with the other.
    """
    records = list(
        chunked(contraction, (FIVE, FOUR), AbsolutePolicy().planner(), noise(), total=SHAPE[0], chunk=3)
    )
    calls = [record for record in records if isinstance(record, Denoised)]
    assert [call.step for call in calls] == [*range(5), *(list(range(4)) * 6)]
    done, first, other = (
        latents(found)
        for found in (
            records,
            chunked(contraction, FIVE, AbsolutePolicy().planner(), noise(), total=SHAPE[0], chunk=3),
            chunked(contraction, FOUR, AbsolutePolicy().planner(), noise(), total=SHAPE[0], chunk=3),
        )
    )
    assert torch.equal(done[:, :3], first[:, :3])
    assert torch.equal(done[:, 3:], other[:, 3:])
    assert not torch.equal(done[:, :3], other[:, :3])


LAST_CALL_FROM = [None, 0, 1, 2]
"""First chunk whose last denoising call stays in the cache, of the three in `three_chunks`."""


def three_chunks(network: NetworkCall, last_call_from: int | None, *, writes: bool) -> list[RolloutRecord]:
    """All records of nine frames in two steps."""
    nine = PortableNoise(suite="test", samples=[SampleKey("p", 0)], shape=(9, *SHAPE[1:]))
    planner = AbsolutePolicy(capacity=9, denoise_writes=writes).planner()
    return list(
        chunked(network, schedule(1000, 500), planner, nine, total=9, chunk=3, last_call_from=last_call_from)
    )


@pytest.mark.parametrize("writes", [True, False])
@pytest.mark.parametrize("last_call_from", LAST_CALL_FROM)
def test_where_keys_do_not_depend_on_the_latents_a_noisy_context_is_a_clean_one(
    last_call_from: int | None, writes: bool
) -> None:
    """baselines/methods.md#causal-rcm: with a network that ignores x and t, and answers by the frames that it
    reads alone, leaving the context pass out changes no bit; and it is left out from that chunk on, so that
    2, 0, 1 and 2 passes remain, none after the last chunk. Guards against a chunk whose output is its noisy
    state, a pass too many, and slots that nobody wrote or that were written over.
    """

    def by_frames_read() -> NetworkCall:
        slots = Slots()

        def network(x: Tensor, t: Tensor, plan: AttendPlan) -> Tensor:
            return torch.full_like(x, sum(slots.run(plan, plan.q_rotary_start, clean=True).keys))

        return network

    found = three_chunks(by_frames_read(), last_call_from, writes=writes)
    assert torch.equal(latents(found), latents(three_chunks(by_frames_read(), None, writes=True)))
    passes = [record.start for record in found if isinstance(record, ContextPass)]
    assert passes == {None: [0, 3], 0: [], 1: [0], 2: [0, 3]}[last_call_from]
    assert sum(isinstance(record, Denoised) for record in found) == 3 * 2


@pytest.mark.parametrize("last_call_from", LAST_CALL_FROM)
def test_a_noisy_context_shows_in_the_next_chunk(
    toy_wan: Callable[..., Wan], last_call_from: int | None
) -> None:
    """With a real network chunks up to last_call_from are those of clean contexts, all later ones differ;
    whether denoising calls write makes no difference.
    """
    wan = toy_wan(torch.float32)
    with torch.no_grad():
        clean, noisy, other = (
            latents(three_chunks(wan_call(wan, 1, 9), first, writes=writes)).split(3, dim=1)
            for first, writes in ((None, True), (last_call_from, True), (last_call_from, False))
        )
    assert all(torch.equal(one, two) for one, two in zip(noisy, other, strict=True))
    same = [torch.equal(one, two) for one, two in zip(clean, noisy, strict=True)]
    assert same == [last_call_from is None or c <= last_call_from for c in range(3)]


def test_states_chain_into_each_other() -> None:
    """models/training/methods.md#one-iteration-of-raven: a recorded x_t is the re-noised x0 of the step
    before; trained transitions depend on it.
    """
    source = noise()
    calls = [
        r
        for r in chunked(contraction, FOUR, AbsolutePolicy().planner(), source, total=SHAPE[0], chunk=3)
        if isinstance(r, Denoised)
    ]
    for before, after in pairwise(calls):
        if after.step:
            expected = FOUR.add_noise(
                before.x0, source.draw_renoise(before.start // 3, before.step, 3, None), after.step
            )
            assert torch.equal(after.x_t, expected)
        else:
            assert torch.equal(after.x_t, source.initial()[:, after.start : after.start + 3])


def test_context_passes_nobody_reads_change_nothing(toy_wan: Callable[..., Wan]) -> None:
    """Rolling's context passes on an unfinished block, and the one after the last block, may be skipped
    (baselines/methods.md#what-changes-no-bit).
    """
    wan = toy_wan(torch.float32)

    def upstream_rolling(planner: Planner, network: NetworkCall) -> Tensor:
        """baselines/methods.md#rolling-forcing with a context pass in every window: 22 calls."""
        source, out = noise(), torch.zeros(1, *SHAPE)
        z, pending = source.initial(), torch.zeros(1, *SHAPE)
        for w in range(11):
            a, b = max(0, w - 4), min(6, w)
            entering = w <= 6
            x = (
                torch.cat([pending[:, 3 * a : 3 * b], z[:, 3 * b : 3 * b + 3]], 1)
                if entering
                else pending[:, 3 * a : 21]
            )
            blocks = b - a + 1
            indices = [w - j for j in range(blocks)] if a == 0 else [4, 3, 2, 1, 0][:blocks]
            t = torch.tensor([[FIVE.timesteps[k] for k in indices for _ in range(3)]])
            v = network(x, t, planner.plan(3 * a, 3 * blocks, "denoise"))
            x0 = FIVE.to_x0(x, v, [k for k in indices for _ in range(3)])
            out[:, 3 * a : 3 * b + 3] = x0
            for position, k in enumerate(indices):
                if k != 4:
                    eps = source.draw_renoise(a + position, k, 3, None)
                    here = slice(3 * position, 3 * position + 3)
                    pending[:, 3 * (a + position) : 3 * (a + position) + 3] = FIVE.add_noise(
                        x0[:, here], eps, k + 1
                    )
            network(x0[:, :3], torch.zeros(1, 3), planner.plan(3 * a, 3, "context"))
        return out

    ours = latents(rolling(wan_call(wan, 1, 24), FIVE, ROLLING.planner(), noise(), total=SHAPE[0], chunk=3))
    with torch.no_grad():
        assert torch.equal(ours, upstream_rolling(ROLLING.planner(), wan_call(wan, 1, 24)))


@pytest.mark.parametrize("exit_step", [0, 2, 3])
def test_exit_step_keeps_gradient_in_that_call_alone(toy_wan: Callable[..., Wan], exit_step: int) -> None:
    """Self forcing: every chunk stops at the exit step; the gradient of chunk 0 equals that of a plain
    forward on it.

    Guards against gradient leaking into earlier steps (memory, wrong gradient) and against a detached exit
    step (no training).
    """
    wan = toy_wan(torch.float32).requires_grad_(True)
    source = GeneratorNoise(generator=torch.Generator().manual_seed(3), batch=2, shape=SHAPE)
    network = wan_call(wan, 2, 21)
    records = list(
        chunked(
            network, FOUR, AbsolutePolicy().planner(), source, total=SHAPE[0], chunk=3, exit_step=exit_step
        )
    )
    calls = [record for record in records if isinstance(record, Denoised)]
    assert [call.step for call in calls] == list(range(exit_step + 1)) * 7
    assert [call.x0.requires_grad for call in calls] == [call.step == exit_step for call in calls]
    assert not any(call.x_t.requires_grad for call in calls)
    finished = [record.latents for record in records if isinstance(record, Finished)]
    assert all(chunk.requires_grad for chunk in finished)
    parameter = wan.blocks[0].ffn[0].weight
    (through_rollout,) = torch.autograd.grad(finished[0].square().sum(), parameter, retain_graph=True)
    text = torch.randn(2, 5, wan.config.text_dim, generator=torch.Generator().manual_seed(9))
    x = calls[exit_step].x_t
    t = torch.full((2, 3), FOUR.timesteps[exit_step])
    x0 = FOUR.to_x0(x, wan(x, t, wan.embed_text(text)), exit_step)
    (plain,) = torch.autograd.grad(x0.square().sum(), parameter)
    torch.testing.assert_close(through_rollout, plain, rtol=1e-4, atol=1e-5)
    torch.cat(finished, dim=1).square().mean().backward()
    assert parameter.grad is not None
    assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("offset", range(5))
def test_gradient_windows_cover_every_block_once(toy_wan: Callable[..., Wan], offset: int) -> None:
    """Rolling Forcing's training: windows w = offset mod S predict each block exactly once, with gradient."""
    wan = toy_wan(torch.float32).requires_grad_(True)
    source = GeneratorNoise(generator=torch.Generator().manual_seed(3), batch=1, shape=SHAPE)
    records = rolling(
        wan_call(wan, 1, 24), FIVE, ROLLING.planner(), source, total=SHAPE[0], chunk=3, grad_offset=offset
    )
    kept = [record for record in records if isinstance(record, Denoised) and record.x0.requires_grad]
    assert [frame for call in kept for frame in range(call.start, call.start + call.frames)] == list(
        range(21)
    )
    torch.cat([call.x0 for call in kept], dim=1).square().mean().backward()
    assert all(parameter.grad is not None for parameter in wan.blocks[0].parameters())


def test_gradient_mode_never_leaks_to_the_caller(toy_wan: Callable[..., Wan]) -> None:
    """A generator that yields inside a no_grad block would switch the caller's gradients off between
    records.
    """
    network = wan_call(toy_wan(torch.float32), 1, 21)
    for enabled in (True, False):
        with torch.set_grad_enabled(enabled):
            for _ in chunked(
                network, FOUR, AbsolutePolicy().planner(), noise(), total=SHAPE[0], chunk=3, exit_step=1
            ):
                assert torch.is_grad_enabled() == enabled


def test_faults_are_sentences() -> None:
    """Settings that cannot work are refused before the first call."""
    planner = AbsolutePolicy().planner()
    with pytest.raises(ValueError, match="not a multiple of chunk 4"):
        next(chunked(contraction, FOUR, planner, noise(), total=SHAPE[0], chunk=4))
    with pytest.raises(ValueError, match=r"Exit step 4 is not one of the steps 0\.\.3"):
        next(chunked(contraction, FOUR, planner, noise(), total=SHAPE[0], chunk=3, exit_step=4))
    with pytest.raises(ValueError, match="train a baseline whose chunks are alike"):
        next(chunked(contraction, (FIVE, FOUR), planner, noise(), total=SHAPE[0], chunk=3, exit_step=1))
    with pytest.raises(ValueError, match="train a baseline whose chunks are alike"):
        next(
            chunked(
                contraction, FOUR, planner, noise(), total=SHAPE[0], chunk=3, exit_step=1, last_call_from=0
            )
        )
    with pytest.raises(ValueError, match=r"not a multiple of chunk 3 after chunks of \[4\]"):
        next(chunked(contraction, FOUR, planner, noise(), total=SHAPE[0], chunk=(4, 3)))
    with pytest.raises(ValueError, match="hold 3 blocks of 7"):
        next(rolling(contraction, FIVE, ROLLING.planner(), noise(), total=SHAPE[0], chunk=7))
    with pytest.raises(ValueError, match="Gradient offset 5"):
        next(rolling(contraction, FIVE, ROLLING.planner(), noise(), total=SHAPE[0], chunk=3, grad_offset=5))
