"""Background consistency: CLIP ViT-B/32 features of neighbouring frames and of the first."""

from __future__ import annotations

import sys

from evaluation.vbench.files import CLIP_B32
from evaluation.vbench.runner import Scorer, run

SCORER = Scorer("background_consistency", CLIP_B32)

if __name__ == "__main__":
    sys.exit(run(SCORER))
