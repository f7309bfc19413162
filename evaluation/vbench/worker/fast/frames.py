"""What the fast functions of several dimensions share: clips as bytes, read ahead, and networks that take a
clip's frames in batches.

Legend: T pixel frames of a clip, B of a batch, h, w their size.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from evaluation.vbench.worker.watch import LoopWatch


def read_bytes(module: ModuleType, watch: LoopWatch) -> None:
    """Let a dimension read clips ahead and as bytes [T, 3, h, w] on the CPU, where the package makes float32
    of all of them, 4 times the size.

    The values of a clip's frames begin anew when it is read.
    """
    official: Any = module.load_video

    def as_bytes(path: str) -> Tensor:
        return torch.from_numpy(official(path, return_tensor=False)).permute(0, 3, 1, 2)

    module.load_video = noted_reading(watch.ahead(as_bytes), watch)  # type: ignore[attr-defined]


def noted_reading(read: Callable[..., Any], watch: LoopWatch) -> Callable[[str], Any]:
    """A reader that begins a clip's frame values anew: after memory ran out, all clips come again."""

    def begin(path: str, **options: Any) -> Any:
        clip = read(path, **options)
        watch.frame_values[watch.clip] = []
        return clip

    return begin


def over_batches(network: Callable[[Tensor], Tensor], frames: Tensor, size: int) -> Tensor:
    """network(part) of `size` frames at a time, joined, without gradients."""
    with torch.inference_mode():
        return torch.cat([network(frames[start : start + size]) for start in range(0, len(frames), size)])


class NotedCosines:
    """torch.nn.functional whose cosine_similarity gives each of its values to `note` too."""

    def __init__(self, functional: Any, note: Callable[[float], None]) -> None:
        self.functional = functional
        self.note = note

    def __getattr__(self, name: str) -> Any:
        return getattr(self.functional, name)

    def cosine_similarity(self, first: Any, second: Any) -> Any:
        """As torch's, noted."""
        value = self.functional.cosine_similarity(first, second)
        self.note(value.item())
        return value


def note_frame_values(module: ModuleType, watch: LoopWatch) -> None:
    """Note, for every frame but the first, the mean of its cosines with the one before and the first."""
    asked: list[float] = []

    def note(cosine: float) -> None:
        asked.append(max(0.0, cosine))
        if len(asked) == 2:
            values = watch.frame_values[watch.clip]
            values += ([] if values else [None]) + [sum(asked) / 2]
            asked.clear()

    module.F = NotedCosines(module.F, note)  # type: ignore[attr-defined]
