"""Imaging quality: MUSIQ trained on SPAQ; clips on 0..100, the score on 0..1."""

from __future__ import annotations

import sys

from evaluation.vbench.worker.fast.musiq import score_in_batches
from evaluation.vbench.worker.files import MUSIQ
from evaluation.vbench.worker.runner import Scorer, run

SCORER = Scorer("imaging_quality", MUSIQ, limits=(0.0, 100.0), speed_up=score_in_batches)

if __name__ == "__main__":
    sys.exit(run(SCORER))
