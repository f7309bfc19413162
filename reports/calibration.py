"""Our scores of official clips beside the values that VBench's board prints for them: the scorer's own error.

Whoever calibrates copies the board's values into a CSV (`dimension,value`, raw percent), since nothing here
uses a network, and no value of the board is shipped.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from evaluation.aggregate import TOTALS, totals
from evaluation.dimensions import BY_NAME, NAMES
from evaluation.files import read_table
from evaluation.metrics import metrics
from evaluation.records import Interval, RowSummary

SPARE_PERCENT = 0.4
"""Percent by which float16 cosines exceed the ends of their scale."""
BOARD_COLUMNS = ("dimension", "ours", "low", "high", "board", "delta", "inside")


class BoardMean(NamedTuple):
    """One number of both sides, in percent: raw of a dimension, of the formula of a total."""

    name: str
    ours: Interval
    board: float


def read_board(text: str, where: str) -> dict[str, float]:
    """The board's values by dimension, raw percent. where: the file's name.

    Raises ValueError for other columns, a dimension that is none or comes twice, and a value that is no
    percentage: the board's JSON has fractions, which would all be below 1.
    """
    table = read_table(text, where)
    if table.columns != ["dimension", "value"]:
        raise ValueError(
            f"{where} has the columns {table.columns}, expected dimension,value; correct its first line."
        )
    found: dict[str, float] = {}
    for line, cells in table.rows:
        name = cells["dimension"].lower().replace(" ", "_")
        if name not in NAMES or name in found:
            twice = "comes twice" if name in found else f"is none of {', '.join(NAMES)}"
            raise ValueError(f"{where} line {line}: {cells['dimension']!r} {twice}; correct it.")
        try:
            value = float(cells["value"].removesuffix("%"))
        except ValueError as error:
            raise ValueError(f"{where} line {line}: {cells['value']!r} is no number; correct it.") from error
        if (
            not 100 * BY_NAME[name].lowest - SPARE_PERCENT <= value <= 100 + SPARE_PERCENT
        ):  # also false for NaN
            raise ValueError(
                f"{where} line {line}: {value} is no percentage that {name} can have; correct it."
            )
        found[name] = value
    if not found or max(found.values()) <= 1.0:
        raise ValueError(f"{where} holds no percentages of 1 and more; write 97.47, not 0.9747.")
    return found


def beside_board(row: RowSummary, board: Mapping[str, float]) -> list[BoardMean]:
    """What both sides have, totals first where the board's sixteen and ours are whole.

    Raises ValueError for a dimension of the board that the row was not scored on.
    """
    if lost := [name for name in board if name not in row.dimensions]:
        raise ValueError(
            f"Row {row.row} has no score of {lost[0]}, which the board has; score it, or take it out of the "
            "board's file."
        )
    known = metrics("vbench")
    both = [BoardMean(name, row.dimensions[name].raw, board[name]) for name in NAMES if name in board]
    if row.totals and len(board) == len(NAMES):
        normalised = {name: np.asarray(known[name].normalise(value)) for name, value in board.items()}
        theirs = totals(normalised)._asdict()
        both = [BoardMean(name, row.totals[name], float(theirs[name])) for name in TOTALS] + both
    return both


def board_frame(both: list[BoardMean]) -> pd.DataFrame:
    """A line a number: ours with its 95 % interval over prompts, the board's, ours minus the board's, and
    whether the board's lies inside the interval.
    """
    lines = [
        (one.name, one.ours.mean, one.ours.low, one.ours.high, one.board, one.ours.mean - one.board,
         one.ours.low <= one.board <= one.ours.high)
        for one in both
    ]  # fmt: skip
    return pd.DataFrame(lines, columns=list(BOARD_COLUMNS))
