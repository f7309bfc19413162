"""Join the parts of the official static filter: which samples of each prompt are scored."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import command, run
from evaluation.files import file_sha256
from evaluation.records import Prompt, read_json, read_jsonl, write_json
from evaluation.vbench.filter_join import FilterPart, join_filter


def write_filtered_set(flags: argparse.Namespace) -> None:
    """Write the FilteredSet of a row."""
    parts = [read_json(FilterPart, path) for path in flags.parts]
    if parts[0].inputs.prompts != file_sha256(flags.prompts):
        raise ValueError(f"Row {flags.row} was not filtered with {flags.prompts} as it is; filter again.")
    outcome = join_filter(flags.row, read_jsonl(Prompt, flags.prompts), parts)
    write_json(flags.output, outcome)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "row", "prompts", "output")
    parser.add_argument("--parts", required=True, type=Path, nargs="+")
    return run(parser, arguments, write_filtered_set)


if __name__ == "__main__":
    sys.exit(main())
