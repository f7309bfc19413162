"""Join the parts of the official static filter: which samples of each prompt are scored."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.records import Prompt, read_json, read_jsonl, write_json
from evaluation.vbench.filter_join import FilterPart, join_filter

log = logging.getLogger("filter")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", required=True)
    parser.add_argument("--prompts", required=True, type=Path)
    parser.add_argument("--parts", required=True, type=Path, nargs="+")
    parser.add_argument("--output", required=True, type=Path)
    flags = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        parts = [read_json(FilterPart, path) for path in flags.parts]
        outcome = join_filter(flags.row, read_jsonl(Prompt, flags.prompts), parts)
    except ValueError as fault:
        log.error("%s", fault)
        return 1
    write_json(flags.output, outcome)
    return 0


if __name__ == "__main__":
    sys.exit(main())
