"""Write a finished run as Every Eval Ever 0.3.0 has it: data/<collection>/<organisation>/<model>/<uuid>.json,
and a line a clip and dimension beside it. Rows that are no model of the hub are called raven-bench/<row>.

raven-bench export results/vbench --output eee --model raven=mvp-lab/RAVEN --model longlive=Org/LongLive
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import command, run
from evaluation.files import write_text
from evaluation.finished_run import read_finished_run
from evaluation.records import read_json
from reports.every_eval_ever import evaluation_files
from reports.run import Run


def export(flags: argparse.Namespace) -> None:
    """Write two files a row; say what was written."""
    models: dict[str, str] = {}
    for given in flags.model:
        row, equals, name = given.partition("=")
        if not equals or row in models:
            raise ValueError(f"--model is {given!r}, expected <row>=<organisation>/<model>, each row once.")
        models[row] = name
    finished = read_finished_run(flags.results)
    record = read_json(Run, flags.results / "run.json")
    if record.table != finished.table:
        raise ValueError(f"{flags.results}/run.json is of another table; build the report again.")
    for files in evaluation_files(record, finished, models):
        write_text(flags.output / files.path, files.aggregate)
        write_text(flags.output / files.samples_path, files.samples)
        print(f"{flags.output / files.path}: {files.samples.count(chr(10))} clip scores beside it")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("results", type=Path, help="results/<suite>, with its report")
    parser.add_argument("--output", type=Path, required=True, help="folder for data/...")
    parser.add_argument(
        "--model", action="append", default=[], help="<row>=<organisation>/<model>; again for other rows"
    )
    return run(parser, arguments, export)


if __name__ == "__main__":
    sys.exit(main())
