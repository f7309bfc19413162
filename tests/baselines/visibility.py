"""What the frames of a call attend to, method by method: the compositions that baselines/methods.md describes
as plain lists.

Both references in the tests (float32 without a cache, bfloat16 with every rounding) read these rules; the
samplers do not.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Sees:
    """What the frames of one query chunk attend to: frame ids with a rotary position each, and the queries'
    positions.

    blended: blocks of frames that were blended, one after the other, into the first keys before this chunk
    attends.
    """

    keys: list[int]
    key_positions: list[int]
    query_positions: list[int]
    blended: list[list[int]]


SeesRule = Callable[[int, int, bool], Sees]


def span(first: int, last: int) -> list[int]:
    return list(range(first, last + 1))


def at_own_frames(keys: list[int], queries: list[int]) -> Sees:
    return Sees(keys, keys, queries, [])


def sees_all(start: int, frames: int, clean: bool) -> Sees:
    """Self Forcing, Causal Forcing, CausVid, RAVEN: baselines/methods.md#self-forcing."""
    return at_own_frames(span(0, start + frames - 1), span(start, start + frames - 1))


def sees_longlive(start: int, frames: int, clean: bool) -> Sees:
    """baselines/methods.md#longlive: at most 12 frames, of which 0-2 stay."""
    keys = span(0, start + 2) if start <= 9 else span(0, 2) + span(start - 6, start + 2)
    return at_own_frames(keys, span(start, start + 2))


def sees_reward_forcing(start: int, frames: int, clean: bool) -> Sees:
    """baselines/methods.md#reward-forcing: 9 frames at their place in the window; what left the window was
    blended into 0-2.
    """
    if start <= 6:
        return Sees(span(0, start + 2), span(0, start + 2), span(start, start + 2), [])
    left = [span(first, first + 2) for first in range(3, start - 5, 3)]
    return Sees(span(0, 2) + span(start - 3, start + 2), span(0, 8), span(6, 8), left)


def sees_a_window(window: int, sink: int) -> SeesRule:
    """baselines/methods.md#sgf: sink and newest frames, at their place among the keys read."""

    def sees(start: int, frames: int, clean: bool) -> Sees:
        end = start + frames - 1
        keys = span(0, end) if end < window else span(0, sink - 1) + span(end - window + sink + 1, end)
        places = span(0, len(keys) - 1)
        return Sees(keys, places, places[-frames:], [])

    return sees


def sees_at_own_frames(window: int, sink: int) -> SeesRule:
    """baselines/methods.md#beyond-the-trained-length: sink and newest frames, each at its own frame."""

    def sees(start: int, frames: int, clean: bool) -> Sees:
        end = start + frames - 1
        keys = span(0, end) if end < window else span(0, sink - 1) + span(end - window + sink + 1, end)
        return at_own_frames(keys, span(start, end))

    return sees


def sees_rolling_forcing(start: int, frames: int, clean: bool) -> Sees:
    """baselines/methods.md#rolling-forcing: clean blocks see up to 21 frames ending in themselves; a joint
    window sees sink, working frames, itself.
    """
    end = start + frames - 1
    if clean:
        return at_own_frames(span(max(0, end - 20), end), span(start, end))
    if start == 0:
        return at_own_frames(span(0, end), span(0, end))
    working = span(max(3, start - (21 - frames - 3)), start - 1)
    sink_at = start - len(working) - 3
    positions = span(sink_at, sink_at + 2) + working + span(start, end)
    return Sees([0, 1, 2, *working, *span(start, end)], positions, span(start, end), [])


OWN_RULE: dict[str, SeesRule] = {
    "longlive": sees_longlive,
    "reward_forcing": sees_reward_forcing,
    "rolling_forcing": sees_rolling_forcing,
    "causal_forcing_long": sees_rolling_forcing,
    **dict.fromkeys(
        ("sgf", "sgf_plus", "opsdv_longlive", "opsdv_self_forcing", "longlive_infinity"), sees_a_window(12, 3)
    ),
    "self_forcing_window21": sees_at_own_frames(21, 0),
    "self_forcing_window21_sink3": sees_at_own_frames(21, 3),
    **dict.fromkeys(("sgf_framewise", "sgf_plus_framewise"), sees_a_window(21, 4)),
}
