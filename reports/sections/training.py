"""Training in this run: what differs between rows of a recipe, curves of every trained row, and the paired
check of each that CM-GRPO trained.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from evaluation.intervals import SMALL
from evaluation.words import numbered
from reports.curves import CurveGroup, HeldOut, HeldOutLine, compare_heldout
from reports.drawing import (
    ACCENT,
    MUTED,
    SERIES,
    Dot,
    SvgFigure,
    draw_dots,
    panel_grid,
    series_style,
    styled,
    to_svg,
)
from reports.run import Run
from reports.sections.audit import flatten
from reports.view import View
from reports.words import and_joined


def moving(groups: Sequence[CurveGroup]) -> list[CurveGroup]:
    """The groups without their curves that never change, which a figure would show as empty panels."""
    kept = [
        CurveGroup(group.name, tuple(curve for curve in group.curves if len(set(curve.values)) > 1))
        for group in groups
    ]
    return [group for group in kept if group.curves]


def constants(groups: Sequence[CurveGroup]) -> list[str]:
    """`student_lr 0.0001` of each curve that never changes."""
    found = [curve for group in groups for curve in group.curves if len(set(curve.values)) == 1]
    return [f"{curve.name} {curve.values[0]:.6g}" for curve in found]


@styled
def curves_figure(row: str, label: str, groups: Sequence[CurveGroup]) -> SvgFigure:
    """Training metrics of one row, a panel a group."""
    columns = min(3, len(groups))
    longest = max(len(group.curves) for group in groups)
    size = (3.6 * columns + 0.3, 2.5 * -(-len(groups) // columns) + 0.15 * longest)
    figure, panels = panel_grid(len(groups), columns, size)
    for axes, group in zip(panels, groups, strict=True):
        for index, curve in enumerate(group.curves):
            style = series_style(index) | {"marker": "o" if len(curve.steps) < 3 else "", "markersize": 3}
            axes.plot(curve.steps, curve.values, label=curve.name, **style)
        axes.set_title(group.name.replace("_", " "), loc="left")
        axes.set_xlabel("step", color=MUTED)
        if len(group.curves) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(-0.05, -0.2), borderaxespad=0, ncols=2)
    described = f"over steps: {', '.join(group.name for group in groups)}"
    return to_svg(figure, f"curves-{row}", f"Training curves of {label}", described)


@styled
def heldout_figure(row: str, lines: Sequence[HeldOutLine]) -> SvgFigure:
    """Paired change of each metric. Filled: part of the reward; hollow: held out."""
    figure, (axes,) = panel_grid(1, 1, (8.0, 0.9 + 0.26 * len(lines)))
    names = [
        f"{line.name.replace('_', ' ')} ({'rewarded' if line.trained else 'held out'})" for line in lines
    ]
    dots = [Dot(line.difference, ACCENT if line.trained else SERIES[0], line.trained) for line in lines]
    draw_dots(axes, names, dots, zero=True)
    axes.set_xlabel("after minus before, same prompts and noise", color=MUTED)
    title = "Change of reward and checkers on held-out prompts with intervals corrected as the tests are"
    return to_svg(figure, f"heldout-{row}", title, "numbers in the table")


class RecipeTable(NamedTuple):
    """The training settings that are not the same in all rows of a recipe."""

    recipe: str
    labels: list[str]
    """Of its rows."""
    lines: list[tuple[str, list[str]]]
    """A setting, and its value in each row; a dash where the row has none."""


class HeldOutCheck(NamedTuple):
    """The paired check of one row."""

    record: HeldOut
    lines: list[HeldOutLine]
    figure: SvgFigure


def recipe_tables(run: Run) -> list[RecipeTable]:
    """One of each recipe that several rows were trained by, in the order of the rows."""
    tables = []
    plans: dict[str, dict[str, Any]] = run.settings.config["train"]
    for recipe in dict.fromkeys(plan["recipe"] for plan in plans.values()):
        found = {
            row: flatten(settings.settings["training"])
            for row, settings in run.settings.rows.items()
            if row in plans and plans[row]["recipe"] == recipe and "training" in settings.settings
        }
        keys = dict.fromkeys(key for values in found.values() for key in values)
        lines = [(key, [values.get(key, "-") for values in found.values()]) for key in keys]
        if lines:
            tables.append(RecipeTable(recipe, [run.label(row) for row in found], lines))
    return tables


def training_section(view: View) -> dict[str, Any]:
    """What training.html.j2 shows."""
    run = view.run
    compared = [(record, compare_heldout(record)) for record in run.heldout]
    last = {
        row: max(step for group in groups for curve in group.curves for step in curve.steps)
        for row, groups in run.curves.items()
        if groups
    }
    steps = [f"{run.label(row)} ({numbered(round(step), 'step')})" for row, step in last.items()]
    checked = [numbered(len(lines), "held-out metric") + " compared" for _, lines in compared if lines]
    return {
        "inside": "; ".join([and_joined(steps), *checked]) + "."
        if steps
        else "No row was trained in this run.",
        "recipes": recipe_tables(run),
        "curves": {
            row: curves_figure(row, run.label(row), moving(groups)) if moving(groups) else None
            for row, groups in run.curves.items()
            if groups
        },
        "constants": {row: constants(groups) for row, groups in run.curves.items()},
        "checks": [
            HeldOutCheck(record, lines, heldout_figure(record.after, lines))
            for record, lines in compared
            if lines
        ],
        "label": run.label,
        "small": SMALL,
    }
