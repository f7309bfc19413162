"""Write a suite's prompt records."""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from evaluation.prompt_lists import LIST_RULES, read_prompt_list
from evaluation.prompts import (
    choose,
    count_prompts,
    list_notices,
    require_consistent,
    require_sha256,
    vbench_prompts,
)
from evaluation.records import Prompt, write_jsonl
from evaluation.toybox.suite import toybox_prompts

RESOURCES = Path("resources/prompts")
VBENCH_FILES = ("VBench_full_info.json", "all_dimension.txt", "all_dimension_extended.txt")
NAMED_BY_PROMPT = ("vbench",)
"""Worlds whose scorer names its files by the prompt."""

log = logging.getLogger("prompts")


def suite_prompts(
    settings: dict[str, Any], resources: Path = RESOURCES, own: Path | None = None
) -> list[Prompt]:
    """The prompts of a suite: its benchmark's list or the user's `own`, its sample counts, only those its
    dimensions need.

    settings: see workflow.planning.prompt_plan.prompt_stage_settings; files whose sha256 it names must have
    it. Raises ValueError.
    """
    if own is not None:
        prompts = _own_prompts(settings, own)
    elif settings["benchmark"] == "vbench":
        files = {name: (resources / name).read_bytes() for name in VBENCH_FILES}
        require_sha256(files, settings["sha256"])
        full_info, short, extended = (files[name].decode("utf-8") for name in VBENCH_FILES)
        prompts = vbench_prompts(
            json.loads(full_info),
            _lines(short),
            _lines(extended),
            samples=settings["samples"],
            static_samples=settings["static_samples"],
            static_keep=settings["static_keep"],
        )
    else:
        prompts = [_recount(prompt, settings) for prompt in toybox_prompts(settings["seed"])]
    chosen = choose(prompts, settings["dimensions"], settings["per_dimension"])
    require_consistent(chosen, settings["dimensions"], own.name if own else "the prompt list")
    return chosen


def _own_prompts(settings: dict[str, Any], own: Path) -> list[Prompt]:
    content = own.read_bytes()
    require_sha256({"list": content}, settings["sha256"])
    prompts = read_prompt_list(content, own.name, LIST_RULES[settings["benchmark"]], settings["samples"])
    unscored = [p.id for p in prompts if not set(p.dimensions) & set(settings["dimensions"])]
    if unscored:
        raise ValueError(
            f"{own.name}: {len(unscored)} prompts (first: {unscored[0]}) are scored on none of the suite's "
            f"dimensions ({', '.join(settings['dimensions'])}) and would be left out; add their dimensions "
            "to the suite or remove them."
        )
    return prompts


def _recount(prompt: Prompt, settings: dict[str, Any]) -> Prompt:
    if prompt.keep is None:
        return prompt.model_copy(update={"samples": settings["samples"]})
    return prompt.model_copy(update={"samples": settings["static_samples"], "keep": settings["static_keep"]})


def _lines(text: str) -> list[str]:
    """Lines of a list whose last line may or may not end in a newline; other line separators stay inside a
    prompt.
    """
    return text.removesuffix("\n").split("\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings",
        required=True,
        help="JSON: benchmark, dimensions, sha256 and the suite's prompt settings",
    )
    parser.add_argument("--list", type=Path, help="a file of one's own prompts, in place of the benchmark's")
    parser.add_argument("--output", required=True, type=Path)
    flags = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    settings = json.loads(flags.settings)
    prompts = suite_prompts(settings, own=flags.list)
    log.info("%s", count_prompts(prompts))
    for notice in list_notices(prompts, named_by_prompt=settings["benchmark"] in NAMED_BY_PROMPT):
        log.info("%s", notice)
    write_jsonl(flags.output, prompts)


if __name__ == "__main__":
    main()
