"""Dynamic degree with RAFT's fast flow, each clip only as far as its answer needs; the package's limits."""

from __future__ import annotations

from itertools import pairwise
from types import ModuleType
from typing import Any

from evaluation.vbench.worker.early_stop import moves
from evaluation.vbench.worker.fast.raft import ClipFlows, FastRaft, read_motion_frames, usual_batch
from evaluation.vbench.worker.watch import LoopWatch

MOTION_SHARE = 0.05
"""Share of the pixels, those with the largest flow, as in the package's get_score."""


def stop_early(module: ModuleType, watch: LoopWatch) -> None:
    """Let DynamicDegree look at pairs in batches until the answer is known."""
    official: Any = module.DynamicDegree
    read = watch.ahead(read_motion_frames)

    class Early(official):  # type: ignore[misc]
        def load_model(self) -> None:
            super().load_model()
            self.raft = FastRaft(self.model)

        def infer(self, video_path: str) -> bool:
            frames, fps = read(video_path)
            frames = frames[:: max(1, round(fps / 8))]
            self.set_params(frame=frames[0], count=len(frames))
            needed = self.params["count_num"]
            flows = ClipFlows(self.raft, frames.to(self.device), MOTION_SHARE)
            at_once, total = watch.at_once(usual_batch(self.device, needed)), len(frames) - 1
            return moves(
                flows.values(list(pairwise(range(len(frames)))), at_once, enough=total - needed + 1),
                limit=self.params["thres"],
                needed=needed,
                total=total,
            )

    module.DynamicDegree = Early  # type: ignore[attr-defined]
