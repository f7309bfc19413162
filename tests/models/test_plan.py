"""Cache policies against the compositions of baselines/methods.md, by a simulator that moves integers instead
of tensors.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest

from models.plan import (
    AbsolutePolicy,
    AnchoredSinkPolicy,
    AttendPlan,
    CachePolicy,
    SlotRelativePolicy,
    chunk_sizes,
    merged_reads,
)

SELF_FORCING = AbsolutePolicy(capacity=21)
LONGLIVE = AbsolutePolicy(window=12, sink=3)
REWARD_FORCING = SlotRelativePolicy(window=9, sink=3, alpha=0.999)
ROLLING_FORCING = AnchoredSinkPolicy(window=21, sink=3, capacity=24)
RAVEN = AbsolutePolicy(denoise_writes=False, counting="history_only")


def frames(*ranges: tuple[int, int]) -> list[int]:
    """Frame ids of inclusive ranges, as the tables print them."""
    return [frame for first, last in ranges for frame in range(first, last + 1)]


class Seen(NamedTuple):
    """What one call attends to: frame ids and rotary positions of its keys in order, of its queries,
    frames absorbed into the sink.
    """

    keys: list[int]
    key_rotary: list[int]
    query_rotary: list[int]
    absorbed: list[int]


@dataclass
class Slots:
    """A cache whose slots hold (frame id, rotary position or None for raw, clean) instead of keys."""

    held: dict[int, tuple[int, int | None, bool]] = field(default_factory=dict)

    def run(self, plan: AttendPlan, start: int, clean: bool) -> Seen:
        """Execute a plan in the documented order; KeyError means a slot was read that nobody wrote."""
        absorb = plan.absorb
        absorbed = [] if absorb is None else [self.held[absorb.src + i][0] for i in range(absorb.length)]
        for move in plan.moves:
            block = [self.held[move.src + i] for i in range(move.length)]
            self.held.update({move.dst + i: entry for i, entry in enumerate(block)})
        if plan.write is not None:
            for i in range(plan.write.length):
                call_frame = plan.write.offset + i
                rotary = plan.q_rotary_start + call_frame if plan.write.form == "rotated" else None
                self.held[plan.write.slot + i] = (start + call_frame, rotary, clean)
        keys, key_rotary = [], []
        for read in plan.reads:
            for i in range(read.length):
                if read.source == "self":
                    assert read.rotary is not None, "a chunk's own keys are never rotated yet"
                    keys.append(start + read.start + i)
                    key_rotary.append(read.rotary + i)
                    continue
                frame, stored, is_clean = self.held[read.start + i]
                assert is_clean, f"frame {frame} is read from the cache before its context pass"
                assert (stored is None) != (read.rotary is None), f"frame {frame} is rotated twice or never"
                keys.append(frame)
                key_rotary.append(stored if stored is not None else read.rotary + i)
        queries = [plan.q_rotary_start + i for i in range(plan.frames)]
        return Seen(keys, key_rotary, queries, absorbed)


def chunked(
    policy: CachePolicy, total: int, chunk: int | Sequence[int] = 3, steps: int = 4
) -> list[list[Seen]]:
    """All calls of every chunk of a chunked rollout: `steps` denoise calls, then the context pass."""
    planner, slots, chunks, start = policy.planner(), Slots(), [], 0
    sizes = chunk_sizes(chunk, total)
    for size in sizes:
        calls = [slots.run(planner.plan(start, size, "denoise"), start, clean=False) for _ in range(steps)]
        calls.append(slots.run(planner.plan(start, size, "context"), start, clean=True))
        chunks.append(calls)
        assert max(slots.held) < policy.num_slots(total, max(sizes)), "num_slots is too small"
        start += size
    return chunks


class Window(NamedTuple):
    """The two calls of one rolling window."""

    denoise: Seen
    context: Seen


def rolling(policy: AnchoredSinkPolicy, total: int, block: int = 3, steps: int = 5) -> list[Window]:
    """All windows of a rolling rollout."""
    planner, slots, windows = policy.planner(), Slots(), []
    num_blocks = total // block
    for w in range(num_blocks + steps - 1):
        first, last = max(0, w - steps + 1), min(num_blocks - 1, w)
        start, width = first * block, (last - first + 1) * block
        denoise = slots.run(planner.plan(start, width, "denoise"), start, clean=False)
        windows.append(Window(denoise, slots.run(planner.plan(start, block, "context"), start, clean=True)))
        assert max(slots.held) < policy.num_slots(total, block)
    return windows


@pytest.mark.parametrize("policy", [SELF_FORCING, RAVEN], ids=["self_forcing", "raven"])
def test_all_history_sees_every_frame_so_far(policy: CachePolicy) -> None:
    """baselines/methods.md#self-forcing: frames 0..3c+2 at absolute positions. Guards against a chunk that
    misses history or slots that drift.
    """
    for total in (
        (21, 36) if policy is RAVEN else (21,)
    ):  # Self Forcing's cache ends at 21, see the faults below
        for c, calls in enumerate(chunked(policy, total)):
            for seen in calls:
                assert seen.keys == seen.key_rotary == frames((0, 3 * c + 2))
                assert seen.query_rotary == frames((3 * c, 3 * c + 2))


def test_frame_wise_chunks_see_every_frame_so_far() -> None:
    """Chunks of one frame (Causal Forcing frame-wise) take the same planner."""
    for c, calls in enumerate(chunked(SELF_FORCING, 21, chunk=1)):
        assert all(seen.keys == frames((0, c)) for seen in calls)


@pytest.mark.parametrize("policy", [SELF_FORCING, RAVEN], ids=["self_forcing", "raven"])
@pytest.mark.parametrize(
    ("chunk", "starts"),
    [
        ((4, 1), [0, *range(4, 21)]),
        ((1, 4), [0, 1, 5, 9, 13, 17]),
        ((3, 1), [0, *range(3, 21)]),
        ((3,), [0, 3, 6, 9, 12, 15, 18]),
    ],
)
def test_chunks_of_unequal_sizes(policy: CachePolicy, chunk: tuple[int, ...], starts: list[int]) -> None:
    """Table: the last size repeats to the end of the clip; queries stand at the chunk's start and see
    every frame up to its end, with and without writes of denoising calls. Guards against slots of a stride.
    """
    chunks = chunked(policy, 21, chunk)
    assert [calls[0].query_rotary[0] for calls in chunks] == starts
    for start, end, calls in zip(starts, [*starts[1:], 21], chunks, strict=True):
        for seen in calls:
            assert seen.keys == seen.key_rotary == frames((0, end - 1))
            assert seen.query_rotary == frames((start, end - 1))


def test_chunks_must_end_with_the_clip() -> None:
    """4 + 3 n is never 21, and chunks that are longer than the clip are refused as well."""
    with pytest.raises(ValueError, match=r"21 latent frames is not a multiple of chunk 3 after chunks of .4"):
        chunk_sizes((4, 3), 21)
    with pytest.raises(ValueError, match="3 latent frames is not a multiple of chunk 1"):
        chunk_sizes((4, 1), 3)


def test_longlive_table() -> None:
    """baselines/methods.md#longlive: sink and positions stay, the oldest other chunk leaves."""
    table = [
        frames((0, 2)),
        frames((0, 5)),
        frames((0, 8)),
        frames((0, 11)),
        frames((0, 2), (6, 14)),
        frames((0, 2), (9, 17)),
        frames((0, 2), (12, 20)),
        frames((0, 2), (15, 23)),
        frames((0, 2), (18, 26)),
        frames((0, 2), (21, 29)),
        frames((0, 2), (24, 32)),
        frames((0, 2), (27, 35)),
    ]
    for c, (calls, expected) in enumerate(zip(chunked(LONGLIVE, 36), table, strict=True)):
        for seen in calls:
            assert seen.keys == seen.key_rotary == expected
            assert seen.query_rotary == frames((3 * c, 3 * c + 2))


