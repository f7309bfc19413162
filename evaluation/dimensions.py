"""The sixteen dimensions: group, weight, normalisation bounds, in VBench's own order. Numbers only.

Bounds are in percent of the raw score, as published tables print it; a raw score of 0.982 is 98.2. The
official ones are VBench's constants (evaluation/vbench/README.md#results-and-totals), retyped as data.
"""

from dataclasses import dataclass
from typing import Literal

Group = Literal["quality", "semantic"]
QUALITY_SHARE = 4.0  # Total = (4 Quality + Semantic) / 5
SEMANTIC_SHARE = 1.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """Raw scores (percent) that normalise to 0 and to 100. Scores outside are not clipped."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.high > self.low:
            raise ValueError(
                f"Bounds({self.low}, {self.high}): the upper bound must lie above the lower one."
            )

    def normalise(self, raw: float) -> float:
        """Percent of the way from `low` to `high`; raw in percent."""
        return 100.0 * (raw - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One of the sixteen."""

    name: str
    group: Group
    weight: float
    vbench: Bounds
    toybox: Bounds
    lowest: float = 0.0
    """Smallest raw value (fraction) that a correct scorer can return; the largest is 1 for all."""

    @property
    def title(self) -> str:
        """`multiple_objects` -> `multiple objects`, the key VBench's own tables use."""
        return self.name.replace("_", " ")


WHOLE = Bounds(0.0, 100.0)


def _quality(name: str, vbench: Bounds, toybox: Bounds = WHOLE, *, weight: float = 1.0) -> Dimension:
    return Dimension(name=name, group="quality", weight=weight, vbench=vbench, toybox=toybox)


def _semantic(name: str, vbench: Bounds, toybox: Bounds = WHOLE, *, lowest: float = 0.0) -> Dimension:
    return Dimension(name=name, group="semantic", weight=1.0, vbench=vbench, toybox=toybox, lowest=lowest)


# Toybox bounds are constants chosen once from the controls: noise scores 0.00 to 0.09 in every dimension but
# temporal_flickering, whose formula gives it 0.692; rendered truth scores 0.96 to 1.00 in all.
# The three cosine dimensions (lowest = -1) may be slightly negative in the official scorer.
DIMENSIONS: tuple[Dimension, ...] = (
    _quality("subject_consistency", Bounds(14.62, 100.0)),
    _quality("background_consistency", Bounds(26.15, 100.0)),
    _quality("temporal_flickering", Bounds(62.93, 100.0), Bounds(69.0, 100.0)),
    _quality("motion_smoothness", Bounds(70.60, 99.75)),
    _quality("dynamic_degree", WHOLE, weight=0.5),
    _quality("aesthetic_quality", WHOLE),
    _quality("imaging_quality", WHOLE),
    _semantic("object_class", WHOLE),
    _semantic("multiple_objects", WHOLE),
    _semantic("human_action", WHOLE),
    _semantic("color", WHOLE),
    _semantic("spatial_relationship", WHOLE),
    _semantic("scene", Bounds(0.0, 82.22)),
    _semantic("appearance_style", Bounds(0.09, 28.55), lowest=-1.0),
    _semantic("temporal_style", Bounds(0.0, 36.40), lowest=-1.0),
    _semantic("overall_consistency", Bounds(0.0, 36.40), lowest=-1.0),
)
BY_NAME: dict[str, Dimension] = {dimension.name: dimension for dimension in DIMENSIONS}
NAMES: tuple[str, ...] = tuple(BY_NAME)

BoundsName = Literal["toybox", "vbench"]


def bounds_of(dimension: str, bounds: BoundsName) -> Bounds:
    """The named table's bounds of one dimension. Raises ValueError for a name that is none of the sixteen."""
    if dimension not in BY_NAME:
        raise ValueError(f"{dimension!r} is not a dimension; expected one of {', '.join(NAMES)}.")
    row = BY_NAME[dimension]
    return {"toybox": row.toybox, "vbench": row.vbench}[bounds]
