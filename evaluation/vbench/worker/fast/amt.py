"""Motion smoothness with AMT-S in batches of pairs: the package's network, paddings and roundings, without a
round trip for every frame.

The frames that AMT makes become bytes on the device, and their differences are sums of integers, so the value
is the package's own to the last digit where the network gives the same floats. In batches its sums have
another order: a few bytes in a million may differ by one.

On a GPU the convolutions are in full float32, where torch takes TF32 for the package: with TF32 the kernels
of larger batches move a clip's value by 8e-5, without it by 1e-8 (H100, random weights). The package's own
TF32 moves it by 2e-6.
"""

from __future__ import annotations

from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evaluation.vbench.worker.fast.raft import read_motion_frames
from evaluation.vbench.worker.watch import LoopWatch

PAIRS_ON_GPU = 8
"""Pairs of 480x832 frames at once: AMT keeps all correlations of both directions, 0.7 GB a pair."""


def predict_in_batches(module: ModuleType, watch: LoopWatch) -> None:
    """Let MotionSmoothness read clips ahead and give AMT many pairs at once."""
    official: Any = module.MotionSmoothness
    read = watch.ahead(read_motion_frames)
    keep_warp_grids()

    class InBatches(official):  # type: ignore[misc]
        def motion_score(self, video_path: str) -> float:
            frames, _ = read(video_path)
            assert len(frames) > 2, f"motion smoothness needs 3 frames, found {len(frames)}"
            usual = PAIRS_ON_GPU if self.device.type == "cuda" else 1
            differences = self.differences(frames.to(self.device), watch.at_once(usual))
            values: list[float | None] = [None] * len(frames)
            values[1 : 2 * len(differences) : 2] = [(255.0 - one) / 255.0 for one in differences]
            watch.frame_values[watch.clip] = values
            return float((255.0 - np.mean(np.array(differences))) / 255.0)

        def differences(self, frames: Tensor, at_once: int) -> list[float]:
            """Mean |odd frame - its prediction| of each. frames: bytes [T, 3, h, w] on the device."""
            pairs = list(pairwise(range(0, len(frames), 2)))
            found: list[float] = []
            for start in range(0, len(pairs), at_once):
                befores, afters = zip(*pairs[start : start + at_once], strict=True)
                with torch.inference_mode():
                    made = self.middle(frames[list(befores)], frames[list(afters)])
                    real = frames[[before + 1 for before in befores]]
                    sums = (made.short() - real.short()).abs().flatten(1).sum(1)
                found += [total / real[0].numel() for total in sums.tolist()]
            return found

        def middle(self, before: Tensor, after: Tensor) -> Tensor:
            """The frames between, bytes [B, 3, h, w]: the package's img2tensor, padding, network and
            tensor2img, at the scale of 1 that it takes up to 8192 x 8192 pixels.
            """
            padder = module.InputPadder(before.shape, 16)
            first, second = padder.pad(before / 255.0, after / 255.0)
            halfway = self.embt.expand(len(before), 1, 1, 1)
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                made = self.model(first, second, halfway, scale_factor=1.0, eval=True)["imgt_pred"]
            predicted: Tensor = padder.unpad(made)
            return (predicted * 255.0).clamp(0, 255).to(torch.uint8)

    module.MotionSmoothness = InBatches  # type: ignore[attr-defined]


def keep_warp_grids() -> None:
    """Let AMT's warp keep its grid, which the package makes and uploads at every call. Exact."""
    from vbench.third_party.amt.networks.blocks import ifrnet, multi_flow

    grids: dict[tuple[Any, ...], Tensor] = {}

    def grid_of(height: int, width: int, like: Tensor) -> Tensor:
        key = (height, width, like.device, like.dtype)
        if key not in grids:
            across = torch.linspace(-1.0, 1.0, width).view(1, 1, 1, width).expand(1, -1, height, -1)
            down = torch.linspace(-1.0, 1.0, height).view(1, 1, height, 1).expand(1, -1, -1, width)
            grids[key] = torch.cat([across, down], 1).to(like)
        return grids[key]

    def warp(image: Tensor, flow: Tensor) -> Tensor:
        height, width = flow.shape[-2:]
        steps = torch.cat(
            [flow[:, 0:1] / ((width - 1.0) / 2.0), flow[:, 1:2] / ((height - 1.0) / 2.0)], dim=1
        )
        places = (grid_of(height, width, image) + steps).permute(0, 2, 3, 1)
        return torch.nn.functional.grid_sample(
            image, places, mode="bilinear", padding_mode="border", align_corners=True
        )

    for user in (ifrnet, multi_flow):
        user.warp = warp
