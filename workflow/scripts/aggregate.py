"""Join every row's per-dimension results into aggregate/scores.json, scores.csv, variance.json and
chunks.json.

Inputs: prompts.jsonl, any number of <dimension>.result.json files, every row's filter/<row>.json.
`--settings` is one JSON object with exactly the
keys of evaluation.aggregate.AggregateSettings: bounds, dimensions, draws, seed, rows {row: {label, kind}},
custom?, subset?, totals?.
"""

import argparse
import logging
from pathlib import Path

from evaluation.aggregate import AggregateSettings, aggregate, scores_csv
from evaluation.chunks import chunk_table
from evaluation.files import write_text
from evaluation.records import DimensionResult, FilteredSet, Prompt, parse, read_json, read_jsonl, write_json
from evaluation.variance import variance_table

log = logging.getLogger("aggregate")


def main() -> None:
    """Parse flags, aggregate, write the four files, each whole or not at all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--suite", required=True)
    parser.add_argument("--prompts", required=True, type=Path)
    parser.add_argument("--results", required=True, type=Path, nargs="*")
    parser.add_argument("--filtered", required=True, type=Path, nargs="*")
    parser.add_argument("--settings", required=True, help="JSON object, see the module's docstring")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--csv", required=True, type=Path)
    parser.add_argument("--variance", required=True, type=Path)
    parser.add_argument("--chunks", required=True, type=Path)
    flags = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    settings = parse(AggregateSettings, flags.settings, "--settings")
    results = [read_json(DimensionResult, path) for path in flags.results]
    filtered = [read_json(FilteredSet, path) for path in flags.filtered]
    prompts = read_jsonl(Prompt, flags.prompts)
    table = aggregate(flags.suite, prompts, results, filtered, settings)
    write_json(flags.variance, variance_table(flags.suite, results, settings.known))
    write_json(flags.chunks, chunk_table(flags.suite, prompts, results, settings))
    write_text(flags.csv, scores_csv(table))
    write_json(flags.output, table)
    incomplete = [row.row for row in table.rows if row.incomplete]
    log.info(
        "%d results, %d rows, %d incomplete (%s)",
        len(results),
        len(table.rows),
        len(incomplete),
        ", ".join(incomplete),
    )


if __name__ == "__main__":
    main()
