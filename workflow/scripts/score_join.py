"""Join the parts of one dimension into what one official process would have written, and into our record."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import command, run
from evaluation.files import file_sha256, write_text
from evaluation.records import read_json, write_json
from evaluation.second_scores import add_second, seen_samples
from evaluation.selection import compare_inputs, read_row
from evaluation.vbench.long_results import BetweenResult, piece_result
from evaluation.vbench.pieces import long_clips_of, piece_entries
from evaluation.vbench.plan import ScorePart, entries_of
from evaluation.vbench.reduce import official_score, several_process_score
from evaluation.vbench.results import dimension_result, joined_rows, joined_versions, official_json

log = logging.getLogger("score")


def join_scores(flags: argparse.Namespace) -> None:
    """Write VBench's JSON and our DimensionResult."""
    inputs = read_row(flags.row, flags.prompts, flags.manifest, flags.filtered)
    kept = seen_samples(flags.second, inputs.prompts, inputs.kept)
    if flags.long:
        clips = long_clips_of(flags.dimension, inputs.prompts, inputs.manifest, kept)
        entries = piece_entries(flags.dimension, clips)
    else:
        entries = entries_of(flags.dimension, inputs.prompts, inputs.manifest, kept)
    parts = [read_json(ScorePart, path) for path in flags.parts]
    for part in parts:
        where = f"Part {part.part} of {flags.dimension} of row {flags.row}"
        compare_inputs(where, part.inputs, inputs.sha256, "score")
    rows = joined_rows(parts, entries, flags.dimension, flags.second)
    versions, score = joined_versions(parts), official_score(flags.dimension, rows)
    if flags.long:
        between = read_json(BetweenResult, flags.between) if flags.between else None
        if between is not None:
            where = f"What was measured between pieces of row {flags.row}"
            compare_inputs(
                where, between.inputs, inputs.sha256.model_copy(update={"filtered": None}), "measure"
            )
        result = piece_result(
            flags.suite, flags.row, flags.dimension, rows, clips, between, versions, inputs.sha256
        )
        score = result.mean
    else:
        result = dimension_result(
            flags.suite, flags.row, flags.dimension, rows, entries, versions, inputs.sha256
        )
    write_text(flags.output, official_json(flags.dimension, score, rows))
    known = {"official_sha256": file_sha256(flags.output), "second": flags.second}
    write_json(flags.result, result.model_copy(update=known))
    log.info(
        "%s of %s: %r over %d clips, %d left out; several official processes would have printed %r",
        flags.dimension,
        flags.row,
        result.mean,
        len(rows),
        len(result.left_out),
        several_process_score(flags.dimension, rows),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "suite", "row", "dimension", "prompts", "manifest", "filtered", "output")
    parser.add_argument("--parts", required=True, type=Path, nargs="+", help="in order")
    parser.add_argument("--result", required=True, type=Path, help="where our DimensionResult goes")
    add_second(parser)
    parser.add_argument("--long", action="store_true", help="the parts are of pieces of long clips")
    parser.add_argument(
        "--between", type=Path, help="what was measured between pieces, for both consistencies"
    )
    return run(parser, arguments, join_scores)


if __name__ == "__main__":
    sys.exit(main())
