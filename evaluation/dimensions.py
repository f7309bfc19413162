"""The sixteen dimensions: group, weight, normalisation bounds, in VBench's own order. Numbers only.

Bounds are in percent of the raw score, as published tables print it; a raw score of 0.982 is 98.2. The
official ones are VBench's constants (evaluation/vbench/README.md#results-and-totals), retyped as data.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Group = Literal["quality", "semantic"]
BoundsName = Literal["toybox", "vbench"]
QUALITY_SHARE = 4.0  # Total = (4 Quality + Semantic) / 5
SEMANTIC_SHARE = 1.0


class Bounds(NamedTuple):
    """Raw scores (percent) that normalise to 0 and to 100. Scores outside are not clipped."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One of the sixteen."""

    name: str
    group: Group
    weight: float
    vbench: Bounds
    toybox: Bounds
    lowest: float = 0.0
    """Smallest raw value (fraction) that VBench's scorer can return; toybox's is 0, and the largest 1."""

    @property
    def title(self) -> str:
        """`multiple_objects` -> `multiple objects`, the key VBench's own tables use."""
        return self.name.replace("_", " ")

    def bounds(self, benchmark: BoundsName) -> Bounds:
        """Those of a benchmark."""
        return self.toybox if benchmark == "toybox" else self.vbench


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
