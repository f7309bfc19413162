"""Run a custom dimension: its file's function on every clip, in batches that a killed job goes on behind."""

import importlib.util
import json
import logging
from collections.abc import Callable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evaluation.custom.declaration import read_declaration
from evaluation.custom.parts import ClipParts
from evaluation.files import append_line, file_sha256, whole_lines, write_text
from evaluation.records import (
    Clip,
    ClipId,
    ClipScore,
    CustomDimension,
    Prompt,
    Record,
    Sha256,
    log_line,
    parse_log_line,
)
from evaluation.selection import ScoredPrompt
from evaluation.verified_clips import read_verified_clip

log = logging.getLogger("score")

REFUSED_SHOWN = 5
"""Refused clips that an error names."""

BatchScore = Callable[[Sequence[Any], Sequence[dict[str, Any]]], Sequence[Any]]
"""(each clip, what is told of each) -> a number for each, or in the place of a clip that has none a
ValueError that says why.
"""


class CustomScorer(NamedTuple):
    """The function of a file, for batches of clips."""

    score: BatchScore
    by_parts: bool
    """Whether it takes each clip as an iterator of its parts, and not as frames [T, h, w, 3]."""


def load_scorer(path: Path, custom: CustomDimension, *, resources: Path, device: str) -> CustomScorer:
    """The function of a file, which is run here.

    resources: folder of fetched files; device: the suite's. Raises ValueError if it is not the file that the
    run was planned with, and whatever its open_scorer() or open_parts_scorer() raises.
    """
    if file_sha256(path) != custom.sha256:
        raise ValueError(f"{path} changed since this run was planned; start the run again.")
    spec = importlib.util.spec_from_file_location(f"custom_dimension_{custom.name}", path)
    assert spec is not None and spec.loader is not None, "a .py file that was parsed has a loader"  # noqa: PT018
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    declared = read_declaration(path)
    function = getattr(module, declared.function)
    if declared.opens:
        return CustomScorer(function(resources, device), declared.by_parts)
    return CustomScorer(
        lambda clips, told: [function(*one) for one in zip(clips, told, strict=True)], declared.by_parts
    )


class JournalValue(Record):
    """What was found of a clip of these bytes: a line of a journal."""

    clip_id: ClipId
    sha256: Sha256
    value: float


class Journal:
    """Values of finished clips, a JSON line each, in a file that outlives a killed job.

    path: None keeps nothing. key: what decides the values, apart from the clips; values under another key
    are thrown away. A batch counts only as a whole, so that what is scored together does not depend on where
    a job was killed.
    """

    def __init__(self, path: Path | None, key: str) -> None:
        self.path, self.values = path, dict[str, JournalValue]()
        if path is None:
            return
        lines = whole_lines(path)
        if lines[:1] == [json.dumps({"key": key})]:
            for line in lines[1:]:
                try:
                    scored = parse_log_line(JournalValue, line, str(path))
                except ValueError:
                    break  # damaged
                self.values[scored.clip_id] = scored
        held = map(log_line, self.values.values())
        write_text(path, "".join(f"{line}\n" for line in (json.dumps({"key": key}), *held)))

    def known(self, clips: Sequence[Clip]) -> list[float] | None:
        """The values of a batch; None unless every one is there, of the same bytes."""
        found = [self.values[clip.clip_id] for clip in clips if clip.clip_id in self.values]
        same = [scored.sha256 for scored in found] == [clip.sha256 for clip in clips]
        return [scored.value for scored in found] if same else None

    def add(self, clips: Sequence[Clip], values: Sequence[float]) -> None:
        """Write down the values of a batch."""
        if self.path is not None:
            for clip, value in zip(clips, values, strict=True):
                scored = JournalValue(clip_id=clip.clip_id, sha256=clip.sha256, value=value)
                append_line(self.path, log_line(scored))


