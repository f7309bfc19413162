"""Every dimension of every row, with its interval, and why a dimension has no score."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evaluation.dimensions import NAMES, BoundsName
from evaluation.metrics import Metric
from evaluation.text_only_dimensions import ON_REQUEST, TEXT_ONLY
from evaluation.words import numbered
from reports.drawing import SvgFigure, forest, row_dot
from reports.published import read_published
from reports.tables import Power, metric_marks, metric_value, power
from reports.view import View

NEAR = 1.0
"""Points from an end of the scale within which every model must lie for a dimension to be saturated."""

JUDGE = "dynamic_judge"
"""Name of the custom dimension that published ratings stand beside (workflow/scoring/dynamic_judge.py)."""


def unscored_reasons(
    benchmark: BoundsName, asked: Sequence[str], config: Mapping[str, Any], subset: str | None
) -> dict[str, str]:
    """One phrase for each of the sixteen that the run was not asked for.

    config: the suite's settings; subset: what a subset run leaves out.
    """
    own_list = config["prompts"]["list"] is not None
    reasons = {}
    for name in (name for name in NAMES if name not in asked):
        if subset is not None and name in config["dimensions"]:
            reasons[name] = "left out of this subset run"
        elif not own_list:
            reasons[name] = "left out by the suite's settings"
        elif benchmark == "vbench" and name == "human_action":
            reasons[name] = "knows the hundred actions of VBench's own list only"
        elif name in ON_REQUEST[benchmark]:
            reasons[name] = "means something for prompts written for it only; the list asks for it nowhere"
        elif name in TEXT_ONLY[benchmark]:
            reasons[name] = "left out by the suite's settings"
        else:
            reasons[name] = "compares with facts, which the list does not give"
    return reasons


class Saturated(NamedTuple):
    """A dimension that says little of the models, and the normalised scores between which they lie."""

    title: str
    low: float
    high: float


def saturated(view: View) -> dict[str, Saturated]:
    """The dimensions on which every model stands at one end of the scale and none is told apart, by name."""
    found = {}
    for name, metric in view.known.items():
        means = [value.mean for row in view.ranked if (value := metric_value(row, name)) is not None]
        at_an_end = means and (min(means) >= 100.0 - NEAR or max(means) <= NEAR)
        if at_an_end and power(view.run.table, name).separated == 0:
            found[name] = Saturated(metric.title, min(means), max(means))
    return found


def dimensions_figures(view: View, shown: Sequence[Metric]) -> list[SvgFigure]:
    """The normalised scores of all rows with 95 % intervals, a panel a dimension, each on its own scale."""
    trained = list(view.run.curves)
    return [
        forest(
            f"dimension-{metric.name.replace('_', '-')}",
            f"{metric.title} ({', '.join(_kinds(view, metric.name)[:1])})",
            view.rows,
            [row_dot(row, metric_value(row, metric.name), trained) for row in view.rows],
        )
        for metric in shown
    ]


def _inside(view: View, powers: Mapping[str, Power], full: int) -> str:
    """One line: what the dimensions tell of the models."""
    compared = {name: found for name, found in powers.items() if found.compared}
    scored = f"{numbered(len(view.run.table.dimensions) + len(view.run.table.custom), 'dimension')} of "
    text = scored + numbered(len(view.ranked), "model")
    if compared:
        best = max(compared, key=lambda name: compared[name].separated)
        separated, pairs = compared[best].separated, numbered(compared[best].compared, "pair")
        none = sum(found.separated == 0 for found in compared.values())
        if separated:
            text += f": {view.known[best].title} tells most apart ({separated} of {pairs}), "
            text += f"{none} {'tells' if none == 1 else 'tell'} none apart"
        else:
            text += f": none tells any of {pairs} apart"
    return text + (f"; {full} saturated." if full else ".")


def _kinds(view: View, name: str) -> list[str]:
    """Of the scorers that a dimension's cells come from."""
    return sorted({row.dimensions[name].kind for row in view.rows if name in row.dimensions})


def published_judge(view: View) -> dict[str, float]:
    """Published ratings of motion by row, where the run holds the same judge's; empty elsewhere."""
    if JUDGE not in view.known or view.run.settings.bounds != "vbench" or view.run.long is not None:
        return {}
    first = {row: lines[0].totals.dynamic_judge for row, lines in read_published().totals.items()}
    return {row.row: value for row in view.rows if (value := first.get(row.row)) is not None}


def dimensions_section(view: View) -> dict[str, Any]:
    """What dimensions.html.j2 shows."""
    settings, table = view.run.settings, view.run.table
    cells = [cell for row in view.rows for cell in row.dimensions.values()]
    full = saturated(view)
    shown = [metric for name, metric in view.known.items() if name not in full]
    powers = {name: power(table, name) for name in view.known}
    return {
        "inside": _inside(view, powers, len(full)),
        "dimensions": list(view.known.values()),
        "saturated": full,
        "shipped": view.shipped,
        "reasons": unscored_reasons(settings.bounds, table.dimensions, settings.config, table.subset),
        "marks": metric_marks(table),
        "power": powers,
        "kinds": {name: _kinds(view, name) for name in view.known},
        "published_judge": published_judge(view),
        "some_left_out": any(cell.left_out for cell in cells),
        "several_processes": any(cell.several_processes is not None for cell in cells),
        "dimensions_figures": dimensions_figures(
            view, [metric for metric in shown if any(metric.name in row.dimensions for row in view.rows)]
        ),
    }
