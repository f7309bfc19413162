"""Subject consistency compares DINO ViT-B/16 features of neighbouring frames, and of each with the first.

VBench's score is a sum over all frames, and its rows hold only each clip's quotient, from which the sum
cannot be had back to the last digit. The cosines are noted as they pass, summed as the package sums them, and
must give the package's quotient exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from evaluation.vbench.worker.fast.frames import NotedCosines
from evaluation.vbench.worker.watch import LoopWatch


def note_sums(module: ModuleType, watch: LoopWatch) -> Callable[[list[dict[str, Any]]], None]:
    """Note cosines; then give rows `video_sim` and `cnt_per_video`, as background consistency has them."""
    by_clip: list[list[float]] = []

    def begin_clip() -> None:
        if watch.item == 1:
            by_clip.clear()  # where memory ran out, all clips come again
        by_clip.append([])

    watch.on_item = begin_clip
    module.F = NotedCosines(module.F, lambda cosine: by_clip[-1].append(cosine))  # type: ignore[attr-defined]

    def add_sums(rows: list[dict[str, Any]]) -> None:
        for row, values in zip(rows, by_clip, strict=True):
            total = 0.0
            for before, first in zip(values[::2], values[1::2], strict=True):
                total += (max(0.0, before) + max(0.0, first)) / 2
            row["video_sim"], row["cnt_per_video"] = total, len(values) // 2
            if total / row["cnt_per_video"] != row["video_results"]:
                raise ValueError(
                    f"subject_consistency: the noted cosines of {row['video_path']} give "
                    f"{total / row['cnt_per_video']!r}, the package says {row['video_results']!r}; this is "
                    "another version of vbench than 0.1.5."
                )

    return add_sums
