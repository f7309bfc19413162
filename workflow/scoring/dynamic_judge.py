"""Dynamic degree as a vision-language judge sees it: the fourth column of RAVEN's table 1, "Dyn.".

UnifiedReward 32B rates the motion of every clip, of those too that the static filter did not keep, from 1 to
4 (models/training/methods.md#unifiedreward has the question, frames and parsing). It is asked about the text
that the clip was made from. An answer without a rating refuses the clip. Of a clip the two frames a second
that it looks at are held.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.training.unified_reward import UnifiedReward, read_ratings
from models.training.video_align import sampled_frames
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


def open_parts_scorer(
    resources: Path, device: DeviceChoice
) -> Callable[[Sequence[Iterator[NDArray[np.uint8]]], Sequence[dict[str, Any]]], list[float | ValueError]]:
    """Ratings of a batch of clips, whose frames come as uint8 [t, h, w, 3]."""
    judge = UnifiedReward.load(resources / WEIGHTS, device=choose_device(device))

    def score(
        clips: Sequence[Iterator[NDArray[np.uint8]]], prompts: Sequence[dict[str, Any]]
    ) -> list[float | ValueError]:
        rates = {prompt["fps"] for prompt in prompts}
        assert len(rates) == 1, "a manifest has clips of one rate"
        seen = [
            LookedAt(parts, prompt["frames"], prompt["fps"])
            for parts, prompt in zip(clips, prompts, strict=True)
        ]
        texts = [prompt["extended"] for prompt in prompts]
        return [rating_of(answer) for answer in judge.answers(seen, rates.pop(), texts)]

    return score


class LookedAt:
    """The frames of a clip that the judge asks for, in the place of a tensor [T, h, w, 3] of all."""

    def __init__(self, parts: Iterator[NDArray[np.uint8]], frames: int, fps: float) -> None:
        """parts: the clip's frames in order, `frames` together."""
        wanted = set(sampled_frames(frames, fps))
        every = (frame for part in parts for frame in part)
        self._held = {place: frame.copy() for place, frame in enumerate(every) if place in wanted}
        self._frames = frames
        self.shape = (frames, *self._held[0].shape)

    def __len__(self) -> int:
        return self._frames

    def __getitem__(self, places: Sequence[int]) -> Tensor:
        return torch.from_numpy(np.stack([self._held[place] for place in places]))


def rating_of(answer: str) -> float | ValueError:
    """The rating, or why there is none."""
    try:
        return read_ratings(answer, [ASKED])[ASKED]
    except ValueError as error:
        return error
