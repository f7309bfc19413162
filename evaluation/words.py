"""Counts with their nouns, in sentences that a person reads. The page's script has the same (words.js)."""


def numbered(count: float, noun: str) -> str:
    """`1 model`, `1,200 models` or `2.25 samples`."""
    shown = f"{count:,}" if isinstance(count, int) else f"{count:,.3g}"
    return f"{shown} {noun}{'' if count == 1 else 's'}"
