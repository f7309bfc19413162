"""Score one row on a custom dimension: its file's function, clip by clip, in the main environment."""

import argparse
import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import command, run
from evaluation.custom.scoring import load_score, score_custom
from evaluation.records import CustomDimension, DimensionResult, parse, write_json
from evaluation.selection import read_row, select_clips

log = logging.getLogger("score")


def score_custom_row(flags: argparse.Namespace) -> None:
    custom = parse(CustomDimension, flags.declaration, "--declaration")
    inputs = read_row(flags.row, flags.prompts, flags.manifest, flags.filtered)
    selected = select_clips(custom.name, *inputs, prompts_of=custom.prompts)
    scores = score_custom(custom, load_score(flags.file, custom), selected, flags.clips)
    mean = math.fsum(one.value for one in scores) / max(len(scores), 1)
    result = DimensionResult(
        suite=flags.suite, row=flags.row, dimension=custom.name, kind="custom", mean=mean, clips=tuple(scores)
    )
    write_json(flags.result, result)
    log.info("%s of %s: mean %.4f %s over %d clips", custom.name, flags.row, mean, custom.unit, len(scores))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "suite", "row", "prompts", "manifest", "filtered", "clips")
    parser.add_argument("--file", required=True, type=Path, help="the dimension's Python file")
    parser.add_argument("--declaration", required=True, help="JSON of the CustomDimension")
    parser.add_argument("--result", required=True, type=Path, help="our record of the scores")
    return run(parser, arguments, score_custom_row)


if __name__ == "__main__":
    sys.exit(main())
