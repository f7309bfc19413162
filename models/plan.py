"""Cache policies as integers: what one network call moves, writes and reads in the key/value cache.

A policy plans, models/cache.py executes. Everything here counts latent frames ("slots" are frame-sized places
of the cache) and imports no torch, so every policy can be checked against the tables of the papers on any
machine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

KeyForm = Literal["rotated", "raw"]

POSITIONS = 1024
"""Rows of Wan's table of rotary positions: absolute positions cannot go past this many latent frames."""


def chunk_sizes(chunk: int | Sequence[int], frames: int) -> tuple[int, ...]:
    """Frames of every chunk of a clip of `frames`: `chunk` is one size, or the sizes of chunks 0, 1, ..., of
    which the last repeats. Raises ValueError if the chunks do not end with the clip.
    """
    leading = [chunk] if isinstance(chunk, int) else list(chunk)
    rest = frames - sum(leading)
    if rest < 0 or rest % leading[-1]:
        more = "" if len(leading) == 1 else f" after chunks of {leading[:-1]}"
        raise ValueError(
            f"A clip of {frames} latent frames is not a multiple of chunk {leading[-1]}{more}; change one of "
            "the two."
        )
    return (*leading, *[leading[-1]] * (rest // leading[-1]))


@dataclass(frozen=True, slots=True)
class Move:
    """Copy `length` slots from `src` to `dst`: a left shift, whose ranges may overlap."""

    dst: int
    src: int
    length: int


@dataclass(frozen=True, slots=True)
class Absorb:
    """Blend evicted slots into the sink, keys and values: sink <- alpha * sink + (1 - alpha) * evicted."""

    src: int
    """First evicted slot; its frames are captured before the moves."""
    dst: int
    """First slot of the sink; the blend lands after the write."""
    length: int
    alpha: float
    dtype: Literal["bfloat16", "float32"]
    """bfloat16 rounds each operation, as the released model was trained; float32 rounds once, at the end."""


@dataclass(frozen=True, slots=True)
class Write:
    """Store `length` frames of this call."""

    slot: int
    """First slot to write to."""
    length: int
    offset: int
    """First frame of the call that is stored."""
    form: KeyForm
    """Rotated keys carry their position in the call."""


@dataclass(frozen=True, slots=True)
class Read:
    """Keys to attend to, in order."""

    source: Literal["cache", "self"]
    start: int
    """First slot of the cache, or first frame of the call itself."""
    length: int
    rotary: int | None
    """Time position of the first frame; None where the stored keys are rotated already."""


@dataclass(frozen=True, slots=True)
class AttendPlan:
    """A network call of `frames` frames. In this order: capture absorb.src, moves, write, absorb, reads."""

    frames: int
    q_rotary_start: int
    moves: tuple[Move, ...]
    absorb: Absorb | None
    write: Write | None
    reads: tuple[Read, ...]


CallKind = Literal["denoise", "context"]


@dataclass(slots=True)
class Planner:
    """Plans the calls of one rollout, in order; holds the write pointers of its cache and nothing else."""

    policy: CachePolicy
    used: int = 0
    """Slots filled so far."""
    seen: int = 0
    """Highest frame end that was given slots (or, unwritten, was made room for)."""

    def plan(self, start: int, frames: int, kind: CallKind) -> AttendPlan:
        """Plan the call on frames [start, start + frames). Raises ValueError where the policy has no room."""
        return self.policy.plan(self, start, frames, kind)


class CachePolicy(ABC):
    """Settings of a cache policy."""

    def planner(self) -> Planner:
        """Start a fresh rollout."""
        return Planner(self)

    @abstractmethod
    def num_slots(self, total_frames: int, chunk: int) -> int:
        """Slots that the cache of a rollout needs. Raises ValueError if the policy never has as many."""

    @abstractmethod
    def plan(self, at: Planner, start: int, frames: int, kind: CallKind) -> AttendPlan:
        """As `Planner.plan`; moves the pointers of `at`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsolutePolicy(CachePolicy):
    """Keys are stored rotated at their absolute frame; sink frames stay, the rest leaves oldest first.

    window: frames a chunk may see, None for all. With counting "includes_current" it covers sink, history and
    the chunk itself (Self Forcing, LongLive); with "history_only" it covers the history after the sink
    (RAVEN, whose sink and window in chunks are sink * chunk and window * chunk here). capacity: frames after
    which the method is undefined, None for no limit. denoise_writes: False keeps nothing of a
    denoising call (RAVEN): it writes behind the history, so that its keys lie in one piece, and every later
    call overwrites that. Source:
    baselines/methods.md#chunked-rollout, models/backbone.md#cached-forward.
    """

    window: int | None = None
    sink: int = 0
    capacity: int | None = None
    counting: Literal["includes_current", "history_only"] = "includes_current"
    denoise_writes: bool = True

    def __post_init__(self) -> None:
        if self.sink < 0 or (self.window is not None and self.window < 1):
            raise ValueError(
                f"cache: window {self.window} must be at least 1 and sink {self.sink} at least 0; correct "
                "them."
            )
        if self.window is not None and self.counting == "includes_current" and self.window <= self.sink:
            raise ValueError(
                f"cache: window {self.window} includes the sink of {self.sink} frames and leaves no room "
                "for a chunk; raise window or lower sink."
            )

    def num_slots(self, total_frames: int, chunk: int) -> int:
        """Slots a rollout of total_frames in chunks needs, counting the chunk being written.

        Raises ValueError if that is more than the capacity.
        """
        history = self.history(chunk)
        needed = total_frames if history is None else min(total_frames, history + chunk)
        if self.capacity is not None and needed > self.capacity:
            raise ValueError(
                f"cache: {total_frames} latent frames need {needed} cached frames but capacity is "
                f"{self.capacity}, which this method never exceeds; sample fewer frames or set a window."
            )
        return needed

    def history(self, frames: int) -> int | None:
        """Cached frames a chunk of `frames` may see beside itself, sink included; None for all."""
        if self.window is None:
            return None
        return self.window - frames if self.counting == "includes_current" else self.sink + self.window

    def plan(self, at: Planner, start: int, frames: int, kind: CallKind) -> AttendPlan:
        end = start + frames
        fresh = end > at.seen
        moves: tuple[Move, ...] = ()
        if fresh:
            moves = make_room(at, self.sink, self.history(frames))
            if self.capacity is not None and at.used + frames > self.capacity:
                raise ValueError(
                    f"cache: frames {start} to {end - 1} do not fit the capacity of {self.capacity} "
                    "frames, which this method never exceeds; sample fewer frames or set a window."
                )
        slot = at.used if fresh else at.used - frames
        if kind == "context" or self.denoise_writes:
            at.used, at.seen = slot + frames, max(end, at.seen)
        reads = (*cached(0, slot, None), Read("self", 0, frames, start))
        return AttendPlan(frames, start, moves, None, Write(slot, frames, 0, "rotated"), reads)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRelativePolicy(CachePolicy):
    """Keys are stored unrotated and rotated at every call by their place among the keys read, so positions
    never exceed the window.

    window: frames read, sink and current chunk included; also the capacity. alpha: None keeps the sink as it
    was, otherwise the evicted frames are blended into it (Reward Forcing: 0.999). ema_dtype "bfloat16" rounds
    each of the blend's three operations. Source: baselines/methods.md#reward-forcing.
    """

    window: int
    sink: int
    alpha: float | None = None
    ema_dtype: Literal["bfloat16", "float32"] = "bfloat16"

    def __post_init__(self) -> None:
        if not 0 <= self.sink < self.window or (self.alpha is not None and not self.sink):
            raise ValueError(
                f"cache: sink {self.sink} must lie in 0..{self.window - 1}, and above 0 to be blended "
                "into; correct it."
            )
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise ValueError(f"cache: ema {self.alpha} must lie in 0..1; correct it.")

    def num_slots(self, total_frames: int, chunk: int) -> int:  # noqa: ARG002
        """Slots a rollout of total_frames needs, whatever its chunk."""
        return min(self.window, total_frames)

    def plan(self, at: Planner, start: int, frames: int, kind: CallKind) -> AttendPlan:  # noqa: ARG002
        """Denoise and context calls differ in nothing but who calls first.

        Raises ValueError if evicted frames and sink differ in number while they are to be blended.
        """
        end = start + frames
        moves: tuple[Move, ...] = ()
        absorb = None
        fresh = end > at.seen
        if fresh:
            evicted = max(0, at.used - (self.window - frames))
            if evicted and self.alpha is not None:
                if evicted != self.sink:
                    raise ValueError(
                        f"cache: {evicted} evicted frames cannot be blended into a sink of {self.sink} "
                        "frames; make sink equal to the chunk, and window a multiple of it."
                    )
                absorb = Absorb(self.sink, 0, self.sink, self.alpha, self.ema_dtype)
            moves = make_room(at, self.sink, self.window - frames)
        slot = at.used if fresh else at.used - frames
        at.used, at.seen = slot + frames, max(end, at.seen)
        reads = (*cached(0, slot, 0), Read("self", 0, frames, slot))
        return AttendPlan(frames, slot, moves, absorb, Write(slot, frames, 0, "raw"), reads)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchoredSinkPolicy(CachePolicy):
    """Joint windows of several blocks; only the first block is cached, and block 0 is a sink rotated to sit
    just before the history.

    window: frames attended to, sink and joint window included; sink: frames of block 0, which is also the
    block size; capacity: cached frames after which the oldest block but block 0 leaves. Source:
    baselines/methods.md#rolling-forcing.
    """

    window: int
    sink: int
    capacity: int

    def __post_init__(self) -> None:
        if (
            self.sink < 1
            or self.window % self.sink
            or self.capacity % self.sink
            or not self.sink < self.window <= self.capacity
        ):
            raise ValueError(
                f"cache: window {self.window} and capacity {self.capacity} must be multiples of sink "
                f"{self.sink}, with sink below window and window not above capacity; correct them."
            )

    def num_slots(self, total_frames: int, chunk: int) -> int:  # noqa: ARG002
        """Slots a rollout of total_frames needs, whatever its chunk."""
        return min(self.capacity, total_frames)

    def plan(self, at: Planner, start: int, frames: int, kind: CallKind) -> AttendPlan:
        """Plan a denoise call on the joint window [start, start + frames), or a context call on its first
        block alone.

        Raises ValueError if the joint window leaves no room for the sink.
        """
        sink, end = self.sink, start + self.sink
        if frames % sink or (start and frames + sink > self.window):
            raise ValueError(
                f"cache: a joint window of {frames} frames must be a multiple of the block of {sink} "
                f"frames and fit, with the sink, into window {self.window}; change the number of steps "
                "or the window."
            )
        fresh = end > at.seen
        moves = make_room(at, sink, self.capacity - sink) if fresh else ()
        slot = at.used if fresh else at.used - sink
        at.used, at.seen = slot + sink, max(end, at.seen)
        write = Write(slot, sink, 0, "raw" if start == 0 else "rotated")
        own = Read("self", 0, frames, start)
        if start == 0:
            return AttendPlan(frames, start, moves, None, write, (own,))
        if kind == "denoise":
            working = min(self.window - frames - sink, slot - sink)
            history = (*cached(0, sink, start - working - sink), *cached(slot - working, working, None))
        elif slot + sink <= self.window:
            history = (*cached(0, sink, 0), *cached(sink, slot - sink, None))
        else:  # upstream's slice starts behind block 0: the context call goes without a sink
            history = cached(slot + sink - self.window, self.window - sink, None)
        return AttendPlan(frames, start, moves, None, write, (*history, own))


POLICIES: dict[str, type[AbsolutePolicy] | type[SlotRelativePolicy] | type[AnchoredSinkPolicy]] = {
    "absolute": AbsolutePolicy,
    "slot_relative": SlotRelativePolicy,
    "anchored_sink": AnchoredSinkPolicy,
}


def make_room(at: Planner, sink: int, keep: int | None) -> tuple[Move, ...]:
    """Evict the oldest frames behind the sink until at most `keep` (None: all) are used."""
    if keep is None or at.used <= keep:
        return ()
    if keep < sink:
        raise ValueError(
            f"cache: {keep} frames of history cannot hold a sink of {sink} frames; raise window or lower "
            "sink or chunk."
        )
    evicted, at.used = at.used - keep, keep
    return (Move(sink, sink + evicted, keep - sink),) if keep > sink else ()


def cached(start: int, length: int, rotary: int | None) -> tuple[Read, ...]:
    """A read of `length` cached frames, or no read where there are none."""
    return (Read("cache", start, length, rotary),) if length > 0 else ()


def merged_reads(plan: AttendPlan) -> tuple[Read, ...]:
    """The same keys in fewer pieces: what a call has just written is read from the cache, and neighbours are
    one read.

    For calls without gradient, since the cache holds detached values.
    """
    merged: list[Read] = []
    for read in map(partial(_as_written, plan), plan.reads):
        last = merged[-1] if merged else None
        follows = (
            last is not None
            and (last.source, last.start + last.length) == (read.source, read.start)
            and read.rotary == (None if last.rotary is None else last.rotary + last.length)
        )
        if last is not None and follows:
            merged[-1] = replace(last, length=last.length + read.length)
        else:
            merged.append(read)
    return tuple(merged)


def _as_written(plan: AttendPlan, read: Read) -> Read:
    """A read of the call's own frames as a read of the slots that hold the same, if some do."""
    write = plan.write
    if read.source == "cache" or write is None:
        return read
    inside = write.offset <= read.start and read.start + read.length <= write.offset + write.length
    if not inside or (write.form == "rotated" and read.rotary != plan.q_rotary_start + read.start):
        return read
    slot = write.slot + read.start - write.offset
    return Read("cache", slot, read.length, None if write.form == "rotated" else read.rotary)
