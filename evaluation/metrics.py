"""Everything that a run is scored on, described alike: the sixteen dimensions, then custom ones.

Tables, figures and statistics go through these descriptions; only the totals know the sixteen by name.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from evaluation.dimensions import DIMENSIONS, NAMES, BoundsName
from evaluation.records import CustomDimension, Prompt
from evaluation.selection import serves

CUSTOM_GROUP: Final = "custom"


def fewest_draws(ranked: int, custom: int) -> int:
    """Bootstrap draws below which no test could be significant after Holm's correction: 40 for each test of
    the largest family. ranked: rows that are compared with each other, and each with every control; custom:
    dimensions beside the sixteen.
    """
    return 40 * max(math.comb(ranked, 2), ranked, len(NAMES), custom)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One line of the tables."""

    name: str
    title: str
    group: Literal["quality", "semantic", "custom"]
    unit: str
    """Of shown raw scores."""
    factor: float
    """Shown raw score = factor x recorded value."""
    low: float
    """Shown raw score that normalises to 0; it lies above `high` where less is better."""
    high: float
    """Shown raw score that normalises to 100."""
    lowest: float
    """Recorded value that a correct scorer can return at least."""
    highest: float
    prompts: str
    """The dimension whose prompts it is scored on, or ALL_PROMPTS of evaluation/selection.py."""
    unfiltered: bool = False
    """Whether it is scored on samples that the static filter did not keep, too."""

    @property
    def scale(self) -> float:
        """Normalised points per shown raw unit; negative where less is better."""
        return 100.0 / (self.high - self.low)

    @property
    def ends(self) -> tuple[float, float]:
        """Ends of the scale of shown raw scores, which the benchmark's scorer cannot leave."""
        return self.factor * self.lowest, self.factor * self.highest

    def normalise(self, shown: float) -> float:
        """Percent of the way from `low` to `high` of a shown raw score."""
        return self.scale * (shown - self.low)

    def serves(self, prompt: Prompt) -> bool:
        """Whether the clips of a prompt are scored on it."""
        return serves(self.prompts, prompt)


def metrics(bounds: BoundsName, custom: Sequence[CustomDimension] = ()) -> dict[str, Metric]:
    """All metrics by name: the sixteen in VBench's order, then custom ones in the suite's."""
    official = {
        d.name: Metric(
            name=d.name, title=d.title, group=d.group, unit="%", factor=100.0, prompts=d.name,
            low=d.bounds(bounds).low, high=d.bounds(bounds).high,
            lowest=d.lowest if bounds == "vbench" else 0.0, highest=1.0,
        )
        for d in DIMENSIONS
    }  # fmt: skip
    return official | {
        d.name: Metric(
            name=d.name, title=d.title, group=CUSTOM_GROUP, unit=d.unit, factor=1.0, prompts=d.prompts,
            unfiltered=d.clips == "all", low=d.worst, high=d.best,
            lowest=min(d.worst, d.best), highest=max(d.worst, d.best),
        )
        for d in custom
    }  # fmt: skip
