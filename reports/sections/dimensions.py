"""Every dimension of every row, with its interval, and why a dimension has no score."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.dimensions import NAMES, BoundsName
from evaluation.text_only_dimensions import ON_REQUEST, TEXT_ONLY
from reports.drawing import SvgFigure, draw_dots, panel_grid, row_dot, styled, to_svg
from reports.published import read_published
from reports.tables import metric_marks, metric_value, power
from reports.view import View

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


@styled
def dimensions_figure(view: View) -> SvgFigure:
    """A forest plot a dimension: the normalised scores of all rows with 95 % intervals.

    All are on the scale 0..100 where a control shows its ends. Otherwise each has its own scale, since good
    rows differ by few points.
    """
    rows, shown, trained = view.rows, list(view.known.values()), list(view.run.curves)
    size = (12.5, -(-len(shown) // 4) * (0.62 + 0.19 * len(rows)))
    figure, panels = panel_grid(len(shown), 4, size, sharey=True)
    for axes, metric in zip(panels, shown, strict=True):
        values = [metric_value(row, metric.name) for row in rows]
        dots = [row_dot(row, value, trained) for row, value in zip(rows, values, strict=True)]
        draw_dots(axes, [row.label for row in rows], dots)
        low = min((value.low for value in values if value is not None), default=0.0)
        high = max((value.high for value in values if value is not None), default=100.0)
        if view.has_controls or all(value is None for value in values):
            axes.set_xlim(min(-2.0, low - 2), max(102.0, high + 2))
        else:
            room = max(0.08 * (high - low), 0.05)
            axes.set_xlim(low - room, high + room)
        axes.set_title(
            f"{metric.title} ({', '.join(_kinds(view, metric.name)[:1]) or 'not scored'})", loc="left"
        )
    title = f"Normalised score of every row in {len(shown)} dimensions with 95 percent intervals"
    return to_svg(figure, "dimensions", title, "numbers in the table")


def _kinds(view: View, name: str) -> list[str]:
    """Of the scorers that a dimension's cells come from."""
    return sorted({row.dimensions[name].kind for row in view.rows if name in row.dimensions})


def published_judge(view: View) -> dict[str, float]:
    """Published ratings of motion by row, where the run holds the same judge's; empty elsewhere."""
    if JUDGE not in view.known or view.run.settings.bounds != "vbench":
        return {}
    first = {row: lines[0].totals.dynamic_judge for row, lines in read_published().items()}
    return {row.row: value for row in view.rows if (value := first.get(row.row)) is not None}


def dimensions_section(view: View) -> dict[str, Any]:
    """What dimensions.html.j2 shows."""
    settings, table = view.run.settings, view.run.table
    cells = [cell for row in view.rows for cell in row.dimensions.values()]
    return {
        "dimensions": list(view.known.values()),
        "shipped": view.shipped,
        "reasons": unscored_reasons(settings.bounds, table.dimensions, settings.config, table.subset),
        "marks": metric_marks(table),
        "power": {name: power(table, name) for name in view.known},
        "kinds": {name: _kinds(view, name) for name in view.known},
        "published_judge": published_judge(view),
        "some_left_out": any(cell.left_out for cell in cells),
        "several_processes": any(cell.several_processes is not None for cell in cells),
        "dimensions_figure": dimensions_figure(view),
        "has_controls": view.has_controls,
    }
