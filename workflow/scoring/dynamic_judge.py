"""Dynamic degree as a vision-language judge sees it: the fourth column of RAVEN's table 1, "Dyn.".

UnifiedReward 32B rates the motion of every clip, of those too that the static filter did not keep, from 1 to
4 (models/training/methods.md#unifiedreward has the question, frames and parsing). It is asked about the text
that the clip was made from. An answer without a rating refuses the clip.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.training.unified_reward import UnifiedReward, read_ratings
from workflow.sampling.machine import DeviceChoice, choose_device

TITLE = "dynamic degree, judged by UnifiedReward 32B"
UNIT = "rating"
WORST = 1.0
BEST = 4.0
BENCHMARKS = ("toybox", "vbench")
RESOURCES = ("unified_reward_32b",)
BATCH = 4
CLIPS = "all"

WEIGHTS = "weights/unified_reward_32b"
ASKED = "dynamic degree"


def open_scorer(
    resources: Path, device: DeviceChoice
) -> Callable[[Sequence[NDArray[np.uint8]], Sequence[dict[str, Any]]], list[float | ValueError]]:
    """Ratings of a batch of clips, uint8 [T, h, w, 3] each."""
    judge = UnifiedReward.load(resources / WEIGHTS, device=choose_device(device))

    def score(
        clips: Sequence[NDArray[np.uint8]], prompts: Sequence[dict[str, Any]]
    ) -> list[float | ValueError]:
        rates = {prompt["fps"] for prompt in prompts}
        assert len(rates) == 1, "a manifest has clips of one rate"
        texts = [prompt["extended"] for prompt in prompts]
        return [
            rating_of(answer)
            for answer in judge.answers([torch.from_numpy(frames) for frames in clips], rates.pop(), texts)
        ]

    return score


def rating_of(answer: str) -> float | ValueError:
    """The rating, or why there is none."""
    try:
        return read_ratings(answer, [ASKED])[ASKED]
    except ValueError as error:
        return error
