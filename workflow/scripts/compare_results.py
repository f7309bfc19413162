"""Compare two sets of results prompt by prompt, without a clip: a leaderboard's zip, a folder of VBench's
*_eval_results.json, or a run.json of ours (with :row behind it where it has several).

raven-bench compare ours.zip theirs.zip
raven-bench compare results/vbench/run.json:raven theirs/evaluation_results/ --output compared.csv

Every score is recomputed from its rows, and a file that is damaged, edited or of other clips is refused. Both
must be of one protocol (prompts, samples, static filter): no file states it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from evaluation.command import command, run
from evaluation.compared_results import ComparedMetric, compare_results
from evaluation.files import write_text
from evaluation.imported_results import ForeignResults, read_foreign_results
from evaluation.intervals import LEVEL
from evaluation.results import csv_text
from reports.words import p_text


def named_results(given: str) -> ForeignResults:
    """Results by their path, behind which `:row` may stand. Raises as `read_foreign_results` does."""
    path, colon, row = given.rpartition(":")
    if colon and not Path(given).exists() and Path(path).is_file():
        return read_foreign_results(path, row)
    return read_foreign_results(given)


def compared_text(one: str, other: str, found: Sequence[ComparedMetric]) -> str:
    """A table for a terminal, and what it says in one sentence."""
    width = max(len(line.metric) for line in found)
    lines = [f"  {'':{width}}  {'first':>7} {'second':>7}  difference [95 % of all]      p, Holm  prompts"]
    for line in found:
        test = line.test
        interval = f"[{test.corrected.low:+.2f}, {test.corrected.high:+.2f}]"
        left = f" ({line.left} left out)" if line.left else ""
        lines.append(
            f"  {line.metric.replace('_', ' '):{width}}  {line.one:7.2f} {line.other:7.2f}  "
            f"{test.difference.mean:+9.2f} {interval:19} {p_text(test.holm):>9}  {test.prompts}{left}"
        )
    differ = sum(line.test.holm < LEVEL for line in found)
    said = f"{differ} of {len(found)} scores differ by the paired test over prompts (Holm's correction, 5 %)."
    return "\n".join([f"First: {one}", f"Second: {other}", *lines, said])


def compare_files(flags: argparse.Namespace) -> None:
    """Print the table, and write it as CSV where asked."""
    if flags.output is not None and flags.output.suffix != ".csv":
        raise ValueError(f"--output is {flags.output}; name a file that ends in .csv.")
    found = compare_results(named_results(flags.first), named_results(flags.second))
    if flags.output is not None:
        lines = [
            {
                "metric": line.metric, "first": line.one, "second": line.other,
                "difference": line.test.difference.mean, "corrected_low": line.test.corrected.low,
                "corrected_high": line.test.corrected.high, "p_value": line.test.p_value,
                "holm": line.test.holm, "prompts": line.test.prompts, "left_out": line.left,
            }
            for line in found
        ]  # fmt: skip
        write_text(flags.output, csv_text(pd.DataFrame(lines), None))
    print(compared_text(flags.first, flags.second, found))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("first", help="zip, folder, run.json or run.json:row")
    parser.add_argument("second", help="the same of the other")
    parser.add_argument("--output", type=Path, help="a CSV file of the table")
    return run(parser, arguments, compare_files)


if __name__ == "__main__":
    sys.exit(main())
