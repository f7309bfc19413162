"""Motion smoothness: how well AMT-S predicts every other frame."""

from __future__ import annotations

import sys

from evaluation.vbench.worker.fast.amt import predict_in_batches
from evaluation.vbench.worker.files import AMT
from evaluation.vbench.worker.runner import Scorer, run

SCORER = Scorer("motion_smoothness", AMT, speed_up=predict_in_batches)

if __name__ == "__main__":
    sys.exit(run(SCORER))
