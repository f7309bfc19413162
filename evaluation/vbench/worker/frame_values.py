"""Values of single pixel frames in the rows of a fast path, which the package's own rows lack. Standard
library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

FRAME_VALUES = "frame_values"
"""Key of a row: a list with one value for every pixel frame of the clip, a fraction, null where a frame has
none. Their mean is the clip's value up to rounding."""


def without_frame_values(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows as the package has them."""
    return [{key: value for key, value in row.items() if key != FRAME_VALUES} for row in rows]
