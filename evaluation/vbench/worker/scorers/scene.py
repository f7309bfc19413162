"""Scene is the share of sixteen frames whose Tag2Text caption holds every word of the scene."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

from evaluation.vbench.worker.fast.tag2text import BEAMS
from evaluation.vbench.worker.watch import LoopWatch


def caption_one_by_one(module: ModuleType, watch: LoopWatch) -> None:
    """Caption frames one by one when sixteen are too many for the memory, and only those that the package
    really looks at (evaluation/vbench/worker/fast/tag2text.py says which).

    In a smaller batch the package would look at others.
    """
    caption: Any = module.get_caption

    def caption_limited(model: Any, frames: Any) -> Any:
        if watch.limit is None or len(frames) <= watch.limit:
            return caption(model, frames)
        seen = [caption(model, frame[None])[0] for frame in frames[: math.ceil(len(frames) / BEAMS)]]
        return [seen[number // BEAMS] for number in range(len(frames))]

    module.get_caption = caption_limited  # type: ignore[attr-defined]
