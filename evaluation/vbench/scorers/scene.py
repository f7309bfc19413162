"""Scene: share of sixteen frames whose Tag2Text caption holds every word of the scene.

VBench loads the weights with strict=False, so a file with other names would load nothing, silently.
"""

from __future__ import annotations

import sys
from itertools import chain
from types import ModuleType
from typing import Any

from evaluation.vbench.files import TAG2TEXT
from evaluation.vbench.loading import complete_loading
from evaluation.vbench.runner import Scorer, Watch, in_batches, run


def limit_batches(module: ModuleType, watch: Watch) -> None:
    """Let fewer than sixteen frames be captioned at once when they are too many for the memory."""
    caption: Any = module.get_caption

    def caption_limited(model: Any, pictures: Any) -> Any:
        return in_batches(lambda part: caption(model, part), watch, lambda parts: list(chain(*parts)))(
            pictures
        )

    module.get_caption = caption_limited  # type: ignore[attr-defined]


SCORER = Scorer("scene", TAG2TEXT, limit_batches, batched=True, around=complete_loading)

if __name__ == "__main__":
    sys.exit(run(SCORER))
