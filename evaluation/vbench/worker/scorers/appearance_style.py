"""Appearance style: CLIP ViT-B/32's logit of every frame and the style phrase."""

from __future__ import annotations

import sys

from evaluation.vbench.worker.fast.clip import style_in_batches
from evaluation.vbench.worker.files import CLIP_B32
from evaluation.vbench.worker.runner import Scorer, run

SCORER = Scorer("appearance_style", CLIP_B32, limits=(-1.0, 1.0), speed_up=style_in_batches)

if __name__ == "__main__":
    sys.exit(run(SCORER))