def test_reward_forcing_table() -> None:
    """baselines/methods.md#reward-forcing: keys at slot positions, the oldest non-sink chunk absorbed once,
    in the first call of a chunk (JaydenLyh/Reward-Forcing issue 5).
    """
    table = [
        (frames((0, 2)), []),
        (frames((0, 5)), []),
        (frames((0, 8)), []),
        (frames((0, 2), (6, 11)), frames((3, 5))),
        (frames((0, 2), (9, 14)), frames((6, 8))),
        (frames((0, 2), (12, 17)), frames((9, 11))),
        (frames((0, 2), (15, 20)), frames((12, 14))),
        (frames((0, 2), (18, 23)), frames((15, 17))),
        (frames((0, 2), (21, 26)), frames((18, 20))),
        (frames((0, 2), (24, 29)), frames((21, 23))),
        (frames((0, 2), (27, 32)), frames((24, 26))),
        (frames((0, 2), (30, 35)), frames((27, 29))),
    ]
    for calls, (keys, absorbed) in zip(chunked(REWARD_FORCING, 36), table, strict=True):
        assert [seen.absorbed for seen in calls] == [absorbed, [], [], [], []]
        for seen in calls:
            assert seen.keys == keys
            assert seen.key_rotary == list(range(len(keys)))
            assert seen.query_rotary == list(range(len(keys) - 3, len(keys)))


