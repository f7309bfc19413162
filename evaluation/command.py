"""What every command line of ours has in common: its flags, its log, and how it ends.

    def main(arguments: Sequence[str] | None = None) -> int:
        parser = command(__doc__, "row", "prompts", "output")
        parser.add_argument("--draws", type=int, required=True)
        return run(parser, arguments, filter_row)

An error that a user can mend is one message in the log and exit code 1, without a traceback.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

log = logging.getLogger(__name__)

FLAGS: dict[str, dict[str, Any]] = {
    "suite": {"help": "name of the suite"},
    "row": {"help": "name of the row"},
    "dimension": {"help": "name of the dimension"},
    "prompts": {"type": Path, "help": "prompt records of the suite (JSON lines)"},
    "manifest": {"type": Path, "help": "the row's manifest.jsonl"},
    "filtered": {"type": Path, "help": "which samples of the row are scored (filter/<row>.json)"},
    "clips": {"type": Path, "help": "folder of the row's clips"},
    "settings": {"help": "settings as JSON, exactly as the rule tracks them"},
    "chosen": {"type": Path, "help": "the prompts of this run, which are fewer in a subset run"},
    "shard": {"help": "<i>-of-<n>"},
    "code": {"help": "digest of the code that makes the clips"},
    "timings": {"type": Path, "help": "timings.jsonl beside the manifest"},
    "baseline": {"type": Path, "help": "baselines/<row>.yaml"},
    "weights": {"type": Path, "help": "file of the row's weights"},
    "codec": {"type": Path, "help": "file or folder of the codec"},
    "text": {"type": Path, "help": "file of the text encoder"},
    "config": {"type": Path, "help": "the suite's file"},
    "output": {"type": Path, "help": "file to write"},
}
"""Required flags that several commands share, by name without dashes."""

RENAMED_FLAGS = {
    "--numerics": "--precision",
    "--path": "--backend",
    "--own": "--custom",
    "--proof": "--checksums",
}
"""Flags of earlier versions, by the flag that took their place."""


class Parser(argparse.ArgumentParser):
    """An argument parser that names the new flag where an old one is given."""

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and exit with 2."""
        for old, new in RENAMED_FLAGS.items():
            if message.startswith("unrecognized arguments:") and old in message.split():
                message = f"{old} is called {new} now; rename it"
        super().error(message)


def command(description: str | None, *flags: str) -> Parser:
    """A parser with some of the shared `FLAGS`, all required. description: the module's docstring."""
    parser = Parser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_flags(parser, *flags)
    return parser


def add_flags(parser: argparse.ArgumentParser, *flags: str) -> None:
    """Add some of the shared `FLAGS` to a parser, all required."""
    for flag in flags:
        parser.add_argument(f"--{flag}", required=True, **FLAGS[flag])


def start_log(where: str = "", level: int = logging.INFO) -> None:
    """Log to standard error, an event a line. where: what stands behind the time, such as a rank."""
    logging.basicConfig(
        level=level, format=f"%(asctime)s {where}%(name)s %(message)s", stream=sys.stderr, force=True
    )


def run(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    work: Callable[[argparse.Namespace], object],
) -> int:
    """Parse, log and work. Returns the exit code: 0, or 1 if the work raised ValueError or OSError, whose
    message is logged. Whatever else it raises is a bug of ours and keeps its traceback.
    """
    flags = parser.parse_args(arguments)
    start_log()
    try:
        work(flags)
    except (ValueError, OSError) as error:
        log.error("%s", error)
        return 1
    return 0
