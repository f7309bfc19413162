"""Color: GRiT's captions of the named object. Clips in which it is never seen with any colour are left out,
as VBench does.
"""

from __future__ import annotations

import sys

from evaluation.vbench.worker.fast.grit import describe_whole_clips
from evaluation.vbench.worker.files import GRIT
from evaluation.vbench.worker.runner import Scorer, run

SCORER = Scorer("color", GRIT, leaves_out=True, speed_up=describe_whole_clips)

if __name__ == "__main__":
    sys.exit(run(SCORER))
