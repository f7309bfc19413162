"""Write a suite's prompt records."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from evaluation.prompts import choose, count_prompts, require_consistent, vbench_prompts
from evaluation.records import Prompt, write_jsonl
from evaluation.toybox.suite import toybox_prompts

RESOURCES = Path("resources/prompts")

log = logging.getLogger("prompts")


def suite_prompts(settings: dict[str, Any], resources: Path = RESOURCES) -> list[Prompt]:
    """The prompts of a suite: its world's list, its sample counts, only those its dimensions need."""
    if settings["world"] == "vbench":
        prompts = vbench_prompts(
            json.loads((resources / "VBench_full_info.json").read_text(encoding="utf-8")),
            _lines(resources / "all_dimension.txt"),
            _lines(resources / "all_dimension_extended.txt"),
            samples=settings["samples"],
            static_samples=settings["static_samples"],
            static_keep=settings["static_keep"],
        )
    else:
        prompts = [_recount(prompt, settings) for prompt in toybox_prompts(settings["seed"])]
    chosen = choose(prompts, settings["dimensions"], settings["per_dimension"])
    require_consistent(chosen, settings["dimensions"], "the prompt list")
    return chosen


def _recount(prompt: Prompt, settings: dict[str, Any]) -> Prompt:
    if prompt.keep is None:
        return prompt.model_copy(update={"samples": settings["samples"]})
    return prompt.model_copy(update={"samples": settings["static_samples"], "keep": settings["static_keep"]})


def _lines(path: Path) -> list[str]:
    """Lines of a list whose last line may or may not end in a newline; other line separators stay inside a prompt."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", required=True, help="JSON: world, dimensions and the suite's prompt settings"
    )
    parser.add_argument("--output", required=True, type=Path)
    flags = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    prompts = suite_prompts(json.loads(flags.settings))
    log.info("%s", count_prompts(prompts))
    write_jsonl(flags.output, prompts)


if __name__ == "__main__":
    main()
