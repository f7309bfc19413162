"""Dynamic degree: whether RAFT's flow says that a clip moves.

A flow that is no number would count as stillness, because every comparison with it is false (RAFT gives such
flows for pictures with a side under 128 pixels).
"""

from __future__ import annotations

import math
import sys
from types import ModuleType
from typing import Any

from evaluation.vbench.worker.fast.motion import stop_early
from evaluation.vbench.worker.files import RAFT
from evaluation.vbench.worker.runner import Scorer, Watch, run


def refuse_no_numbers(module: ModuleType, _: Watch) -> None:
    """Let a pair's value that is not finite end the job."""
    official: Any = module.DynamicDegree

    class Finite(official):  # type: ignore[misc]
        def get_score(self, picture: Any, flow: Any) -> Any:
            value = super().get_score(picture, flow)
            if not math.isfinite(value):
                raise ValueError(
                    f"the flow of a pair of its frames is {value}: the picture is smaller than 128 pixels, "
                    "or RAFT's weights are wrong"
                )
            return value

    module.DynamicDegree = Finite  # type: ignore[attr-defined]


SCORER = Scorer("dynamic_degree", RAFT, refuse_no_numbers, speed_up=stop_early)

if __name__ == "__main__":
    sys.exit(run(SCORER))
