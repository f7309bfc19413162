"""Keys and values of past frames, one pair of tensors a layer, and the one executor of an AttendPlan.

Legend: B batch, S slots (frames), P tokens per frame, N heads, D head size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from models.config import WanConfig
from models.fused import rotate
from models.plan import AttendPlan, KeyForm, Read
from models.rope import Rotation

RotationAt = Callable[[int, int], Rotation]
"""(first time position, frames) -> rotation of that many consecutive frames."""


class KVCache:
    """Room for `capacity` frames in every layer. Contents are never read before a plan has written them.

    Stored keys and values are detached; inside a call that needs gradients, reads of the call's own frames
    use the live tensors.
    """

    def __init__(
        self,
        config: WanConfig,
        *,
        batch: int,
        capacity: int,
        tokens_per_frame: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        shape = (batch, capacity, tokens_per_frame, config.num_heads, config.head_dim)
        self.capacity = capacity
        self.tokens_per_frame = tokens_per_frame
        # NaN-filled on purpose: a plan that reads a slot nothing wrote shows at once instead of blending in
        # zeros.
        self.keys, self.values = (
            [torch.full(shape, torch.nan, device=device, dtype=dtype) for _ in range(config.num_layers)]
            for _ in range(2)
        )

    @classmethod
    def for_calls(cls, config: WanConfig, x: Tensor, capacity: int, dtype: torch.dtype) -> KVCache:
        """A cache for calls on latents like x [B, f, C, H, W]."""
        tokens = config.tokens_per_frame(x.shape[3], x.shape[4])
        return cls(
            config, batch=x.shape[0], capacity=capacity, tokens_per_frame=tokens, device=x.device, dtype=dtype
        )


def check_plan(plan: AttendPlan, capacity: int) -> None:
    """Raise ValueError if a plan leaves the cache's capacity or its own frames."""
    ends = [read.start + read.length for read in plan.reads if read.source == "cache"]
    if plan.write is not None:
        ends.append(plan.write.slot + plan.write.length)
    ends += [end for move in plan.moves for end in (move.src + move.length, move.dst + move.length)]
    if ends and max(ends) > capacity:
        raise ValueError(
            f"An attend plan reaches slot {max(ends)} of a cache with {capacity} frames; "
            "enlarge the capacity or set a window in the baseline's cache section."
        )


class Tokens(Protocol):
    """Queries, keys, values [B, T, N, D] of a layer, T = plan.frames * P; rotated if a rotation is given."""

    @property
    def v(self) -> Tensor: ...

    def normed_q(self, rope: Rotation | None = None) -> Tensor: ...

    def normed_k(self, rope: Rotation | None = None) -> Tensor: ...

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor: ...

    def code_k(self, k: Tensor) -> Tensor: ...

    def code_v(self) -> Tensor: ...

    def stored(self, rope: Rotation, keys: Tensor, values: Tensor, *, rotate_keys: bool) -> Tensor: ...


def attend_cached(
    cache: KVCache, plan: AttendPlan, layer: int, own: Tokens, *, rotation_at: RotationAt
) -> Tensor:
    """Self-attention of one call in one layer, by plan: capture, move, write, absorb, then attend.

    own: the call's tokens. Returns [B, T, N, D] in v's dtype. The cache is updated in place.
    """
    keys, values = cache.keys[layer], cache.values[layer]
    frames, tokens = plan.frames, cache.tokens_per_frame
    here, codes = rotation_at(plan.q_rotary_start, frames), keys.dtype == torch.float8_e4m3fn
    v = own.code_v() if codes and not _all_by_cache(plan) else own.v
    own_k: dict[KeyForm, Tensor] = {}
    own_v, q = v.unflatten(1, (frames, tokens)), None
    if not torch.is_grad_enabled() and _all_by_cache(plan):
        assert plan.write is not None, "what is read from the cache alone was written there"
        leaving = [_make_room(stored, plan) for stored in (keys, values)]
        slots = slice(plan.write.slot, plan.write.slot + frames)
        place_k, place_v = (stored[:, slots].flatten(1, 2) for stored in (keys, values))
        q = own.stored(here, place_k, place_v, rotate_keys=plan.write.form == "rotated")
        for stored, left in zip((keys, values), leaving, strict=True):
            _absorb(stored, left, plan)
    else:
        for form in _own_forms(plan):
            k = own.normed_k(here if form == "rotated" else None)
            own_k[form] = (own.code_k(k) if codes else k).unflatten(1, (frames, tokens))
        with torch.no_grad():
            _update(keys, own_k[plan.write.form] if plan.write else None, plan)
            _update(values, own_v, plan)

    def rotated(piece: Tensor, position: int | None) -> Tensor:
        if position is None:
            return piece
        if codes:
            raise ValueError("A cache of codes holds rotated keys alone; give this plan one of numbers.")
        rotation = rotation_at(position, piece.shape[1])
        frames: Tensor = rotate(piece.flatten(1, 2), rotation).unflatten(1, (-1, tokens))
        return frames

    def gather(read: Read) -> list[tuple[Tensor, Tensor]]:
        """The frames of one read as pieces [B, f, P, N, D], rotated as the read says."""
        if read.source == "self":
            window = slice(read.start, read.start + read.length)
            if _as_the_call(plan, read):
                return [(own_k["rotated"][:, window], own_v[:, window])]
            return [(rotated(own_k["raw"][:, window], read.rotary), own_v[:, window])]
        pieces = []
        for start, length, first in _split_at_write(read, plan, live=v.requires_grad):
            if first is None:
                piece = (keys[:, start : start + length], values[:, start : start + length])
            else:
                assert plan.write is not None, "only what a call writes is read live"
                piece = (own_k[plan.write.form][:, first : first + length], own_v[:, first : first + length])
            position = None if read.rotary is None else read.rotary + start - read.start
            pieces.append((rotated(piece[0], position), piece[1]))
        return pieces

    gathered = [piece for read in plan.reads for piece in gather(read)]
    read_k = torch.cat([piece[0] for piece in gathered], dim=1) if len(gathered) > 1 else gathered[0][0]
    read_v = torch.cat([piece[1] for piece in gathered], dim=1) if len(gathered) > 1 else gathered[0][1]
    return own.attend(own.normed_q(here) if q is None else q, read_k.flatten(1, 2), read_v.flatten(1, 2))


