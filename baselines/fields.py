"""Kinds of values that several parts of a baseline's file have: counts, names, lists that fall."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal

from pydantic import Field

Dtype = Literal["bfloat16", "float32"]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Timestep = Annotated[int, Field(ge=1, le=1000)]
FileSha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ROW_NAME = r"^[a-z0-9_]+$"
RowName = Annotated[str, Field(pattern=ROW_NAME)]


def unique(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names. Raises ValueError if one is there twice."""
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"{', '.join(doubled)} is listed more than once; list it once")
    return names


def falling(steps: tuple[Any, ...]) -> tuple[Any, ...]:
    """The timesteps. Raises ValueError unless each is below the one before."""
    if any(later >= earlier for earlier, later in itertools.pairwise(steps)):
        raise ValueError(
            f"{', '.join(map(str, steps))} do not fall; a clip goes from noise to none, so order them"
        )
    return steps
