"""Pack a row's official results as VBench's leaderboard takes them, or check such a zip. Uses no network.

python -m workflow.scripts.leaderboard --results results/vbench/scores/raven/*.json --output raven.zip
python -m workflow.scripts.leaderboard --check raven.zip
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.dimensions import NAMES
from evaluation.vbench.leaderboard import check_leaderboard, leaderboard_zip

log = logging.getLogger("leaderboard")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--results", type=Path, nargs="+", help="<dimension>.json, all sixteen; other files are passed over"
    )
    parser.add_argument("--output", type=Path)
    parser.add_argument("--check", type=Path)
    flags = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    if (flags.check is None) == (flags.output is None) or (flags.output is None) != (flags.results is None):
        parser.error("give --results and --output, or --check")
    if flags.check is not None:
        faults = check_leaderboard(flags.check.read_bytes())
        for fault in faults:
            log.error("%s: %s", flags.check, fault)
        log.info("%s is %s", flags.check, "not complete" if faults else "complete")
        return 1 if faults else 0
    results = {path.stem: path.read_text(encoding="utf-8") for path in flags.results if path.stem in NAMES}
    try:
        content = leaderboard_zip(results)
    except ValueError as fault:
        log.error("%s", fault)
        return 1
    temporary = flags.output.with_name(f"{flags.output.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, flags.output)
    log.info(
        "%s: %s",
        flags.output,
        json.dumps({name: json.loads(text)[name][0] for name, text in results.items()}),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
