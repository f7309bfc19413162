"""Small pieces of sentences that several sections of the report share."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.files import one_line
from evaluation.intervals import LEVEL

EMBEDDED_STRIDE = 4
"""Pixels of a latent's side in the embedded world (models/embedded)."""
COUNTS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip


def count_word(count: int) -> str:
    """The number as a word up to twelve, else in digits."""
    return COUNTS[count] if count < len(COUNTS) else f"{count:,}"


def commit_text(provenance: Mapping[str, Any], digits: int) -> str:
    """`commit 0906d9e with changes`; of an unpacked archive, `not a git checkout`."""
    if provenance["dirty"] is None:
        return str(provenance["commit"])
    return f"commit {provenance['commit'][:digits]}{' with changes' if provenance['dirty'] else ''}"


def picture_size(config: Mapping[str, Any]) -> str:
    """Of a suite's clips: `32 x 32 pixels, upscaled to 128 x 128`, or `832 x 480 pixels` as they are made.

    config: the suite's configuration.
    """
    clip, model = config["clip"], config["model"]
    shown = f"{clip['width']} x {clip['height']}"
    made = f"{EMBEDDED_STRIDE * model['latent_width']} x {EMBEDDED_STRIDE * model['latent_height']}"
    if config["benchmark"] != "toybox" or made == shown:
        return f"{shown} pixels"
    return f"{made} pixels, upscaled to {shown}"


def and_joined(items: Sequence[str]) -> str:
    """`a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def foreign(text: str) -> str:
    """Words of others on one line, in which no citation and no heading begins."""
    return one_line(text).replace("[@", "[ @").replace("##", "# #")


def p_text(p_value: float) -> str:
    """`p = 0.012`; never rounded up to the level of the tests, nor down to 0."""
    if p_value < 0.001:
        return "p < 0.001"
    return "p < 0.05" if p_value < LEVEL <= round(p_value, 3) else f"p = {p_value:.3f}"
