"""Temporal flickering: mean absolute difference of neighbouring frames. No network."""

from __future__ import annotations

import sys

from evaluation.vbench.runner import Scorer, run

SCORER = Scorer("temporal_flickering", ())

if __name__ == "__main__":
    sys.exit(run(SCORER))
