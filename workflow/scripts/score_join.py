"""Join the parts of one dimension into what one official process would have written, and into our record."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.files import write_text
from evaluation.records import read_json, write_json
from evaluation.selection import read_row
from evaluation.vbench.parts import Part
from evaluation.vbench.plan import entries_of
from evaluation.vbench.reduce import several_process_score
from evaluation.vbench.results import dimension_result, join, joined_versions, official_json

log = logging.getLogger("score")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", required=True)
    parser.add_argument("--row", required=True)
    parser.add_argument("--dimension", required=True)
    parser.add_argument("--prompts", required=True, type=Path)
    parser.add_argument("--manifest", required=True, type=Path)
    parser.add_argument("--filtered", required=True, type=Path)
    parser.add_argument("--parts", required=True, type=Path, nargs="+", help="in order")
    parser.add_argument("--output", required=True, type=Path, help="VBench's JSON form")
    parser.add_argument("--result", required=True, type=Path, help="DimensionResult")
    flags = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        inputs = read_row(flags.row, flags.prompts, flags.manifest, flags.filtered)
        entries = entries_of(flags.dimension, *inputs)
        parts = [read_json(Part, path) for path in flags.parts]
        rows = join(parts, entries, flags.dimension)
        result = dimension_result(
            flags.suite, flags.row, flags.dimension, rows, entries, joined_versions(parts)
        )
    except ValueError as fault:
        log.error("%s", fault)
        return 1
    write_text(flags.output, official_json(flags.dimension, result.mean, rows))
    write_json(flags.result, result)
    log.info(
        "%s of %s: %r over %d clips, %d left out; several official processes would have printed %r",
        flags.dimension,
        flags.row,
        result.mean,
        len(rows),
        len(result.left_out),
        several_process_score(flags.dimension, rows),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
