"""Pack a row's official results as VBench's leaderboard takes them, or check such a zip. Uses no network.

python -m workflow.scripts.leaderboard --results results/vbench/scores/raven/*.json --output raven.zip
python -m workflow.scripts.leaderboard --check raven.zip
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import command, run
from evaluation.dimensions import NAMES
from evaluation.files import written_whole
from evaluation.vbench.leaderboard import check_leaderboard, leaderboard_zip

log = logging.getLogger("leaderboard")


def pack_or_check(flags: argparse.Namespace) -> None:
    """Write the zip, or raise ValueError with everything that is wrong with one."""
    if (flags.check is None) == (flags.output is None) or (flags.output is None) != (flags.results is None):
        raise ValueError("give --results and --output, or --check.")
    if flags.check is not None:
        if errors := check_leaderboard(flags.check.read_bytes()):
            raise ValueError("\n".join(f"{flags.check}: {error}" for error in errors))
        log.info("%s is complete", flags.check)
        return
    results = {path.stem: path.read_text(encoding="utf-8") for path in flags.results if path.stem in NAMES}
    content = leaderboard_zip(results)
    with written_whole(flags.output) as unfinished:
        unfinished.write_bytes(content)
    scores = {name: json.loads(text)[name][0] for name, text in results.items()}
    log.info("%s: %s", flags.output, json.dumps(scores))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument(
        "--results", type=Path, nargs="+", help="<dimension>.json, all sixteen; other files are passed over"
    )
    parser.add_argument("--output", type=Path)
    parser.add_argument("--check", type=Path)
    return run(parser, arguments, pack_or_check)


if __name__ == "__main__":
    sys.exit(main())
