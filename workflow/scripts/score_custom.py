"""Score one row on a custom dimension: its file's function, in the main environment.

What a network says of a clip is written down in <result>.journal.jsonl, batch by batch; a job that was killed
goes on behind it.
"""

import argparse
import json
import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import command, run
from evaluation.custom.declaration import read_declaration
from evaluation.custom.scoring import Journal, load_scorer, score_custom
from evaluation.records import CustomDimension, DimensionResult, parse, write_json
from evaluation.selection import read_row, select_clips
from workflow.fetching.checksums import FETCHED_FOLDER, read_checksums

log = logging.getLogger("score")


def score_custom_row(flags: argparse.Namespace) -> None:
    custom = parse(CustomDimension, flags.declaration, "--declaration")
    declared = read_declaration(flags.file)
    inputs = read_row(flags.row, flags.prompts, flags.manifest, flags.filtered)
    selected = select_clips(
        custom.name, inputs.prompts, inputs.manifest, inputs.kept, custom.prompts,
        unfiltered=custom.clips == "all",
    )  # fmt: skip
    decided_by = [
        flags.declaration,
        flags.code,
        flags.device,
        declared.batch,
        read_checksums(flags.checksums),
    ]
    kept = flags.result.with_suffix(".journal.jsonl") if declared.opens else None
    journal = Journal(kept, json.dumps(decided_by))
    scorer = load_scorer(flags.file, custom, resources=Path(FETCHED_FOLDER), device=flags.device)
    scores = score_custom(custom, scorer, selected, flags.clips, batch=declared.batch, journal=journal)
    mean = math.fsum(one.value for one in scores) / max(len(scores), 1)
    result = DimensionResult(
        suite=flags.suite, row=flags.row, dimension=custom.name, inputs=inputs.sha256, kind="custom",
        mean=mean, clips=tuple(scores),
    )  # fmt: skip
    write_json(flags.result, result)
    log.info("%s of %s: mean %.4f %s over %d clips", custom.name, flags.row, mean, custom.unit, len(scores))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "suite", "row", "prompts", "manifest", "filtered", "clips", "code")
    parser.add_argument("--file", required=True, type=Path, help="the dimension's Python file")
    parser.add_argument("--declaration", required=True, help="JSON of the CustomDimension")
    parser.add_argument("--device", required=True, choices=("cpu", "cuda", "auto"))
    parser.add_argument("--checksums", type=Path, help="sha256 of the fetched files that it needs")
    parser.add_argument("--result", required=True, type=Path, help="our record of the scores")
    return run(parser, arguments, score_custom_row)


if __name__ == "__main__":
    sys.exit(main())
