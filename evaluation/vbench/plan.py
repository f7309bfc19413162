"""What VBench's worker is told and what one job leaves: the clips of one dimension in the package's own
order, cut into parts, under the package's own names.

A part is a contiguous run of prompts, so that joining the rows of all parts gives the rows of one process.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from evaluation.prompts import is_safe_name
from evaluation.records import Clip, Inputs, Prompt, Record, SecondScoring
from evaluation.selection import ScoredPrompt, select_clips
from evaluation.verified_clips import verified_path

SAMPLES_SEEN = 5
"""The package looks at indices 0 to 4 of a prompt."""


class ScorePart(Record):
    """What one scoring job leaves."""

    schema_version: Literal[1] = 1
    suite: str
    row: str
    dimension: str
    second: SecondScoring | None = None
    inputs: Inputs
    part: str
    """As <i>-of-<n>."""
    names: tuple[str, ...]
    """The part's clips under the package's names, in order."""
    score: float | None
    """What the package printed for this part alone, None if it could count no clip."""
    rows: tuple[dict[str, Any], ...]
    """The package's own, `video_path` the bare name, with `frame_values` where the fast backend has them."""
    versions: dict[str, str]
    """What computed them, by name; the backend too."""


def named_clips(entries: Sequence[ScoredPrompt]) -> list[tuple[str, Clip]]:
    """All clips in order, each under the package's name of it; kept ones are numbered anew from 0."""
    return [
        (f"{entry.prompt.prompt}-{index}.mp4", clip)
        for entry in entries
        for index, clip in enumerate(entry.clips)
    ]


def full_info(dimension: str, prompt: Prompt, second: SecondScoring | None = None) -> dict[str, Any]:
    """A prompt as VBench_full_info.json has it; with the text that scores, where that is another one."""
    record: dict[str, Any] = {"prompt_en": prompt.prompt, "dimension": [dimension]}
    if second == "extended_text":
        record["prompt_scored"] = prompt.extended
    if dimension in prompt.facts:
        record["auxiliary_info"] = {dimension: prompt.facts[dimension]}
    return record


def in_official_order(dimension: str, prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts of a dimension as VBench's list has them.

    A prompt that stands for two lines (facts["lines"]) comes where the line of this dimension is: each
    dimension's lines are one run, which the prompts of a single line show. Prompts without lines keep their
    order.
    """
    wanted = [prompt for prompt in prompts if dimension in prompt.dimensions]
    single = [prompt.facts["lines"][0] for prompt in wanted if len(prompt.facts.get("lines", ())) == 1]
    if not single:
        return wanted
    middle = (min(single) + max(single)) / 2
    return sorted(wanted, key=lambda prompt: min(prompt.facts["lines"], key=lambda line: abs(line - middle)))


def entries_of(
    dimension: str, prompts: Sequence[Prompt], manifest: Sequence[Clip], kept: Mapping[str, Sequence[int]]
) -> list[ScoredPrompt]:
    """Every prompt of a dimension with the clips that it scores, in the order of the package's list.

    kept: what the static filter left of each prompt. Raises ValueError as `select_clips` does, and if a
    prompt cannot be a file name or the package would not see all samples.
    """
    selected = select_clips(dimension, in_official_order(dimension, prompts), manifest, kept)
    for prompt, clips in selected:
        if len(clips) > SAMPLES_SEEN:
            raise ValueError(
                f"Prompt {prompt.id} has {len(clips)} clips for {dimension}, but VBench looks at "
                f"{SAMPLES_SEEN} and would leave out the others; set its samples to at most {SAMPLES_SEEN}, "
                "or `keep`."
            )
        if not is_safe_name(prompt.prompt, SAMPLES_SEEN):
            raise ValueError(
                f"Prompt {prompt.id} cannot be a file name of VBench's form (<prompt>-<index>.mp4): it "
                "holds a slash, a quote or the like, ends in -<number>, or is too long; shorten or "
                "rephrase it."
            )
    return [entry for entry in selected if entry.clips]


def entries_of_part(entries: Sequence[ScoredPrompt], part: int, num_parts: int) -> list[ScoredPrompt]:
    """The prompts of part `part` (from 0) of `num_parts`: contiguous, sizes within one, maybe none."""
    return list(entries[part * len(entries) // num_parts : (part + 1) * len(entries) // num_parts])


def link_clips(entries: Sequence[ScoredPrompt], clips: Path, folder: Path) -> None:
    """Fill an empty folder with links under the package's names, and nothing else: its first file decides the
    suffix of all.

    clips: the row's folder. Raises FileNotFoundError or ValueError if a clip is not there, or not the one in
    the manifest.
    """
    for name, clip in named_clips(entries):
        source, target = verified_path(clips, clip), folder / name
        if target.exists():
            raise ValueError(
                f"{os.path.realpath(target)!r} stands where {name!r} should: two prompts share this name "
                "here; put temporary files on a file system that tells upper from lower case."
            )
        target.symlink_to(source)
