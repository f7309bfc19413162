"""Background consistency: CLIP ViT-B/32 features of neighbouring frames and of the first, all frames of a
clip in one batch.
"""

from __future__ import annotations

import sys

from evaluation.vbench.worker.clip_batches import limit_batches
from evaluation.vbench.worker.fast.clip import background_in_batches
from evaluation.vbench.worker.files import CLIP_B32
from evaluation.vbench.worker.runner import Scorer, run

SCORER = Scorer(
    "background_consistency", CLIP_B32, limit_batches, batched=True, speed_up=background_in_batches
)

if __name__ == "__main__":
    sys.exit(run(SCORER))
