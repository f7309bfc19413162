"""Snakemake with what it is given, and one sentence where that is wrong: no list of its options, no lines of
its code.

python -m workflow.scripts.start_snakemake reports/table.html --profile local --configfile mine.yaml

raven-bench becomes this, and so does the environment's `snakemake` (envs/main/snakemake). Jobs start
`python -m snakemake`, which is Snakemake itself.
"""

import contextlib
import io
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from snakemake import cli  # type: ignore[import-untyped]
from snakemake.exceptions import CliException  # type: ignore[import-untyped]
from snakemake.logging import logger  # type: ignore[import-untyped]

from evaluation.command import ended, start_log
from workflow.planning.console import PLAIN_ERRORS
from workflow.planning.suite_file import one_config_file, read_mapping


class Parsed(NamedTuple):
    """What Snakemake makes of its arguments."""

    parser: Any
    args: Any


def main(arguments: Sequence[str] | None = None) -> int:
    start_log(level=logging.WARNING)
    logger.propagate = False  # it has handlers of its own
    logger.addFilter(PLAIN_ERRORS)
    return ended(lambda: run_snakemake(list(sys.argv[1:] if arguments is None else arguments)))


def run_snakemake(arguments: list[str]) -> None:
    """Run it, and exit as it does. Raises ValueError for arguments that it does not take."""
    sys.argv = ["snakemake", *arguments]  # noted with the start of a run
    parsed = parsed_arguments(arguments)
    check_arguments(parsed.args)
    try:
        done = cli.args_to_api(parsed.args, parsed.parser)
    except CliException as error:
        raise ValueError(str(error)) from error
    sys.exit(0 if done else 1)


def parsed_arguments(arguments: list[str]) -> Parsed:
    """Arguments and profiles, read by Snakemake itself. Raises ValueError for what it does not take."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return Parsed(*cli.parse_args(arguments))
    except SystemExit as stopped:
        if not stopped.code:
            raise  # --help, --version
        text = said.getvalue().strip().splitlines()[-1]  # above it, every option that there is
        raise ValueError(wrong_options(re.sub(r"^\S+: error: ", "", text))) from None
    except (CliException, ValueError) as error:
        raise ValueError(wrong_options(str(error))) from error


def wrong_options(said: str) -> str:
    """What Snakemake says of its options, as one sentence."""
    return f"Snakemake's options are wrong: {' '.join(said.removeprefix('Error: ').split()).rstrip('.')}."


def check_arguments(args: Any) -> None:
    """Refuse what Snakemake would stumble over before it reads our rules. Raises ValueError."""
    for name, value in (("jobs", args.jobs), ("cores", args.cores)):
        if isinstance(value, int) and value < 1:
            raise ValueError(f"--{name} is {value}; give how many there may be at once, 1 or more.")
    root = Path.cwd()
    if (files := args.configfile) and args.snakefile is None:
        where = one_config_file(root, files)
        read_mapping(root / where, where)


if __name__ == "__main__":
    sys.exit(main())
