"""Score one row on a dimension of the user's: its file's function, clip by clip, in the main environment."""

import argparse
import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.custom.scoring import load_score, score_custom
from evaluation.records import CustomDimension, DimensionResult, parse, write_json
from evaluation.selection import read_row, select_clips

log = logging.getLogger("score")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", required=True)
    parser.add_argument("--row", required=True)
    parser.add_argument("--file", required=True, type=Path, help="the dimension's Python file")
    parser.add_argument("--declaration", required=True, help="JSON of the CustomDimension")
    parser.add_argument("--prompts", required=True, type=Path)
    parser.add_argument("--manifest", required=True, type=Path)
    parser.add_argument("--filtered", required=True, type=Path)
    parser.add_argument("--clips", required=True, type=Path, help="folder of the row")
    parser.add_argument("--result", required=True, type=Path, help="DimensionResult")
    flags = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    custom = parse(CustomDimension, flags.declaration, "--declaration")
    try:
        inputs = read_row(flags.row, flags.prompts, flags.manifest, flags.filtered)
        selected = select_clips(custom.name, *inputs, prompts_of=custom.prompts)
        scores = score_custom(custom, load_score(flags.file, custom), selected, flags.clips)
    except (ValueError, OSError) as fault:
        log.error("%s", fault, exc_info=fault.__cause__)
        return 1
    mean = math.fsum(one.value for one in scores) / max(len(scores), 1)
    write_json(
        flags.result,
        DimensionResult(
            suite=flags.suite,
            row=flags.row,
            dimension=custom.name,
            kind="custom",
            mean=mean,
            clips=tuple(scores),
        ),
    )
    log.info("%s of %s: mean %.4f %s over %d clips", custom.name, flags.row, mean, custom.unit, len(scores))
    return 0


if __name__ == "__main__":
    sys.exit(main())
