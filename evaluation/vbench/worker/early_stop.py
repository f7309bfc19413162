"""Whether a clip is static or moves, by as few pairs of frames as it takes. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Stillness(NamedTuple):
    """What the static filter says of one clip."""

    static: bool
    motion: float
    """The largest value over its limit: at most 1 exactly if the clip is static."""
    pairs: int
    """How many pairs were looked at."""


def judge_flow(
    neighbours: Iterable[float],
    ends: Iterable[float],
    *,
    limit: float,
    allowed: int,
    total: int | None = None,
) -> Stillness:
    """The package's check_static, stopped as early as its answer is known. The values may be computed while
    they are asked for.

    total: number of neighbours, where those that cannot change the answer are left out too: the last
    `allowed` of a clip that is static all along. Then `motion` is a lower bound for static clips as well.

    Raises ValueError for a value that is no finite number, which every comparison would call small.
    """
    exceeding: list[float] = []
    largest: list[float] = []
    pairs = 0
    for value in finite_flow(neighbours):
        pairs += 1
        largest = sorted([*largest, value], reverse=True)[: allowed + 1]
        if value > limit:
            exceeding.append(value)
        if len(exceeding) > allowed:
            return Stillness(False, float(min(exceeding)) / limit, pairs)
        if total is not None and len(exceeding) + total - pairs <= allowed:
            break
    motion = float(largest[allowed]) / limit if len(largest) > allowed else 0.0
    for value in finite_flow(ends):
        pairs += 1
        bound = limit * allowed * 2
        if value > bound:
            return Stillness(False, float(value) / bound if bound else float(value) + 1.0, pairs)
        motion = max(motion, float(value) / bound if bound else 0.0)
    return Stillness(True, min(motion, 1.0), pairs)


def finite_flow(values: Iterable[float]) -> Iterator[float]:
    """The same values. Raises ValueError for one that is no finite number."""
    for value in values:
        if not abs(value) < float("inf"):
            raise ValueError(
                f"the flow of a pair of its frames is {value}, no finite number: the frames are smaller than "
                "128 pixels, or RAFT's weights are wrong"
            )
        yield value


def moves(values: Iterable[float], *, limit: float, needed: int, total: int) -> bool:
    """Dynamic degree's check_move: whether `needed` of `total` pairs exceed `limit`, stopped as early as that
    is known.

    Raises ValueError for a value that is no finite number.
    """
    count = 0
    for seen, value in enumerate(finite_flow(values), 1):
        count += value > limit
        if count >= needed:
            return True
        if count + total - seen < needed:
            return False
    return False