def test_reward_forcing_blends_before_it_attends() -> None:
    """The absorb names the slots before the shift and the sink as its target, with the released rounding."""
    planner = REWARD_FORCING.planner()
    plans = [planner.plan(start, 3, "denoise") for start in (0, 3, 6, 9)]
    assert [plan.absorb for plan in plans[:3]] == [None] * 3
    absorb = plans[3].absorb
    assert absorb is not None
    assert (absorb.src, absorb.dst, absorb.length, absorb.alpha, absorb.dtype) == (3, 0, 3, 0.999, "bfloat16")
    assert [(m.dst, m.src, m.length) for m in plans[3].moves] == [(3, 6, 3)]


ROLLING_TABLE = [
    # window frames, denoise keys besides the window, context keys: baselines/methods.md#rolling-forcing
    ((0, 2), [], frames((0, 2))),
    ((0, 5), [], frames((0, 2))),
    ((0, 8), [], frames((0, 2))),
    ((0, 11), [], frames((0, 2))),
    ((0, 14), [], frames((0, 2))),
    ((3, 17), frames((0, 2)), frames((0, 5))),
    ((6, 20), frames((0, 5)), frames((0, 8))),
    ((9, 20), frames((0, 8)), frames((0, 11))),
    ((12, 20), frames((0, 11)), frames((0, 14))),
    ((15, 20), frames((0, 14)), frames((0, 17))),
    ((18, 20), frames((0, 17)), frames((0, 20))),
]


def test_rolling_forcing_table() -> None:
    """baselines/methods.md#rolling-forcing, denoising calls and context passes; at 21 frames the sink sits at
    position 0 in every call.
    """
    for (window, extra, context_keys), (denoise, context) in zip(
        ROLLING_TABLE, rolling(ROLLING_FORCING, 21), strict=True
    ):
        assert denoise.keys == denoise.key_rotary == extra + frames(window)
        assert denoise.query_rotary == frames(window)
        assert context.keys == context.key_rotary == context_keys
        assert context.query_rotary == frames((window[0], window[0] + 2))


LONG_ROLLING_TABLE = [
    # window frames, working frames behind the sink, position of the sink, context keys, at 36 frames:
    # baselines/methods.md#rolling-forcing
    *((window, None, None, context) for window, _, context in ROLLING_TABLE[:5]),
    ((3, 17), None, 0, frames((0, 5))),
    ((6, 20), (3, 5), 0, frames((0, 8))),
    ((9, 23), (6, 8), 3, frames((0, 11))),
    ((12, 26), (9, 11), 6, frames((0, 14))),
    ((15, 29), (12, 14), 9, frames((0, 17))),
    ((18, 32), (15, 17), 12, frames((0, 20))),
    ((21, 35), (18, 20), 15, frames((3, 23))),
    ((24, 35), (18, 23), 15, frames((6, 26))),
    ((27, 35), (18, 26), 15, frames((9, 29))),
    ((30, 35), (18, 29), 15, frames((12, 32))),
    ((33, 35), (18, 32), 15, frames((15, 35))),
]


def test_rolling_forcing_at_36_frames() -> None:
    """baselines/methods.md#rolling-forcing: from window 7 the sink sits at 3, 6, 9, ..., just before the
    working frames; commits from block 7 on see no sink; block 8 evicts block 1.
    """
    for (window, working, sink_at, context_keys), (denoise, context) in zip(
        LONG_ROLLING_TABLE, rolling(ROLLING_FORCING, 36), strict=True
    ):
        behind = [] if working is None else frames(working)
        sink = [] if sink_at is None else frames((0, 2))
        assert denoise.keys == sink + behind + frames(window)
        assert denoise.key_rotary == [sink_at + f for f in sink] + behind + frames(window)
        assert denoise.query_rotary == frames(window)
        assert context.keys == context.key_rotary == context_keys
        assert context.query_rotary == frames((window[0], window[0] + 2))


LONG = (36, 63, 240, 1023)
"""Latent frames: of the tables above, of 15 and 60 seconds, and the most that positions reach."""
WITH_WINDOW = {
    # policy, window, sink, whether keys are rotated by their slots:
    # baselines/methods.md#beyond-the-trained-length
    "longlive": (LONGLIVE, 12, 3, False),
    "longlive_infinity": (SlotRelativePolicy(window=12, sink=3), 12, 3, True),
    "reward_forcing": (REWARD_FORCING, 9, 3, True),
    "self_forcing_window21": (AbsolutePolicy(window=21), 21, 0, False),
    "self_forcing_window21_sink3": (AbsolutePolicy(window=21, sink=3), 21, 3, False),
}


