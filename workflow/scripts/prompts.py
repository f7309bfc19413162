"""Write a suite's prompt records."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import command, run
from evaluation.files import load_json
from evaluation.prompts import count_prompts, list_notices
from evaluation.records import write_jsonl
from evaluation.suite_prompts import NAMED_BY_PROMPT, suite_prompts

log = logging.getLogger("prompts")


def write_prompts(flags: argparse.Namespace) -> None:
    settings = load_json(flags.settings, "--settings")
    prompts = suite_prompts(settings, custom=flags.list)
    log.info("%s", count_prompts(prompts))
    for notice in list_notices(prompts, named_by_prompt=settings["benchmark"] in NAMED_BY_PROMPT):
        log.info("%s", notice)
    write_jsonl(flags.output, prompts)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "settings", "output")
    parser.add_argument("--list", type=Path, help="a file of the user's prompts, in place of the benchmark's")
    return run(parser, arguments, write_prompts)


if __name__ == "__main__":
    sys.exit(main())