def checked_value(value: Any, custom: CustomDimension, clip: str) -> float:
    """The score, rounded. Raises ValueError naming clip and file unless it is a number from WORST to BEST."""
    low, high = min(custom.worst, custom.best), max(custom.worst, custom.best)
    if not isinstance(value, Real | np.number | np.bool_) or not low <= float(value) <= high:
        raise ValueError(
            f"{custom.file} gave clip {clip} the {custom.title} {value!r}, expected a number from {low:g} "
            f"to {high:g} {custom.unit}; look at the clip, correct the file, or widen WORST and BEST."
        )
    return round(float(value), 9)


def score_custom(
    custom: CustomDimension,
    scorer: CustomScorer,
    selected: Sequence[ScoredPrompt],
    clips: Path,
    *,
    batch: int = 1,
    journal: Journal | None = None,
) -> list[ClipScore]:
    """Score every clip from its decoded frames, `batch` at a time.

    Raises ValueError or FileNotFoundError naming the first bad clip and the file. Clips that the file refuses
    are named together, after all others were scored.
    """
    journal = journal or Journal(None, "")
    wanted = [(prompt, clip) for prompt, chosen in selected for clip in chosen]
    scores: list[ClipScore] = []
    refused: list[str] = []
    for start in range(0, len(wanted), batch):
        together = wanted[start : start + batch]
        named = [clip for _, clip in together]
        values: Sequence[Any] | None = journal.known(named)
        if values is None:
            values = _scored(custom, scorer, together, clips)
            bad = [
                (clip, one) for clip, one in zip(named, values, strict=True) if isinstance(one, ValueError)
            ]
            refused += [f"{clip.clip_id} ({error})" for clip, error in bad]
            if bad:
                continue
            values = [
                checked_value(one, custom, clip.clip_id) for clip, one in zip(named, values, strict=True)
            ]
            journal.add(named, values)
        scores += [
            ClipScore(clip_id=clip.clip_id, prompt_id=clip.prompt_id, sample=clip.sample, value=value)
            for clip, value in zip(named, values, strict=True)
        ]
    if refused:
        more = f"; and {len(refused) - REFUSED_SHOWN} more" if len(refused) > REFUSED_SHOWN else ""
        raise ValueError(
            f"{custom.file} refused {len(refused)} of {len(wanted)} clips of row {wanted[0][1].row}: "
            f"{'; '.join(refused[:REFUSED_SHOWN])}{more}. A mean over the others would not be the row's."
        )
    return scores


def _scored(
    custom: CustomDimension, scorer: CustomScorer, together: Sequence[tuple[Prompt, Clip]], clips: Path
) -> Sequence[Any]:
    """What the file gives for some clips, one thing for each, once all of their frames were found good."""
    told = [
        {
            "id": p.id, "prompt": p.prompt, "extended": p.extended, "facts": p.facts, "fps": clip.fps,
            "frames": clip.pixel_frames,
        }
        for p, clip in together
    ]  # fmt: skip
    parts = [ClipParts(clips, clip) for _, clip in together] if scorer.by_parts else []
    given: list[Any] = [(part for part in one) for one in parts]  # generators, which show nothing of ours
    if not scorer.by_parts:
        given = [read_verified_clip(clips, clip).frames for _, clip in together]
    names = ", ".join(clip.clip_id for _, clip in together)
    try:
        values = list(scorer.score(given, told))
    except Exception as error:
        if unread := next((part.error for part in parts if part.error), None):
            raise unread from None
        log.error("the function of %s raised", custom.file, exc_info=error)
        raise ValueError(
            f"{custom.file} failed on clip {names} of row {together[0][1].row} with {type(error).__name__}: "
            f"{error}; correct it."
        ) from error
    for part in parts:
        part.finish()
    if len(values) != len(together):
        raise ValueError(
            f"{custom.file} gave {len(values)} values for {len(together)} clips ({names}); give one for each."
        )
    return values