@pytest.mark.parametrize("total", LONG)
@pytest.mark.parametrize("name", WITH_WINDOW)
def test_a_window_moves_on_to_any_length(name: str, total: int) -> None:
    """In closed form: the sink and the newest frames up to the window, positions of frames or of slots, and
    the place where a chunk is written, which stays at the end of the cache.
    """
    policy, window, sink, by_slot = WITH_WINDOW[name]
    assert policy.num_slots(total, 3) == window
    planner = policy.planner()
    for c, calls in enumerate(chunked(policy, total, steps=2)):
        end = 3 * c + 2
        newest = max(sink, end + 1 - (window - sink)) if end >= window else sink
        keys = frames((0, sink - 1), (newest, end)) if end >= sink else frames((0, end))
        positions = list(range(len(keys))) if by_slot else keys
        for number, seen in enumerate(calls):
            assert seen.keys == keys and seen.key_rotary == positions
            assert seen.query_rotary == positions[-3:]
            left = frames((newest - 3, newest - 1)) if name == "reward_forcing" and end >= window else []
            assert seen.absorbed == (left if number == 0 else [])
        for kind in ("denoise", "context"):
            plan = planner.plan(3 * c, 3, kind)  # type: ignore[arg-type]
            assert plan.write is not None and plan.write.slot == min(3 * c, window - 3)


@pytest.mark.parametrize("total", LONG)
def test_full_history_grows_to_any_length(total: int) -> None:
    assert RAVEN.num_slots(total, 3) == total
    for c, calls in enumerate(chunked(RAVEN, total, steps=1)):
        for seen in calls:
            assert seen.keys == seen.key_rotary == frames((0, 3 * c + 2))
            assert seen.query_rotary == frames((3 * c, 3 * c + 2))


@pytest.mark.parametrize("total", LONG)
def test_rolling_windows_move_on_to_any_length(total: int) -> None:
    """In closed form, of five blocks in the window: behind the sink as many finished frames as the window of
    21 leaves room for, the sink placed right before them; a context pass reads the last 21 frames.
    """
    assert ROLLING_FORCING.num_slots(total, 3) == 24
    blocks = total // 3
    planner = ROLLING_FORCING.planner()
    for w, (denoise, context) in enumerate(rolling(ROLLING_FORCING, total)):
        first, last = max(0, w - 4), min(blocks - 1, w)
        window = frames((3 * first, 3 * last + 2))
        behind = frames((max(3, 3 * first - (21 - 3 - len(window))), 3 * first - 1)) if first else []
        sink = frames((0, 2)) if first else []
        before = (behind or window)[0] - 3
        assert denoise.keys == sink + behind + window
        assert denoise.key_rotary == [before + frame for frame in sink] + behind + window
        assert denoise.query_rotary == window
        assert context.keys == context.key_rotary == frames((max(0, 3 * first - 18), 3 * first + 2))
        assert context.query_rotary == frames((3 * first, 3 * first + 2))
        for size, kind in ((len(window), "denoise"), (3, "context")):
            plan = planner.plan(3 * first, size, kind)  # type: ignore[arg-type]
            assert plan.write is not None and plan.write.slot == min(3 * first, 21)


def test_raven_window_counts_history_only() -> None:
    """models/backbone.md#cached-forward: chunk k sees the sink chunks and the last `window` clean chunks
    beside itself, in both kinds of call.
    """
    for sink in (0, 1, 2):
        for window in (1, 2, 3):
            policy = AbsolutePolicy(
                window=3 * window, sink=3 * sink, counting="history_only", denoise_writes=False
            )
            for k, calls in enumerate(chunked(policy, 36)):
                visible = [j for j in range(k) if j < sink or k - j <= window] + [k]
                for seen in calls:
                    assert seen.keys == seen.key_rotary == frames(*((3 * j, 3 * j + 2) for j in visible))


def test_raven_keeps_clean_chunks_only() -> None:
    """baselines/methods.md#raven: the history is read only while denoising. A denoising call writes where no
    call before the next write reads, and the history grows with context passes alone.
    """
    planner = RAVEN.planner()
    history: list[int] = []
    for start in range(0, 12, 3):
        for kind in ("denoise", "denoise", "context"):
            plan = planner.plan(start, 3, kind)  # type: ignore[arg-type]
            read = [
                slot for r in plan.reads if r.source == "cache" for slot in range(r.start, r.start + r.length)
            ]
            written = [plan.write.slot + i for i in range(plan.write.length)] if plan.write else []
            assert read == history
            assert written == [len(history) + i for i in range(3)]
        history += written


