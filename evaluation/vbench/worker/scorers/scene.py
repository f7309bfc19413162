"""Scene: share of sixteen frames whose Tag2Text caption holds every word of the scene.

VBench loads the weights with strict=False, so a file with other names would load nothing, silently.
"""

from __future__ import annotations

import math
import sys
from types import ModuleType
from typing import Any

from evaluation.vbench.worker.fast.tag2text import BEAMS, caption_seen_frames
from evaluation.vbench.worker.files import TAG2TEXT
from evaluation.vbench.worker.loading import complete_loading
from evaluation.vbench.worker.runner import Scorer, Watch, run


def limit_batches(module: ModuleType, watch: Watch) -> None:
    """Caption frames one by one when sixteen are too many for the memory: those that are looked at, see
    fast_tag2text.py.

    In a smaller batch the package would look at others.
    """
    caption: Any = module.get_caption

    def caption_limited(model: Any, pictures: Any) -> Any:
        if watch.limit is None or len(pictures) <= watch.limit:
            return caption(model, pictures)
        seen = [caption(model, picture[None])[0] for picture in pictures[: math.ceil(len(pictures) / BEAMS)]]
        return [seen[frame // BEAMS] for frame in range(len(pictures))]

    module.get_caption = caption_limited  # type: ignore[attr-defined]


SCORER = Scorer(
    "scene", TAG2TEXT, limit_batches, batched=True, around=complete_loading, speed_up=caption_seen_frames
)

if __name__ == "__main__":
    sys.exit(run(SCORER))
