"""Scene: share of sixteen frames whose Tag2Text caption holds every word of the scene.

VBench loads the weights with strict=False, so a file with other names would load nothing, silently.
"""

from __future__ import annotations

import sys

from evaluation.vbench.files import TAG2TEXT
from evaluation.vbench.loading import complete_loading
from evaluation.vbench.runner import Scorer, run

SCORER = Scorer("scene", TAG2TEXT, around=complete_loading)

if __name__ == "__main__":
    sys.exit(run(SCORER))
