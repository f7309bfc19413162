"""The clips that a dimension is scored on: one choice for every benchmark and for custom dimensions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from evaluation.files import file_sha256
from evaluation.records import Clip, FilteredSet, Inputs, Prompt, clip_id, read_json, read_jsonl

ALL_PROMPTS = "all"
"""In place of a dimension's name: every prompt of the suite."""
INPUT_FILES = {"prompts": "prompts", "manifest": "row's manifest", "filtered": "static filter's outcome"}


class ScoredPrompt(NamedTuple):
    """A prompt and its clips that a dimension is scored on, in the order of their samples."""

    prompt: Prompt
    clips: tuple[Clip, ...]


class RowInputs(NamedTuple):
    """What one row's scores are computed from, beside the clips themselves.

    kept: prompt id -> samples that the static filter left. sha256: of the files, for the record.
    """

    prompts: list[Prompt]
    manifest: list[Clip]
    kept: Mapping[str, Sequence[int]]
    sha256: Inputs


def first_samples(prompts: Sequence[Prompt], samples: int | None) -> list[Prompt]:
    """The prompts as a row has them of which only the first `samples` of each are made; None: all of them.

    Of a still prompt the static ones among these are kept, as many as the suite says.
    """
    if samples is None:
        return list(prompts)
    return [
        prompt.model_copy(
            update={
                "samples": min(prompt.samples, samples),
                "keep": None if prompt.keep is None else min(prompt.keep, samples),
            }
        )
        for prompt in prompts
    ]


def hashes_of(prompts: Path, manifest: Path, filtered: Path | None = None) -> Inputs:
    """The sha256 of files that a record is computed from."""
    return Inputs(
        prompts=file_sha256(prompts),
        manifest=file_sha256(manifest),
        filtered=None if filtered is None else file_sha256(filtered),
    )


def read_row(row: str, prompts: Path, manifest: Path, filtered: Path) -> RowInputs:
    """Read the inputs of one row. Raises ValueError if they are of another row, or do not belong together."""
    listed, clips = read_jsonl(Prompt, prompts), read_jsonl(Clip, manifest)
    kept = read_json(FilteredSet, filtered)
    rows = {clip.row for clip in clips} | {kept.row}
    if rows != {row}:
        raise ValueError(
            f"{manifest} and {filtered} are of the rows {sorted(rows)}, expected {row} alone; give the "
            "files of one row."
        )
    check_filtered(kept, listed, hashes_of(prompts, manifest))
    return RowInputs(
        first_samples(listed, kept.samples), clips, kept.kept, hashes_of(prompts, manifest, filtered)
    )


def check_filtered(filtered: FilteredSet, prompts: Sequence[Prompt], inputs: Inputs) -> None:
    """Verify that a row was filtered from these files, and that every prompt keeps what it may.

    inputs: sha256 of the files as they are. Raises ValueError naming the row, and the file or the prompt.
    """
    where = f"The static filter's outcome of row {filtered.row}"
    compare_inputs(where, filtered.inputs, inputs, "filter")
    prompts = first_samples(prompts, filtered.samples)
    entries = {entry.prompt_id: entry for entry in filtered.filtered}
    still = [prompt.id for prompt in prompts if prompt.keep is not None]
    if list(filtered.kept) != [prompt.id for prompt in prompts] or list(entries) != still:
        raise ValueError(f"{where} has other prompts than the suite, or in another order; filter again.")
    for prompt in prompts:
        kept, entry = filtered.kept[prompt.id], entries.get(prompt.id)
        if entry is None and kept != tuple(range(prompt.samples)):
            raise ValueError(
                f"{where} keeps the samples {list(kept)} of {prompt.id}, which is no still prompt, expected "
                f"all {prompt.samples}; filter again."
            )
        judged = prompt.samples if entry is None or filtered.threshold is None else len(entry.static)
        wanted = (prompt.samples, prompt.keep)
        if entry is not None and (judged, len(kept) + entry.short) != wanted:
            raise ValueError(
                f"{where} keeps {len(kept)} of {judged} samples of {prompt.id}, {entry.short} "
                f"short, expected {prompt.keep} of {prompt.samples}; filter again."
            )


def compare_inputs(where: str, found: Inputs, expected: Inputs, stage: str) -> None:
    """Verify that a record was computed from the files that are there. Raises ValueError naming the file.

    where: what the record is; stage: what to do again.
    """
    for name in ("prompts", "manifest", "filtered"):
        then, now = getattr(found, name), getattr(expected, name)
        if then != now:
            raise ValueError(
                f"{where} was made from another file of the {INPUT_FILES[name]} (sha256 {str(then)[:12]}) "
                f"than the one that is there ({str(now)[:12]}); {stage} again."
            )


def filtered_clips(row: str, prompts: Sequence[Prompt], manifest: Sequence[Clip]) -> list[ScoredPrompt]:
    """The still prompts and all their clips, which the static filter judges.

    Raises ValueError as `select_clips` does, or if a clip is of another row.
    """
    if strange := [clip for clip in manifest if clip.row != row]:
        raise ValueError(
            f"The manifest holds clip {strange[0].clip_id} of row {strange[0].row}, expected row {row} "
            "alone; give the row's own manifest."
        )
    still = [prompt for prompt in prompts if prompt.keep is not None]
    if not still:
        return []
    return select_clips("static filter", still, manifest, {}, ALL_PROMPTS, unfiltered=True)


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
