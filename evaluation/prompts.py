"""Prompt lists: read VBench's files into records, choose, count, and refuse what does not add up."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.records import Prompt

VBENCH_LINES = 946
VBENCH_DISTINCT = 944
VBENCH_FLICKER_LINES = 75


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCounts:
    """What a run is about to do: lines of the source list, prompts rendered, clips per row."""

    lines: int
    prompts: int
    clips: int

    def __str__(self) -> str:
        return f"{self.lines} lines, {self.prompts} distinct prompts, {self.clips} clips per row"


def count_prompts(prompts: Sequence[Prompt]) -> PromptCounts:
    """Counts of a prompt list. A prompt that stands for several source lines carries them in facts["lines"]."""
    lines = sum(len(p.facts["lines"]) if "lines" in p.facts else 1 for p in prompts)
    return PromptCounts(lines=lines, prompts=len(prompts), clips=sum(p.samples for p in prompts))


def require_consistent(prompts: Sequence[Prompt], dimensions: Sequence[str], where: str) -> None:
    """Raise ValueError unless ids are unique, `keep` fits, and every dimension of the suite has a prompt."""
    ids = [p.id for p in prompts]
    doubled = sorted({i for i in ids if ids.count(i) > 1})
    if doubled:
        raise ValueError(
            f"{where} uses the prompt ids {', '.join(doubled)} more than once; ids must be unique."
        )
    too_many = [p.id for p in prompts if p.keep is not None and p.keep > p.samples]
    if too_many:
        raise ValueError(
            f"{where} keeps more samples than it renders for {', '.join(too_many)}; lower `keep`."
        )
    covered = {dimension for p in prompts for dimension in p.dimensions}
    uncovered = [d for d in dimensions if d not in covered]
    if uncovered:
        raise ValueError(
            f"{where} has no prompt for the dimensions {', '.join(uncovered)}; it covers {', '.join(sorted(covered))}. "
            "Take them out of the suite's `dimensions` or give them prompts."
        )


def choose(prompts: Sequence[Prompt], dimensions: Collection[str], first: int | None) -> list[Prompt]:
    """The prompts that score one of `dimensions`, restricted to those; at most the first `first` per dimension."""
    chosen: list[Prompt] = []
    taken = dict.fromkeys(dimensions, 0)
    for prompt in prompts:
        wanted = tuple(d for d in prompt.dimensions if d in taken and (first is None or taken[d] < first))
        if wanted:
            chosen.append(prompt.model_copy(update={"dimensions": wanted}))
            taken.update({d: taken[d] + 1 for d in wanted})
    return chosen


def vbench_prompts(
    full_info: Sequence[dict[str, Any]],
    short: Sequence[str],
    extended: Sequence[str],
    *,
    samples: int,
    static_samples: int,
    static_keep: int,
) -> list[Prompt]:
    """The 944 distinct prompts of VBench's 946 lines, each with its extended text.

    Of two lines with the same short prompt the later is rendered (Vchitect/VBench#58); it takes over the dimensions and the
    facts of the earlier. The first 75 lines are the still prompts: `static_samples` of them are rendered, `static_keep` kept.
    Raises ValueError if the three files do not belong together.
    """
    if not len(full_info) == len(short) == len(extended) == VBENCH_LINES:
        raise ValueError(
            f"VBench's lists have {len(full_info)} records, {len(short)} short and {len(extended)} extended lines; "
            f"all three must have {VBENCH_LINES}. Run `make fetch` again."
        )
    differing = [
        i for i, (entry, text) in enumerate(zip(full_info, short, strict=True)) if entry["prompt_en"] != text
    ]
    if differing:
        raise ValueError(
            f"line {differing[0] + 1} of the short list is not the prompt of record {differing[0]} of VBench_full_info.json "
            f"({len(differing)} differ); the files are of different versions. Run `make fetch` again."
        )
    lines: dict[str, list[int]] = {}
    for number, text in enumerate(short):
        lines.setdefault(text, []).append(number)
    if len(lines) != VBENCH_DISTINCT:
        raise ValueError(
            f"VBench's list has {len(lines)} distinct prompts, expected {VBENCH_DISTINCT}; run `make fetch` again."
        )
    prompts = []
    for number, text in enumerate(short):
        same = lines[text]
        if number != same[-1]:
            continue
        static = number < VBENCH_FLICKER_LINES
        facts: dict[str, Any] = {"lines": same}
        for line in same:
            facts |= full_info[line].get("auxiliary_info", {})
        prompts.append(
            Prompt(
                id=f"v{number:04d}",
                prompt=text,
                extended=extended[number],
                dimensions=tuple(dict.fromkeys(d for line in same for d in full_info[line]["dimension"])),
                samples=static_samples if static else samples,
                keep=static_keep if static else None,
                facts=facts,
            )
        )
    return prompts
