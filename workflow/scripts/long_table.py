"""Join what was measured of every row's long clips into aggregate/long.json.

--settings is JSON of evaluation.aggregate.AggregateSettings, as the aggregate stage gets it.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.aggregate import AggregateSettings
from evaluation.command import command, run
from evaluation.files import file_sha256
from evaluation.long_series import LongRow
from evaluation.long_table import long_table
from evaluation.records import DimensionResult, Prompt, ScoresTable, parse, read_json, read_jsonl, write_json
from evaluation.selection import compare_inputs, hashes_of

log = logging.getLogger("long_table")


def join_rows(flags: argparse.Namespace) -> None:
    settings = parse(AggregateSettings, flags.settings, "--settings")
    scores = read_json(ScoresTable, flags.scores)
    if file_sha256(flags.prompts) != scores.inputs.prompts:
        raise ValueError(f"{flags.prompts} is not the file that {flags.scores} is of; aggregate again.")
    rows = [read_json(LongRow, path) for path in flags.measured]
    for row, path, manifest in zip(rows, flags.measured, flags.manifests, strict=True):
        if row.suite != scores.suite:
            raise ValueError(f"{path} is of suite {row.suite}, {flags.scores} of {scores.suite}; use one.")
        compare_inputs(str(path), row.inputs, hashes_of(flags.prompts, manifest), "measure")
    hashes = {row.row: file_sha256(path) for row, path in zip(rows, flags.measured, strict=True)}
    prompts = read_jsonl(Prompt, flags.prompts)
    results = [read_json(DimensionResult, path) for path in flags.results]
    for result, path in zip(results, flags.results, strict=True):
        if scores.inputs.results.get(result.row, {}).get(result.dimension) != file_sha256(path):
            raise ValueError(f"{path} is not the file that {flags.scores} is of; aggregate again.")
    table = long_table(scores.suite, prompts, rows, settings, scores.inputs, hashes, results)
    write_json(flags.output, table)
    log.info("long clips of %d rows, %d pairs", len(rows), len(table.pairs))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "prompts", "settings", "output")
    parser.add_argument("--scores", required=True, type=Path, help="aggregate/scores.json")
    parser.add_argument("--manifests", required=True, type=Path, nargs="+", help="of every row")
    parser.add_argument(
        "--measured", required=True, type=Path, nargs="+", help="long/<row>.json of every row, in that order"
    )
    parser.add_argument("--results", type=Path, nargs="*", default=[], help="scores of pieces of every row")
    return run(parser, arguments, join_rows)


if __name__ == "__main__":
    sys.exit(main())
