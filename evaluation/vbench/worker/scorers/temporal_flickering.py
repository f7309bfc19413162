"""Temporal flickering: mean absolute difference of neighbouring frames. No network."""

from __future__ import annotations

import sys

from evaluation.vbench.worker.fast.flicker import difference_of_bytes
from evaluation.vbench.worker.runner import Scorer, run

SCORER = Scorer("temporal_flickering", (), speed_up=difference_of_bytes)

if __name__ == "__main__":
    sys.exit(run(SCORER))
