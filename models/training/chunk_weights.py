"""Loss weights of RAVEN's chunks (models/training/methods.md#chunk-weights). No torch: settings use them."""

import math
import re
from collections.abc import Sequence
from statistics import NormalDist

WELL_FORMED = re.compile(r"[a-z]+(_-?[0-9]+(\.[0-9]+)?)+")


def chunk_weights(chunks: Sequence[int], rule: float | str | None) -> tuple[float, ...]:
    """Weight of each chunk, for chunks of these frame counts; the mean over frames is 1.

    rule: None or 0 (equal); alpha > 0 (early chunks heavier); alpha < 0 (late chunks heavier); "ln_LOC_SCALE"
    (logit-normal mass); "mode_S". Raises ValueError for another rule or a negative weight.
    """
    total = sum(chunks)
    part = [sum(chunks[k:]) / total for k in range(len(chunks))]
    after = [*part[1:], 0.0]
    if rule is None or rule == 0:
        raw = [1.0] * len(chunks)
    elif isinstance(rule, str):
        raw = _density(rule, part, after)
    elif rule > 0:
        raw = [rule * p / (1 + (rule - 1) * p) for p in part]
    else:
        ratio = [part[-1] / p for p in part]
        raw = [-rule * r / (1 + (-rule - 1) * r) for r in ratio]
    if min(raw) < 0:
        raise ValueError(f"chunk weighting {rule!r} gives negative weights {raw} for chunks {tuple(chunks)}.")
    scale = total / sum(w * n for w, n in zip(raw, chunks, strict=True))
    return tuple(w * scale for w in raw)


def frame_weights(chunks: Sequence[int], rule: float | str | None) -> list[float]:
    """Weight of each latent frame: that of its chunk."""
    return [w for w, n in zip(chunk_weights(chunks, rule), chunks, strict=True) for _ in range(n)]


def _density(rule: str, part: list[float], after: list[float]) -> list[float]:
    """Mass of each chunk, from `part` to `after` of the clip still to come, over its length."""
    name, *numbers = rule.split("_") if WELL_FORMED.fullmatch(rule) else ("",)
    if name == "ln" and len(numbers) == 2 and float(numbers[1]) > 0:
        loc, scale = float(numbers[0]), float(numbers[1])
        mass = [
            _logit_normal(p, loc, scale) - _logit_normal(q, loc, scale)
            for p, q in zip(part, after, strict=True)
        ]
    elif name == "mode" and len(numbers) in (1, 2):
        strength = float(".".join(numbers))
        if not -1 <= strength <= 2 / (math.pi - 2):
            raise ValueError(
                f"chunk weighting {rule!r} has no inverse; 'mode_S' takes a strength -1 to 1.75, where its "
                "map only falls."
            )
        mass = [
            _mode_inverse(q, strength) - _mode_inverse(p, strength) for p, q in zip(part, after, strict=True)
        ]
    else:
        raise ValueError(
            f"chunk weighting {rule!r} is unknown; allowed are a number, 'ln_LOC_SCALE', 'mode_S' or null."
        )
    return [m / (p - q) for m, p, q in zip(mass, part, after, strict=True)]


def _logit_normal(x: float, loc: float, scale: float) -> float:
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    return NormalDist().cdf((math.log(x / (1 - x)) - loc) / scale)


def _mode_inverse(value: float, strength: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(32):
        middle = (low + high) / 2
        there = 1 - middle - strength * (math.cos(math.pi * middle / 2) ** 2 - 1 + middle)
        low, high = (middle, high) if there > value else (low, middle)
    return (low + high) / 2
