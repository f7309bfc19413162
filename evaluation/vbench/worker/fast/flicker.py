"""Temporal flickering with half the copies: the same floats in the same order, so the same value exactly."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from evaluation.vbench.worker.watch import LoopWatch


def difference_of_bytes(module: ModuleType, watch: LoopWatch) -> None:
    """Read clips ahead and take differences of bytes, where the package makes float32 of both frames first;
    then its own float32 mean.
    """
    cv2: Any = module.cv2
    official: Any = module.mae_seq

    def calculate_mae(one: Any, other: Any) -> Any:
        return np.mean(cv2.absdiff(one, other).astype(np.float32))

    def mae_seq(frames: Any) -> Any:
        found = official(frames)
        watch.frame_values[watch.clip] = [None, *((255.0 - one) / 255.0 for one in found.tolist())]
        return found

    module.get_frames = watch.ahead(module.get_frames)  # type: ignore[attr-defined]
    module.calculate_mae = calculate_mae  # type: ignore[attr-defined]
    module.mae_seq = mae_seq  # type: ignore[attr-defined]
