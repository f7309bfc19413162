"""Subject consistency with DINO in batches; the package's own loop takes cosines of the features."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from evaluation.vbench.worker.fast.frames import note_frame_values, over_batches, read_bytes
from evaluation.vbench.worker.watch import LoopWatch

FRAMES_ON_GPU, FRAMES_ON_CPU = 27, 1
"""Frames that go through DINO at once."""


def encode_in_batches(module: ModuleType, watch: LoopWatch) -> None:
    """Replace the preparation of a clip by its features [T, 768], and the network in the loop by nothing.

    Features of a batch differ from single ones in the order of float32 sums: about 1e-6 of a cosine.
    """
    official: Any = module.subject_consistency
    transform = module.dino_transform(224)
    read_bytes(module, watch)
    note_frame_values(module, watch)

    def subject_consistency(network: Any, clips: Any, device: torch.device, read_frame: bool) -> Any:
        def encode(part: Tensor) -> Tensor:
            feature: Tensor = network(transform(part.to(device).float()))
            return feature

        def features(frames: Tensor) -> Tensor:
            usual = FRAMES_ON_GPU if device.type == "cuda" else FRAMES_ON_CPU
            return over_batches(encode, frames, watch.at_once(usual)).cpu()

        module.dino_transform = lambda _: features  # type: ignore[attr-defined]
        return official(lambda feature: feature, clips, torch.device("cpu"), read_frame)

    module.subject_consistency = subject_consistency  # type: ignore[attr-defined]
