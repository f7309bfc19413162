"""Human action: whether the label is among UMT's first five of 400 actions.

VBench loads the weights with strict=False, so a file with other names would load nothing, silently.
"""

from __future__ import annotations

import sys

from evaluation.vbench.worker.fast.umt import fuse_attention
from evaluation.vbench.worker.files import UMT
from evaluation.vbench.worker.loading import complete_loading
from evaluation.vbench.worker.runner import Scorer, run

SCORER = Scorer("human_action", UMT, around=complete_loading, speed_up=fuse_attention)

if __name__ == "__main__":
    sys.exit(run(SCORER))
