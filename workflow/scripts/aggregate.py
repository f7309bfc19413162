"""Join every row's results into aggregate/scores.json, scores.csv and the tables beside it: variance.json,
chunks.json and protocol_moves.json.

--settings is JSON of evaluation.aggregate.AggregateSettings.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.aggregate import AggregateSettings, aggregate
from evaluation.chunks import chunk_table
from evaluation.command import command, run
from evaluation.files import file_sha256, write_text
from evaluation.finished_run import check_origins, check_second
from evaluation.protocol_moves import protocol_moves
from evaluation.records import (
    DimensionResult,
    FilteredSet,
    Prompt,
    SecondScoring,
    Sha256,
    TableInputs,
    parse,
    read_json,
    read_jsonl,
    write_json,
)
from evaluation.results import csv_text, table_frame
from evaluation.variance import variance_table

log = logging.getLogger("aggregate")


def aggregate_rows(flags: argparse.Namespace) -> None:
    """Write the five files, each whole or not at all."""
    settings = parse(AggregateSettings, flags.settings, "--settings")
    results = [read_json(DimensionResult, path) for path in flags.results]
    filtered = [read_json(FilteredSet, path) for path in flags.filtered]
    prompts = read_jsonl(Prompt, flags.prompts)
    by_row: dict[str, dict[str, DimensionResult]] = {}
    hashes: dict[str, dict[str, Sha256]] = {}
    for result, path in zip(results, flags.results, strict=True):
        by_row.setdefault(result.row, {})[result.dimension] = result
        hashes.setdefault(result.row, {})[result.dimension] = file_sha256(path)
    second = [read_json(DimensionResult, path) for path in flags.second]
    second_hashes: dict[str, dict[SecondScoring, dict[str, Sha256]]] = {}
    for result, path in zip(second, flags.second, strict=True):
        if result.second is None:
            raise ValueError(f"{path} is no second scoring; give it as one of --results.")
        found = second_hashes.setdefault(result.row, {}).setdefault(result.second, {})
        found[result.dimension] = file_sha256(path)
    inputs = TableInputs(
        prompts=file_sha256(flags.prompts),
        filtered={kept.row: file_sha256(path) for kept, path in zip(filtered, flags.filtered, strict=True)},
        results=hashes,
        second=second_hashes,
    )
    table = aggregate(flags.suite, prompts, results, filtered, settings, inputs)
    kept = {found.row: found for found in filtered}
    check_origins(prompts, kept, by_row, inputs, {})
    check_second(second, prompts, kept, settings.known, inputs, {})
    write_json(flags.variance, variance_table(flags.suite, results, settings.known, inputs))
    write_json(flags.chunks, chunk_table(flags.suite, prompts, results, settings, inputs))
    moves = protocol_moves(flags.suite, prompts, results, filtered, settings, inputs, second)
    write_json(flags.protocol_moves, moves)
    write_text(flags.csv, csv_text(table_frame(table), table.subset))
    write_json(flags.output, table)
    incomplete = ", ".join(row.row for row in table.rows if row.incomplete) or "none"
    log.info("%d results, %d rows, incomplete: %s", len(results), len(table.rows), incomplete)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "suite", "prompts", "settings", "output")
    parser.add_argument("--results", required=True, type=Path, nargs="*", help="of every row and dimension")
    parser.add_argument("--second", type=Path, nargs="*", default=[], help="clips scored once more")
    parser.add_argument("--filtered", required=True, type=Path, nargs="*", help="of every row")
    parser.add_argument("--csv", required=True, type=Path)
    parser.add_argument("--variance", required=True, type=Path)
    parser.add_argument("--chunks", required=True, type=Path)
    parser.add_argument("--protocol-moves", required=True, type=Path)
    return run(parser, arguments, aggregate_rows)


if __name__ == "__main__":
    sys.exit(main())
