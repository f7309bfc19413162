"""The clips that a dimension is scored on: one choice for every benchmark and for custom dimensions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from evaluation.records import Clip, FilteredSet, Prompt, clip_id, read_json, read_jsonl

ALL_PROMPTS = "all"
"""In place of a dimension's name: every prompt of the suite."""


class ScoredPrompt(NamedTuple):
    """A prompt and its clips that a dimension is scored on, in the order of their samples."""

    prompt: Prompt
    clips: tuple[Clip, ...]


class RowInputs(NamedTuple):
    """What one row's scores are computed from, beside the clips themselves.

    kept: prompt id -> samples that the static filter left.
    """

    prompts: list[Prompt]
    manifest: list[Clip]
    kept: Mapping[str, Sequence[int]]


def read_row(row: str, prompts: Path, manifest: Path, filtered: Path) -> RowInputs:
    """Read the inputs of one row. Raises ValueError if the manifest or the filtered set is of another row."""
    clips, kept = read_jsonl(Clip, manifest), read_json(FilteredSet, filtered)
    rows = {clip.row for clip in clips} | {kept.row}
    if rows != {row}:
        raise ValueError(
            f"{manifest} and {filtered} are of the rows {sorted(rows)}, expected {row} alone; give the "
            "files of one row."
        )
    return RowInputs(read_jsonl(Prompt, prompts), clips, kept.kept)


def serves(prompts: str, prompt: Prompt) -> bool:
    """Whether a prompt is scored on. prompts: the dimension whose prompts are meant, or ALL_PROMPTS."""
    return prompts == ALL_PROMPTS or prompts in prompt.dimensions


def select_clips(
    dimension: str,
    prompts: Sequence[Prompt],
    manifest: Sequence[Clip],
    kept: Mapping[str, Sequence[int]],
    prompts_of: str | None = None,
    *,
    unfiltered: bool = False,
) -> list[ScoredPrompt]:
    """The clips that a dimension is scored on, in the order of `prompts`. A prompt may have none left.

    kept: as in RowInputs. prompts_of: the dimension whose prompts are taken, or ALL_PROMPTS; by default the
    dimension itself. unfiltered: all samples of a prompt, whatever the static filter kept.
    Raises ValueError if no prompt lists the dimension, if `kept` does not know a prompt, or if a kept sample
    is not in the manifest exactly once.
    """
    wanted = [prompt for prompt in prompts if serves(prompts_of or dimension, prompt)]
    if not wanted:
        raise ValueError(
            f"No prompt lists the dimension {prompts_of or dimension}; remove {dimension} from the suite or "
            "add prompts for it."
        )
    if unfiltered:
        kept = {prompt.id: range(prompt.samples) for prompt in wanted}
    unknown = [prompt.id for prompt in wanted if prompt.id not in kept]
    if unknown:
        raise ValueError(
            f"The filtered set names no samples for prompt {unknown[0]} ({len(unknown)} such prompts); "
            "rerun the filter stage."
        )
    names = [clip_id(prompt.id, sample) for prompt in wanted for sample in kept[prompt.id]]
    clips = {clip.clip_id: clip for clip in manifest}
    if missing := [name for name in names if name not in clips]:
        raise ValueError(
            f"The manifest lacks {len(missing)} of {len(names)} clips that {dimension} needs: "
            f"{', '.join(missing[:5])}; rerun the sample stage."
        )
    if len(clips) != len(manifest):
        raise ValueError(
            f"The manifest names {len(manifest)} clips, of which {len(clips)} are distinct: some come twice; "
            "rerun the check stage."
        )
    return [
        ScoredPrompt(prompt, tuple(clips[clip_id(prompt.id, sample)] for sample in kept[prompt.id]))
        for prompt in wanted
    ]


def expected_samples(prompt: Prompt, filtered: FilteredSet | None, row: str) -> tuple[int, ...]:
    """The samples of a prompt that a row must have scores of: all, or those that the static filter kept.

    The filter may keep fewer than `keep`; a gap is not filled.
    Raises ValueError if the prompt is filtered and `filtered` does not say how it went for this row.
    """
    if prompt.keep is None:
        return tuple(range(prompt.samples))
    if filtered is None or filtered.row != row or prompt.id not in filtered.kept:
        raise ValueError(
            f"Prompt {prompt.id} keeps {prompt.keep} of {prompt.samples} samples, but no static filter of "
            f"row {row} says which; give the row's filter/<row>.json."
        )
    return filtered.kept[prompt.id]
