"""What the official static filter found of all samples, joined; evaluation/static_filter.py then chooses."""

from collections.abc import Sequence
from typing import Literal

from evaluation.records import ClipId, FilteredSet, Inputs, Natural, NonNegative, Prompt, Record, clip_id
from evaluation.selection import compare_inputs
from evaluation.static_filter import Judgement, filtered_set

STATIC_LIMIT = 1.0
"""The largest `motion` of a static clip, in official limits (evaluation/vbench/README.md#static-filter)."""


class JudgedClip(Record):
    """What the worker says of one clip (evaluation/vbench/worker/early_stop.py)."""

    static: bool
    motion: NonNegative
    """In units of the official limits, at most 1 exactly if the clip is static."""
    pairs: Natural
    """How many pairs of frames were looked at."""


class FilterPart(Record):
    """What one job of the static filter leaves."""

    schema_version: Literal[1] = 1
    row: str
    inputs: Inputs
    part: str
    """As <i>-of-<n>."""
    found: dict[ClipId, JudgedClip]
    """By clip id."""
    versions: dict[str, str]
    """What computed it, by name; the backend too."""


def static_prompts(prompts: Sequence[Prompt], part: int, num_parts: int) -> list[Prompt]:
    """The prompts with a `keep` of part `part` (from 0) of `num_parts`: contiguous, sizes within one."""
    wanted = [prompt for prompt in prompts if prompt.keep is not None]
    return wanted[part * len(wanted) // num_parts : (part + 1) * len(wanted) // num_parts]


def join_filter(row: str, prompts: Sequence[Prompt], parts: Sequence[FilterPart]) -> FilteredSet:
    """Which samples of each prompt are scored; every value is kept, and a prompt that lacks static clips says
    how many.

    Raises ValueError if the parts do not hold exactly the samples of all static prompts, each once, or were
    judged from different files.
    """
    for part in parts[1:]:
        where = f"Part {part.part} of the static filter of row {row}"
        compare_inputs(where, part.inputs, parts[0].inputs, "filter")
    found: dict[str, JudgedClip] = {}
    for part in parts:
        if part.row != row or found.keys() & part.found.keys():
            raise ValueError(
                f"Part {part.part} of the static filter is of row {part.row} or repeats clips of another "
                f"part, expected new clips of {row}; filter again."
            )
        found |= part.found
    if len(backends := {part.versions.get("backend") for part in parts if part.found}) > 1:
        raise ValueError(
            f"Parts of the static filter of row {row} were computed by different backends "
            f"({', '.join(sorted(map(str, backends)))}); filter again."
        )
    expected = {clip_id(p.id, sample) for p in prompts if p.keep is not None for sample in range(p.samples)}
    if found.keys() != expected:
        wrong = sorted(found.keys() ^ expected)
        raise ValueError(
            f"The static filter of row {row} holds {len(found)} clips, expected {len(expected)} (first "
            f"that differs: {wrong[0]}); filter again."
        )
    judged = {
        prompt.id: [
            Judgement(found[name].motion, found[name].static)
            for name in (clip_id(prompt.id, sample) for sample in range(prompt.samples))
        ]
        for prompt in prompts
        if prompt.keep is not None
    }
    return filtered_set(row, parts[0].inputs, prompts, judged, STATIC_LIMIT)
