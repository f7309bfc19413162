"""What the controls say: how many models stand above a clip with a known answer, by the paired tests."""

from typing import Any, NamedTuple

from evaluation.aggregate import TOTALS
from evaluation.intervals import LEVEL
from evaluation.records import RowSummary
from evaluation.words import numbered
from reports.drawing import Dot, SvgFigure, forest, plot_names, row_colour
from reports.tables import control_sources
from reports.view import View


class Standing(NamedTuple):
    """Where one control stands among the models on one metric: labels of models, highest first."""

    above: list[str]
    """Models that the control is significantly above."""
    tied: list[str]
    """Models that it cannot be told from."""
    below: list[str]

    @property
    def compared(self) -> int:
        return len(self.above) + len(self.tied) + len(self.below)

    @property
    def telling(self) -> bool:
        """Whether it is neither above all models nor below all of them."""
        return self.compared not in (0, len(self.above), len(self.below))

    def __str__(self) -> str:
        """`is above 4 of 9 models and not distinguishable from 5`."""
        if self.compared in (len(self.above), len(self.below)):
            side = "above" if self.above else "below"
            return (
                f"is {side} {'all ' if self.compared > 1 else 'the only '}{numbered(self.compared, 'model')}"
            )
        parts = [
            f"{how} {len(found)}"
            for how, found in (
                ("above", self.above),
                ("not distinguishable from", self.tied),
                ("below", self.below),
            )
            if found
        ]
        first, *rest = parts
        whole = f"{first} of {numbered(self.compared, 'model')}"
        if not rest:
            whole = f"not distinguishable from any of {numbered(self.compared, 'model')}"
        return "is " + " and ".join(filter(None, [", ".join([whole, *rest[:-1]]), *rest[-1:]]))


def standing(view: View, control: str, metric: str) -> Standing:
    """By the paired tests of every model against this control."""
    found = Standing([], [], [])
    for row in view.ranked:
        pair = view.pairs.find(row.row, control, metric)
        if pair is not None:
            difference, p_value = pair
            side = found.tied if p_value >= LEVEL else found.below if difference.mean > 0 else found.above
            side.append(row.label)
    return found


class Said(NamedTuple):
    """A control that was compared by its total."""

    row: RowSummary
    standing: Standing

    def __str__(self) -> str:
        """`Noise (55.06) is above 1 of 4 models and below 3`."""
        return f"{self.row.label} ({self.row.totals['total'].mean:.2f}) {self.standing}"


def said_of_controls(view: View) -> list[Said]:
    """Every control that has a total beside models that have one, the highest first."""
    controls = [line.summary for line in view.main.controls if line.summary.total is not None]
    found = [Said(row, standing(view, row.row, "total")) for row in controls]
    return sorted(
        (one for one in found if one.standing.compared), key=lambda one: -one.row.totals["total"].mean
    )


def controls_figures(view: View, said: list[Said]) -> list[SvgFigure]:
    """Every model minus a control, a panel a control that is among the models."""
    rows = [row for row in view.ranked if row.total is not None]
    figures = []
    for one in said:
        if one.standing.telling:
            dots = []
            for row in rows:
                pair = view.pairs.find(row.row, one.row.row, "total")
                colour = row_colour(row, list(view.run.curves))
                dots.append(pair and Dot(pair[0], colour, filled=pair[1] < LEVEL))
            (name,) = plot_names([one.row.label])
            figures.append(
                forest(
                    f"control-{one.row.row.replace('_', '-')}", f"minus: {name}", rows, dots,
                    xlabel=f"points of {view.total_name}, model minus control", zero=True,
                    described="filled dots differ from the control, hollow ones do not; right of zero the "
                    "model is above it",
                )
            )  # fmt: skip
    return figures


def controls_section(view: View) -> dict[str, Any]:
    """What controls.html.j2 shows."""
    said = said_of_controls(view)
    controls = [line.summary for line in view.main.controls]
    by_metric = {
        name: {row.row: standing(view, row.row, name) for row in controls} for name in (*TOTALS, *view.known)
    }
    return {
        "main": view.main,
        "pairs": view.pairs,
        "level": LEVEL,
        "said": said,
        "controls": controls,
        "by_metric": {
            name: found for name, found in by_metric.items() if any(s.compared for s in found.values())
        },
        "titles": {"total": view.total_name, "quality": "Quality", "semantic": "Semantic"}
        | {name: metric.title for name, metric in view.known.items()},
        "controls_figures": controls_figures(view, said),
        "made_controls": control_sources(view.run.table),
    }