def _all_by_cache(plan: AttendPlan) -> bool:
    """Whether a call writes all its frames and reads none of them but from the cache."""
    write = plan.write
    written = write is not None and (write.offset, write.length) == (0, plan.frames)
    return written and all(read.source == "cache" for read in plan.reads)


def _as_the_call(plan: AttendPlan, read: Read) -> bool:
    """Whether a read of the call's own frames wants them rotated to where its queries are."""
    return read.rotary == plan.q_rotary_start + read.start


def _own_forms(plan: AttendPlan) -> set[KeyForm]:
    """In which forms the call's own keys are written or read."""
    forms: set[KeyForm] = set() if plan.write is None else {plan.write.form}
    return forms | {
        "rotated" if _as_the_call(plan, read) else "raw" for read in plan.reads if read.source == "self"
    }


def _split_at_write(read: Read, plan: AttendPlan, *, live: bool) -> list[tuple[int, int, int | None]]:
    """A cache read cut into (slot, length, None or the call's own frame): live frames keep gradients."""
    if not live or plan.write is None:
        return [(read.start, read.length, None)]
    end, write_end = read.start + read.length, plan.write.slot + plan.write.length
    first, last = max(read.start, plan.write.slot), min(end, write_end)
    if first >= last:
        return [(read.start, read.length, None)]
    parts = [
        (read.start, first - read.start, None),
        (first, last - first, plan.write.offset + first - plan.write.slot),
        (last, end - last, None),
    ]
    return [part for part in parts if part[1] > 0]


def _update(stored: Tensor, own: Tensor | None, plan: AttendPlan) -> None:
    """Carry out the plan on the keys or values stored in a layer; own: those of the call, if it writes."""
    write, leaving = plan.write, _make_room(stored, plan)
    if write is not None and own is not None:
        source = own[:, write.offset : write.offset + write.length]
        stored[:, write.slot : write.slot + write.length] = source
    _absorb(stored, leaving, plan)


def _make_room(stored: Tensor, plan: AttendPlan) -> Tensor | None:
    """Carry out the plan's moves; returns what they drop if it is to be absorbed."""
    absorb = plan.absorb
    leaving = None if absorb is None else stored[:, absorb.src : absorb.src + absorb.length].clone()
    for move in plan.moves:
        moved = stored[:, move.src : move.src + move.length].clone()
        stored[:, move.dst : move.dst + move.length] = moved
    return leaving


def _absorb(stored: Tensor, leaving: Tensor | None, plan: AttendPlan) -> None:
    """Blend what left into the sink, if the plan says so."""
    absorb = plan.absorb
    if absorb is not None and leaving is not None:
        sink = slice(absorb.dst, absorb.dst + absorb.length)
        stored[:, sink] = blend(stored[:, sink], leaving, absorb.alpha, absorb.dtype)


def blend(sink: Tensor, leaving: Tensor, alpha: float, dtype: str) -> Tensor:
    """alpha * sink + (1 - alpha) * leaving.

    dtype "bfloat16": each of the three operations is rounded to bfloat16, with which the decay alpha = 0.999
    is an exact no-op (baselines/methods.md#reward-forcing); "float32": one rounding, to the sink's dtype, at
    the end.
    """
    if dtype == "bfloat16":
        return (alpha * sink.to(torch.bfloat16) + (1 - alpha) * leaving.to(torch.bfloat16)).to(sink.dtype)
    return (alpha * sink.float() + (1 - alpha) * leaving.float()).to(sink.dtype)
