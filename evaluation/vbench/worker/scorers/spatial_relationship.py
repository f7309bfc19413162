"""Spatial relationship: GRiT's boxes of two objects."""

from __future__ import annotations

import sys

from evaluation.vbench.worker.fast.grit import describe_whole_clips
from evaluation.vbench.worker.files import GRIT
from evaluation.vbench.worker.runner import Scorer, run

SCORER = Scorer("spatial_relationship", GRIT, speed_up=describe_whole_clips)

if __name__ == "__main__":
    sys.exit(run(SCORER))
