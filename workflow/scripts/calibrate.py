"""Put our scores of a model's official clips beside the values of VBench's board: delta and interval of each
dimension, and of the totals. workflow/calibration.md says how the clips get there.

raven-bench calibrate results/calibration --row official_clips --board board.csv
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import command, run
from evaluation.files import utf8_text, write_text
from evaluation.finished_run import read_finished_run
from evaluation.results import csv_text
from reports.calibration import beside_board, board_frame, read_board


def calibrate(flags: argparse.Namespace) -> None:
    """Print the table, and write it as CSV if asked to."""
    board = read_board(utf8_text(flags.board.read_bytes(), str(flags.board)), str(flags.board))
    table = read_finished_run(flags.results).table
    if table.benchmark != "vbench":
        raise ValueError(f"{flags.results} is of the {table.benchmark} benchmark, which is on no board.")
    rows = {row.row: row for row in table.rows}
    if flags.row not in rows:
        raise ValueError(f"There is no row {flags.row!r} in {flags.results}; there are {', '.join(rows)}.")
    frame = board_frame(beside_board(rows[flags.row], board))
    print(frame.to_string(index=False, float_format=lambda value: f"{value:.2f}"))
    outside = list(frame.loc[~frame["inside"], "dimension"])
    print(f"Outside of our interval: {', '.join(outside) or 'nothing'}.")
    if flags.output is not None:
        write_text(flags.output, csv_text(frame, table.subset))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("results", type=Path, help="results/<suite>")
    parser.add_argument("--row", default="official_clips", help="(default: official_clips)")
    parser.add_argument("--board", type=Path, required=True, help="CSV: dimension,value in raw percent")
    parser.add_argument("--output", type=Path, help="the same table as CSV")
    return run(parser, arguments, calibrate)


if __name__ == "__main__":
    sys.exit(main())
