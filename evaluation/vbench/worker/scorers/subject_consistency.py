"""Subject consistency compares DINO ViT-B/16 features of neighbouring frames, and of each with the first.

VBench's score is a sum over all frames, and its rows hold only each clip's quotient, from which the sum
cannot be had back to the last digit. The cosines are noted as they pass, summed as the package sums them, and
must give the package's quotient exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from evaluation.vbench.worker.watch import LoopWatch


class NotedCosines:
    """torch.nn.functional whose cosine_similarity notes its values, by clip."""

    def __init__(self, functional: Any, watch: LoopWatch) -> None:
        self.functional = functional
        self.by_clip: list[list[float]] = []
        watch.on_item = lambda: self.by_clip.append([])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.functional, name)

    def cosine_similarity(self, first: Any, second: Any) -> Any:
        """As torch's, noted."""
        value = self.functional.cosine_similarity(first, second)
        self.by_clip[-1].append(value.item())
        return value


def note_sums(module: ModuleType, watch: LoopWatch) -> Callable[[list[dict[str, Any]]], None]:
    """Note cosines; afterwards give every row `video_sim` and `cnt_per_video`, as background consistency has
    them.
    """
    noted = NotedCosines(module.F, watch)
    module.F = noted  # type: ignore[attr-defined]

    def add_sums(rows: list[dict[str, Any]]) -> None:
        for row, values in zip(rows, noted.by_clip, strict=True):
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
