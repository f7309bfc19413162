"""Aesthetic quality: LAION's linear head on CLIP ViT-L/14 features, 32 frames at once."""

from __future__ import annotations

import sys

from evaluation.vbench.worker.clip_batches import limit_batches
from evaluation.vbench.worker.fast.clip import aesthetic_in_batches
from evaluation.vbench.worker.files import AESTHETIC_HEAD, CLIP_L14
from evaluation.vbench.worker.runner import Scorer, run

SCORER = Scorer(
    "aesthetic_quality", CLIP_L14 + AESTHETIC_HEAD, limit_batches, batched=True, speed_up=aesthetic_in_batches
)

if __name__ == "__main__":
    sys.exit(run(SCORER))
