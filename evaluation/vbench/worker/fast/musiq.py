"""Imaging quality with MUSIQ in batches; the package's own loop adds the scores up."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from evaluation.vbench.worker.fast.frames import over_batches, read_bytes
from evaluation.vbench.worker.watch import LoopWatch

IMAGES_ON_GPU, IMAGES_ON_CPU = 16, 1
"""Frames that go through MUSIQ at once."""


def score_in_batches(module: ModuleType, watch: LoopWatch) -> None:
    """Replace the preparation of a clip by its scores [T], and the network in the loop by nothing. Frames are
    resized on the device.

    Scores of a batch differ from single ones in the order of float32 sums: about 1e-6.
    """
    official: Any = module.technical_quality
    transform: Any = module.transform
    read_bytes(module, watch)

    def technical_quality(network: Any, clips: Any, device: torch.device, **options: Any) -> Any:
        def scores(frames: Tensor, mode: str) -> Tensor:
            found = over_batches(
                lambda part: network(transform(part.to(device).float(), mode)).flatten(),
                frames,
                watch.at_once(IMAGES_ON_GPU if device.type == "cuda" else IMAGES_ON_CPU),
            ).cpu()
            watch.frame_values[watch.clip] = [score / 100 for score in found.tolist()]
            return found

        module.transform = scores  # type: ignore[attr-defined]
        return official(lambda score: score, clips, torch.device("cpu"), **options)

    module.technical_quality = technical_quality  # type: ignore[attr-defined]
