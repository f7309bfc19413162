"""Write a suite's prompt records."""

import argparse
import json
import logging
from pathlib import Path

from evaluation.prompts import count_prompts, list_notices
from evaluation.records import write_jsonl
from evaluation.suite_prompts import NAMED_BY_PROMPT, suite_prompts

log = logging.getLogger("prompts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings",
        required=True,
        help="JSON: benchmark, dimensions, sha256 and the suite's prompt settings",
    )
    parser.add_argument("--list", type=Path, help="a file of the user's prompts, in place of the benchmark's")
    parser.add_argument("--output", required=True, type=Path)
    flags = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    settings = json.loads(flags.settings)
    prompts = suite_prompts(settings, custom=flags.list)
    log.info("%s", count_prompts(prompts))
    for notice in list_notices(prompts, named_by_prompt=settings["benchmark"] in NAMED_BY_PROMPT):
        log.info("%s", notice)
    write_jsonl(flags.output, prompts)


if __name__ == "__main__":
    main()