@pytest.mark.parametrize("policy", [RAVEN, SELF_FORCING, LONGLIVE, REWARD_FORCING])
def test_keys_of_every_chunked_method_lie_in_one_piece(policy: CachePolicy) -> None:
    """What lets attention read the cache without copies; rotated on the way by consecutive positions, or not
    at all.
    """
    planner = policy.planner()
    for start in range(0, 21, 3):
        for kind in ("denoise", "denoise", "context"):
            plan = planner.plan(start, 3, kind)  # type: ignore[arg-type]
            (read,) = merged_reads(plan)
            assert read.source == "cache"
            assert read.length == sum(r.length for r in plan.reads)
            assert read.rotary == (0 if policy is REWARD_FORCING else None)


def test_merged_reads_are_the_same_keys() -> None:
    """Guards against merging what is not written, not adjacent, or rotated otherwise: a cache of slots reads
    the same.
    """
    for policy, joint in ((LONGLIVE, False), (REWARD_FORCING, False), (ROLLING_FORCING, True)):
        planner, apart, together = policy.planner(), Slots(), Slots()
        for start in range(0, 30, 3):
            for kind in ("denoise", "context"):
                plan = planner.plan(start, 9 if joint and kind == "denoise" else 3, kind)  # type: ignore[arg-type]
                merged = dataclasses.replace(plan, reads=merged_reads(plan))
                assert together.run(merged, start, clean=True) == apart.run(plan, start, clean=True)


def test_windows_are_never_exceeded_and_positions_never_negative() -> None:
    """Invariants over many settings: total read <= window, rotary positions >= 0 and distinct, every slot
    read was written clean.
    """
    for window in range(4, 15):
        for sink in range(0, window - 1):
            for chunk in (1, 2, 3):
                if window - chunk < max(sink, 1):
                    continue
                for policy in (
                    AbsolutePolicy(window=window, sink=sink),
                    SlotRelativePolicy(window=window, sink=sink),
                ):
                    for calls in chunked(policy, 30 - 30 % chunk, chunk=chunk, steps=2):
                        for seen in calls:
                            assert len(seen.keys) <= window
                            assert min(seen.key_rotary) >= 0
                            assert len(set(seen.key_rotary)) == len(seen.keys) == len(set(seen.keys))
    for sink in (1, 2, 3):
        for steps in (2, 3, 5):
            for extra in (1, 2, 3):
                policy = AnchoredSinkPolicy(
                    window=sink * (steps + extra), sink=sink, capacity=sink * (steps + extra + 1)
                )
                for window in rolling(policy, 12 * sink, block=sink, steps=steps):
                    for seen in window:
                        assert len(seen.keys) <= policy.window
                        assert min(seen.key_rotary) >= 0
                        assert len(set(seen.key_rotary)) == len(seen.keys)


def test_two_rollouts_share_no_state() -> None:
    """A policy is settings only; a second rollout starts from an empty cache."""
    first = [plan.reads for plan in map(LONGLIVE.planner().plan, (0,), (3,), ("denoise",))]
    planner = LONGLIVE.planner()
    for start in range(0, 21, 3):
        planner.plan(start, 3, "context")
    assert [LONGLIVE.planner().plan(0, 3, "denoise").reads] == first


def test_faults_are_sentences() -> None:
    """Past the supported length (guandeh17/Self-Forcing issue 39), a window too small, a blend of unequal
    lengths: said, not computed.
    """
    with pytest.raises(ValueError, match="24 latent frames need 24 cached frames but capacity is 21"):
        SELF_FORCING.num_slots(24, 3)
    planner = SELF_FORCING.planner()
    for start in range(0, 21, 3):
        planner.plan(start, 3, "context")
    with pytest.raises(ValueError, match="do not fit the capacity of 21 frames"):
        planner.plan(21, 3, "denoise")
    with pytest.raises(ValueError, match="cannot be blended into a sink of 3"):
        chunked(REWARD_FORCING, 12, chunk=2)
    with pytest.raises(ValueError, match="leaves no room"):
        AbsolutePolicy(window=3, sink=3)
    with pytest.raises(ValueError, match="must be multiples of sink"):
        AnchoredSinkPolicy(window=20, sink=3, capacity=24)
    with pytest.raises(ValueError, match="joint window of 21 frames"):
        ROLLING_FORCING.planner().plan(3, 21, "denoise")
