"""Figures: names of rows never take the room of what is drawn, and never become one another's."""

import pytest

from evaluation.records import Interval
from reports.drawing import Dot, draw_dots, panel_grid, plot_names, styled

TEACHER = "Wan2.1 1.3B, 50 steps (guidance 3), first sample of each prompt"
NAMES = {
    "short ones stay": (["RAVEN", "Causal Forcing (chunk-wise)"], ["RAVEN", "Causal Forcing (chunk-wise)"]),
    "cut behind a word": ([TEACHER], ["Wan2.1 1.3B, 50 steps\u2026"]),
    "one long word": (["x" * 99], ["x" * 27 + "\u2026"]),
    "alike at the beginning": (
        ["RAVEN trained on everything, seed 1", "RAVEN trained on everything, seed 2"],
        ["RAVEN trained\u2026ything, seed 1", "RAVEN trained\u2026ything, seed 2"],
    ),
    "alike but in the middle": (
        ["a" * 40 + "1" + "b" * 40, "a" * 40 + "2" + "b" * 40],
        [f"{n}: {'a' * 12}\u2026{'b' * 12}" for n in (1, 2)],
    ),
    "alike": (["x", "x"], ["1: x", "2: x"]),
    "none": ([], []),
}


@pytest.mark.parametrize(("names", "drawn"), NAMES.values(), ids=NAMES)
def test_names_are_cut_and_stay_apart(names: list[str], drawn: list[str]) -> None:
    assert plot_names(names) == drawn
    assert len(set(drawn)) == len(drawn)


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("name", [TEACHER, "W" * 100, "\u5b57" * 60, "a b " * 25])
@styled
def test_a_panel_keeps_half_of_its_width_whatever_rows_are_called(name: str) -> None:
    """A teacher's name left 8 of 324 points to the total's figure."""
    figure, (axes,) = panel_grid(1, 1, (4.5, 1.5))
    dot = Dot(Interval(mean=50.0, low=40.0, high=60.0), "black", filled=True)
    draw_dots(axes, [name, "RAVEN"], [dot, dot])
    figure.draw_without_rendering()
    assert axes.get_position().width > 0.45
