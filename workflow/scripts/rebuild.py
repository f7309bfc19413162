"""Build a report again from its run.json:
`raven-bench rebuild --run run.json --output report.html`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import command, run
from evaluation.files import write_text
from evaluation.records import read_json
from evaluation.words import numbered
from reports.page import render_page
from reports.run import Run


def rebuild(flags: argparse.Namespace) -> None:
    """Read the record and write the page whole."""
    finished = read_json(Run, flags.run)
    write_text(flags.output, render_page(finished))
    rows = numbered(len(finished.table.rows), "row")
    print(f"{flags.output}: the report of suite {finished.table.suite}, {rows}, from {flags.run}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "output")
    parser.add_argument("--run", required=True, type=Path, help="the record beside a report")
    return run(parser, arguments, rebuild)


if __name__ == "__main__":
    sys.exit(main())
