"""The static filter: how many samples of each row were found static, and which were kept."""

from typing import Any

from evaluation.words import numbered
from reports.drawing import MUTED, SvgFigure, panel_grid, plot_names, series_style, styled, to_svg
from reports.view import View


@styled
def filter_figure(view: View) -> SvgFigure | None:
    """How many prompts have at least n static samples, a line a row. None unless models differ in that."""
    found = [f for f in view.run.filters if f.filtered and f.threshold is not None]
    models = {row.row for row in view.ranked}
    counts = {
        tuple(sorted(sum(line.static) for line in entry.filtered)) for entry in found if entry.row in models
    }
    if len(counts) < 2:
        return None
    most = max(len(line.motion) for entry in found for line in entry.filtered)
    figure, (axes,) = panel_grid(1, 1, (8.0, 3.6))
    names = plot_names([view.run.label(entry.row) for entry in found])
    for index, (name, entry) in enumerate(zip(names, found, strict=True)):
        static = [sum(line.static) for line in entry.filtered]
        prompts = [sum(count >= n for count in static) for n in range(most + 1)]
        axes.plot(range(most + 1), prompts, label=name, **series_style(index))
    axes.set_xlim(0, most)
    axes.set_ylim(0, max(len(entry.filtered) for entry in found) * 1.04)
    axes.set_xlabel("static samples of a prompt, at least", color=MUTED)
    axes.set_ylabel("prompts", color=MUTED)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return to_svg(
        figure,
        "static",
        "Number of prompts with at least so many static samples, by row",
        "a line that falls early has few still samples; numbers in the table",
    )


def static_filter_section(view: View) -> dict[str, Any]:
    """What static_filter.html.j2 shows."""
    filters = [entry for entry in view.run.filters if entry.threshold is not None]
    models = {row.row for row in view.ranked}
    entries = [entry for entry in filters if entry.row in models and entry.filtered]
    samples = [sum(len(line.static) for line in entry.filtered) for entry in entries]
    static = [sum(sum(line.static) for line in entry.filtered) for entry in entries]
    short = sum(any(line.short for line in entry.filtered) for entry in entries)
    return {
        "inside": f"{min(static)} to {max(static)} of {max(samples)} samples of a model are static; "
        f"{numbered(short, 'model')} had too few of some prompt."
        if entries
        else "No prompt of a model was filtered.",
        "filters": filters,
        "foreign": [view.run.label(f.row) for f in view.run.filters if f.threshold is None and f.filtered],
        "filter_figure": filter_figure(view),
    }
