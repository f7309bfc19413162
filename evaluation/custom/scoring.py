"""Run a custom dimension: its file's function on every clip."""

import importlib.util
import logging
from collections.abc import Callable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.clip_reader import read_clip
from evaluation.files import file_sha256
from evaluation.records import ClipScore, CustomDimension
from evaluation.selection import ScoredPrompt

log = logging.getLogger("score")

CustomScore = Callable[[NDArray[np.uint8], dict[str, Any]], float]


def load_score(path: Path, custom: CustomDimension) -> CustomScore:
    """The function of a file, which is run here.

    Raises ValueError if it is not the file that the run was planned with.
    """
    if file_sha256(path) != custom.sha256:
        raise ValueError(f"{path} changed since this run was planned; start the run again.")
    spec = importlib.util.spec_from_file_location(f"custom_dimension_{custom.name}", path)
    assert spec is not None and spec.loader is not None, "a .py file that was parsed has a loader"  # noqa: PT018
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    score: CustomScore = module.score
    return score


def checked_value(value: Any, custom: CustomDimension, clip: str) -> float:
    """The score, rounded. Raises ValueError naming clip and file unless it is a number from WORST to BEST."""
    low, high = min(custom.worst, custom.best), max(custom.worst, custom.best)
    if not isinstance(value, Real | np.number | np.bool_) or not low <= float(value) <= high:
        raise ValueError(
            f"{custom.file} gave clip {clip} the {custom.title} {value!r}, expected a number from {low:g} "
            f"to {high:g} {custom.unit}; look at the clip, correct score(), or widen WORST and BEST."
        )
    return round(float(value), 9)


def score_custom(
    custom: CustomDimension, score: CustomScore, selected: Sequence[ScoredPrompt], clips: Path
) -> list[ClipScore]:
    """Score every clip from its decoded frames.

    Raises ValueError or FileNotFoundError naming the first bad clip and the file.
    """
    scores = []
    for prompt, clip in ((prompt, clip) for prompt, chosen in selected for clip in chosen):
        told = {"id": prompt.id, "prompt": prompt.prompt, "extended": prompt.extended, "facts": prompt.facts}
        frames = read_clip(clips / clip.file).frames
        try:
            value = score(frames, told)
        except Exception as error:
            log.error("score() of %s raised", custom.file, exc_info=error)
            raise ValueError(
                f"score() of {custom.file} failed on clip {clip.clip_id} of row {clip.row} with "
                f"{type(error).__name__}: {error}; correct it."
            ) from error
        scores.append(
            ClipScore(
                clip_id=clip.clip_id,
                prompt_id=clip.prompt_id,
                sample=clip.sample,
                value=checked_value(value, custom, clip.clip_id),
            )
        )
    return scores
