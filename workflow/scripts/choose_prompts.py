"""Write the prompts that a subset run keeps of its suite's list."""

import argparse
import json
import logging
from pathlib import Path

from evaluation.prompts import count_prompts
from evaluation.records import Prompt, read_jsonl, write_jsonl
from workflow.planning.subset import chosen_prompts

log = logging.getLogger("prompts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", required=True, type=Path, help="the whole list")
    parser.add_argument(
        "--chosen", required=True, help="JSON: prompts (ids, or null) and samples (how many, or null)"
    )
    parser.add_argument("--output", required=True, type=Path)
    flags = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    chosen = json.loads(flags.chosen)
    kept = chosen_prompts(read_jsonl(Prompt, flags.prompts), chosen["prompts"], chosen["samples"])
    log.info("%s", count_prompts(kept))
    write_jsonl(flags.output, kept)


if __name__ == "__main__":
    main()
