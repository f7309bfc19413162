"""Compare results prompt by prompt, without a clip: a leaderboard's zip, a folder of VBench's
*_eval_results.json, or a run.json of ours (with :row behind it where it has several).

raven-bench compare ours.zip theirs.zip
raven-bench compare ours.zip theirs.zip another.zip --output compared        # the whole report, a row each
raven-bench compare results/vbench/run.json:raven theirs/evaluation_results/ --output compared.csv

Every score is recomputed from its rows, and a file that is damaged, edited or of other clips is refused.
Results of two protocols (prompts that rendered, text that scored, static filter, length) are refused too;
only a run.json states its own, and what no file states is said. With --output FOLDER the same pipeline makes
report, run.json and tables there; flags that are not ours go to Snakemake.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import command, run
from evaluation.compared_results import ComparedResults, compare_results, named_rows
from evaluation.files import write_text
from evaluation.imported_results import read_named_results
from evaluation.intervals import LEVEL
from evaluation.protocol import unstated
from evaluation.records import ScoresTable
from evaluation.results import csv_text, pairs_frame
from reports.words import p_text
from workflow.external.planned_run import own_and_other_flags, run_plan, write_plan
from workflow.external.results_plan import plan_results

_ROOT = Path(__file__).resolve().parents[2]


def compared_text(found: ComparedResults) -> str:
    """A table for a terminal, and what it says in one sentence: the first row minus each other one."""
    table = found.run.table
    first, *others = table.rows
    lines = []
    for other in others:
        lines += [
            f"First: {first.label}",
            f"Second: {other.label}",
            *_pair_lines(table, first.row, other.row),
        ]
    if lacking := unstated(found.common.protocol):
        lines.append(f"Compare them only if they agree in what no file states: {', '.join(lacking)}.")
    if not found.common.whole:
        counts = zip(table.rows, found.common.passed, strict=True)
        left = ", ".join(f"{row.label} {count}" for row, count in counts)
        lines.append(f"Scores that not every row has are left out ({left}), so that there are no totals.")
    return "\n".join(lines)


def _pair_lines(table: ScoresTable, one: str, other: str) -> list[str]:
    tests = [pair for pair in table.pairs if (pair.a, pair.b) == (one, other)]
    rows = {row.row: row for row in table.rows}
    width = max(len(test.metric) for test in tests)
    lines = [f"  {'':{width}}  {'first':>7} {'second':>7}  difference [95 % of all]      p, Holm  prompts"]
    for test in tests:
        means = []
        for row in (one, other):
            cell = rows[row].totals.get(test.metric) or rows[row].dimensions[test.metric].normalised
            means.append(cell.mean)
        interval = f"[{test.corrected.low:+.2f}, {test.corrected.high:+.2f}]"
        lines.append(
            f"  {test.metric.replace('_', ' '):{width}}  {means[0]:7.2f} {means[1]:7.2f}  "
            f"{test.difference.mean:+9.2f} {interval:19} {p_text(test.holm):>9}  {test.prompts}"
        )
    differ = sum(test.holm < LEVEL for test in tests)
    said = f"{differ} of {len(tests)} scores differ by the paired test over prompts (Holm's correction, 5 %)."
    return [*lines, said]


def compare_files(flags: argparse.Namespace, others: Sequence[str]) -> None:
    """Print the table; write it as CSV, or make the report, where asked."""
    if len(flags.results) < 2:
        raise ValueError("give two results or more.")
    if others and (flags.output is None or flags.output.suffix == ".csv"):
        raise ValueError(f"{others[0]} is Snakemake's, which runs with --output FOLDER alone.")
    rows = named_rows([read_named_results(given) for given in flags.results])
    found = compare_results(rows)
    if flags.output is not None and flags.output.suffix == ".csv":
        write_text(flags.output, csv_text(pairs_frame(found.run.table), None))
    print(compared_text(found), flush=True)
    if flags.output is not None and flags.output.suffix != ".csv":
        output = flags.output.resolve()
        plan = plan_results(rows, found.common, output)
        write_plan(plan, output, _ROOT)
        run_plan(output, _ROOT, others)
        print(f"In {output}: report.html, table.csv, pairs.csv, run.json.")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument(
        "results", nargs="+", metavar="RESULTS", help="zip, folder, run.json or run.json:row; a row each"
    )
    parser.add_argument("--output", type=Path, help="folder of the report, or a CSV file of the table")
    given = list(sys.argv[1:] if arguments is None else arguments)
    mine, others = own_and_other_flags(parser, given)
    return run(parser, mine, lambda flags: compare_files(flags, others))


if __name__ == "__main__":
    sys.exit(main())
