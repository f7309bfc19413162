"""How the total is built: bounds and share of every dimension."""

from typing import Any, NamedTuple

from evaluation.dimensions import DIMENSIONS, BoundsName, Dimension
from evaluation.words import numbered
from reports.view import View

GROUP_SHARES = {"quality": 80.0, "semantic": 20.0}


class FormulaLine(NamedTuple):
    """How a dimension enters the total: its bounds, and its share of Total in percent."""

    dimension: Dimension
    low: float
    high: float
    share: float


def formula(bounds: BoundsName) -> list[FormulaLine]:
    """The sixteen lines. Their shares add up to 100."""
    weights = {group: sum(d.weight for d in DIMENSIONS if d.group == group) for group in GROUP_SHARES}
    lines = []
    for d in DIMENSIONS:
        share = GROUP_SHARES[d.group] * d.weight / weights[d.group]
        lines.append(FormulaLine(d, *d.bounds(bounds), share))
    return lines


def formula_section(view: View) -> dict[str, Any]:
    """What formula.html.j2 shows."""
    lines = formula(view.run.settings.bounds)
    return {
        "inside": f"{view.total_name} = (4 Quality + Semantic) / 5, from bounds and weights of "
        f"{numbered(len(lines), 'dimension')}.",
        "formula": lines,
    }
