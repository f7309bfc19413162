"""Dynamic degree says by RAFT's flow whether a clip moves.

A flow that is no number would count as no motion, because every comparison with it is false. RAFT gives such
flows for frames with a side under 128 pixels.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from evaluation.vbench.worker.early_stop import finite_flow
from evaluation.vbench.worker.watch import LoopWatch


def refuse_no_numbers(module: ModuleType, _: LoopWatch) -> None:
    """Let a pair's value that is not finite end the job with a ValueError."""
    official: Any = module.DynamicDegree

    class Finite(official):  # type: ignore[misc]
        def get_score(self, frame: Any, flow: Any) -> Any:
            (value,) = finite_flow([super().get_score(frame, flow)])
            return value

    module.DynamicDegree = Finite  # type: ignore[attr-defined]
