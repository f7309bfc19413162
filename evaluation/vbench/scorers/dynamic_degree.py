"""Dynamic degree: whether RAFT's flow says that a clip moves."""

from __future__ import annotations

import sys

from evaluation.vbench.files import RAFT
from evaluation.vbench.runner import Scorer, run

SCORER = Scorer("dynamic_degree", RAFT)

if __name__ == "__main__":
    sys.exit(run(SCORER))
