"""Small pieces of sentences that several sections of the report share."""

from collections.abc import Sequence

from evaluation.files import one_line
from evaluation.intervals import LEVEL

COUNTS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip


def count_word(count: int) -> str:
    """The number as a word up to twelve, else in digits."""
    return COUNTS[count] if count < len(COUNTS) else f"{count:,}"


def numbered(count: int, noun: str) -> str:
    """`1 model` or `1,200 models`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


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
