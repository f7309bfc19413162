"""Overall consistency: ViCLIP's cosine of clip and prompt."""

from __future__ import annotations

import sys

from evaluation.vbench.worker.fast.viclip import trim_encoder
from evaluation.vbench.worker.files import VICLIP
from evaluation.vbench.worker.runner import Scorer, run

SCORER = Scorer("overall_consistency", VICLIP, limits=(-1.0, 1.0), speed_up=trim_encoder)

if __name__ == "__main__":
    sys.exit(run(SCORER))
