"""The prompts of a suite: its benchmark's list or the user's, with its sample counts and dimensions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluation.dimensions import NAMES
from evaluation.files import load_json, utf8_text
from evaluation.prompt_lists import LIST_RULES, read_user_list
from evaluation.prompts import choose, require_consistent, require_sha256, vbench_prompts
from evaluation.records import Prompt
from evaluation.toybox.suite import toybox_prompts

PROMPT_FOLDER = Path("resources/prompts")
VBENCH_LISTS = ("VBench_full_info.json", "all_dimension.txt", "all_dimension_extended.txt")
NAMED_BY_PROMPT = ("vbench",)
"""Benchmarks whose scorer names its files by the prompt."""


def suite_prompts(
    settings: dict[str, Any], resources: Path = PROMPT_FOLDER, custom: Path | None = None
) -> list[Prompt]:
    """The prompts that a suite's dimensions need, with its sample counts.

    They are those of its benchmark's files in `resources`, or of the user's list `custom`. settings: see
    workflow.planning.prompt_plan.prompt_stage_settings; files whose sha256 it names must have it. Raises
    ValueError.
    """
    if custom is not None:
        prompts = _listed_prompts(settings, custom)
    elif settings["benchmark"] == "vbench":
        files = {name: (resources / name).read_bytes() for name in VBENCH_LISTS}
        require_sha256(files, settings["sha256"])
        full_info, short, extended = (utf8_text(files[name], name) for name in VBENCH_LISTS)
        prompts = vbench_prompts(
            load_json(full_info, VBENCH_LISTS[0]),
            _lines(short),
            _lines(extended),
            samples=settings["samples"],
            static_samples=settings["static_samples"],
            static_keep=settings["static_keep"],
        )
    else:
        prompts = [_recount(prompt, settings) for prompt in toybox_prompts(settings["seed"])]
    if "counts" in settings:
        prompts = prompts_with_clips(prompts, settings["counts"])
    chosen = choose(prompts, settings["dimensions"], settings["per_dimension"])
    require_consistent(chosen, settings["dimensions"], custom.name if custom else "the prompt list")
    return chosen


def prompts_with_clips(prompts: Sequence[Prompt], counts: Mapping[str, int]) -> list[Prompt]:
    """The prompts of which there are clips, with so many samples; no more are kept than there are.

    Raises ValueError for an id that no prompt has.
    """
    if unknown := sorted(counts.keys() - {prompt.id for prompt in prompts}):
        raise ValueError(
            f"prompts.counts names {', '.join(unknown[:5])}, which are no prompts of the benchmark; take "
            "them out."
        )
    return [
        prompt.model_copy(
            update={"samples": counts[prompt.id], "keep": prompt.keep and min(prompt.keep, counts[prompt.id])}
        )
        for prompt in prompts
        if prompt.id in counts
    ]


def _listed_prompts(settings: dict[str, Any], path: Path) -> list[Prompt]:
    content = path.read_bytes()
    require_sha256({"list": content}, settings["sha256"])
    rules = LIST_RULES[settings["benchmark"]]
    if settings.get("scored_only"):
        rules = replace(rules, words=None)
    if settings.get("imported"):  # nothing is scored here, so that nothing needs facts
        rules = replace(rules, on_request=NAMES)
    if path.suffix.lower() == ".txt":
        rules = replace(rules, free=(*rules.free, *rules.on_request))
    prompts = read_user_list(content, path.name, rules, settings["samples"])
    unscored = [p.id for p in prompts if not set(p.dimensions) & set(settings["dimensions"])]
    if unscored:
        raise ValueError(
            f"{path.name}: {len(unscored)} prompts (first: {unscored[0]}) are scored on none of the suite's "
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
