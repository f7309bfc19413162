"""Spatial relationship: GRiT's boxes of two objects."""

from __future__ import annotations

import sys

from evaluation.vbench.files import GRIT
from evaluation.vbench.runner import Scorer, run

SCORER = Scorer("spatial_relationship", GRIT)

if __name__ == "__main__":
    sys.exit(run(SCORER))
