"""The main table, published totals beside it, and the figure of totals."""

from collections.abc import Sequence
from typing import Any

from evaluation.aggregate import TOTALS
from evaluation.intervals import LEVEL
from evaluation.records import RowSummary
from reports.drawing import SvgFigure, draw_dots, panel_grid, row_dot, styled, to_svg
from reports.published import PublishedLine, read_published
from reports.sections.cost import cost_line, estimate_of
from reports.tables import metric_marks, metric_value
from reports.view import View


@styled
def totals_figure(rows: Sequence[RowSummary], trained: Sequence[str], total_name: str) -> SvgFigure:
    """Total, Quality and Semantic with 95 % intervals. trained: rows in the accent colour."""
    figure, panels = panel_grid(3, 3, (10.5, 1.0 + 0.24 * len(rows)), sharey=True)
    for axes, metric, title in zip(panels, TOTALS, (total_name, "Quality", "Semantic"), strict=True):
        dots = [row_dot(row, metric_value(row, metric), trained) for row in rows]
        draw_dots(axes, [row.label for row in rows], dots)
        axes.set_title(title, loc="left")
    title = "Total, Quality and Semantic of every row with 95 percent intervals"
    return to_svg(figure, "totals", title, "numbers in the table")


def scores_section(view: View) -> dict[str, Any]:
    """What scores.html.j2 shows."""
    run = view.run
    complete = [row for row in view.rows if row.total is not None]
    published: dict[str, list[PublishedLine]] = read_published() if run.settings.bounds == "vbench" else {}
    return {
        "main": view.main,
        "shipped": view.shipped,
        "dimensions": list(view.known.values()),
        "level": LEVEL,
        "marks": metric_marks(run.table),
        "published": {row.row: published[row.row] for row in view.rows if row.row in published},
        "speed": run.speed,
        "cost_line": cost_line(estimate_of(run), run.measured),
        "totals_figure": totals_figure(complete, list(run.curves), view.total_name) if complete else None,
    }
