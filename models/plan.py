"""Cache policies as integers: what one network call moves, writes and reads in the key/value cache.

A policy plans, models/cache.py executes. Everything here counts latent frames ("slots" are frame-sized places of the cache) and
imports no torch, so every policy can be checked against the tables of the papers on any machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

KeyForm = Literal["rotated", "raw"]


@dataclass(frozen=True, slots=True)
class Move:
    """Copy `length` slots from `src` to `dst` (left shift; ranges may overlap)."""

    dst: int
    src: int
    length: int


@dataclass(frozen=True, slots=True)
class Absorb:
    """Blend evicted slots into the sink: sink <- alpha * sink + (1 - alpha) * evicted, for keys and values.

    src is captured before the moves, the blend lands after the write. dtype names the rounding of the three operations
    ("bfloat16": each operation rounded, as the released model was trained; "float32": one rounding at the end).
    """

    src: int
    dst: int
    length: int
    alpha: float
    dtype: Literal["bfloat16", "float32"]


@dataclass(frozen=True, slots=True)
class Write:
    """Store `length` frames of this call, from its frame `offset`, at `slot`; rotated keys carry their position in the call."""

    slot: int
    length: int
    offset: int
    form: KeyForm


@dataclass(frozen=True, slots=True)
class Read:
    """Keys to attend to, in order. `start`: first slot ("cache") or first frame of the call ("self").

    rotary: time position of the first frame, or None when the stored keys are rotated already. "self" frames always need one.
    """

    source: Literal["cache", "self"]
    start: int
    length: int
    rotary: int | None


@dataclass(frozen=True, slots=True)
class AttendPlan:
    """One network call of `frames` frames. Executed in this order: capture absorb.src, moves, write, absorb, reads."""

    frames: int
    q_rotary_start: int
    moves: tuple[Move, ...]
    absorb: Absorb | None
    write: Write | None
    reads: tuple[Read, ...]
