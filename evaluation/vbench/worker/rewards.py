"""Six rewards of CM-GRPO computed by VBench's networks on frames in memory: RAFT, aesthetic, imaging, motion
smoothness, subject and background consistency (models/training/methods.md#rewards).

A clip is uint8 frames [T, h, w, 3] at a known frame rate; a reward is one number, higher is better. The
preprocessing is VBench 0.1.5's own, which is called where it is a function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from evaluation.vbench.worker import networks

PixelFrames = NDArray[np.uint8]
ClipReward = Callable[[PixelFrames, float], float]
"""(frames [T, h, w, 3], frames a second) -> score."""

RAFT_FPS, RAFT_ITERATIONS, RAFT_SHARE = 8, 20, 0.05
CLIP_PIXELS, CLIP_BATCH = 224, 32
AMT_PADDING = 16


def every_nth(fps: float) -> int:
    """How far apart the frames are between which flow is measured, so that they are about 8 a second."""
    return max(1, round(fps / RAFT_FPS))


def optical_flow(raft: nn.Module, first: Tensor, second: Tensor) -> Tensor:
    """Flow [2, H, W] in pixels from one frame to another, both [1, 3, h, w] in 0..255. H and W are h and w
    padded to multiples of 8, as VBench leaves them.
    """
    from vbench.third_party.RAFT.core.utils_core.utils import InputPadder

    first, second = InputPadder(first.shape).pad(first, second)
    with torch.no_grad():
        flow: Tensor = raft(first, second, iters=RAFT_ITERATIONS, test_mode=True)[1]
    return flow[0]


def largest_flow(flow: Tensor, share: float = RAFT_SHARE) -> float:
    """Mean magnitude, in pixels, of the largest `share` of a flow field [2, H, W]. Raises ValueError if that
    is no pixel.
    """
    size = flow.square().sum(0).sqrt().flatten()
    count = int(len(size) * share)
    if count < 1:
        raise ValueError(
            f"an image of {len(size)} pixels is too small for the largest {share:.0%} of its flow; "
            "enlarge it."
        )
    return float(size.topk(count).values.double().mean())


def raft_reward(raft: nn.Module, frames: PixelFrames, fps: float) -> float:
    """Mean over consecutive frames, 8 a second, of the mean of the largest 5 % flow magnitudes, in pixels."""
    device = next(raft.parameters()).device
    thinned = frames[:: every_nth(fps)]
    if len(thinned) < 2:
        raise ValueError(
            f"optical flow needs 2 frames at {RAFT_FPS} a second, found {len(thinned)}; use a longer clip."
        )
    images = [as_images(frame[None]).to(device) for frame in thinned]
    flows = (optical_flow(raft, one, other) for one, other in pairwise(images))
    return float(np.mean([largest_flow(flow) for flow in flows]))


def aesthetic_reward(clip: nn.Module, head: nn.Module, frames: PixelFrames) -> float:
    """Mean over frames of LAION's rating / 10 of CLIP's normalised feature."""
    from vbench.utils import clip_transform

    device, prepare = next(head.parameters()).device, clip_transform(CLIP_PIXELS)
    ratings = []
    with torch.no_grad():
        for start in range(0, len(frames), CLIP_BATCH):
            images = prepare(as_images(frames[start : start + CLIP_BATCH])).to(device)
            feature = F.normalize(clip.encode_image(images).float(), dim=-1)  # type: ignore[operator]
            ratings.append(head(feature).squeeze(-1))
    return float((torch.cat(ratings) / 10).mean())


def imaging_reward(musiq: nn.Module, frames: PixelFrames) -> float:
    """Mean over frames of MUSIQ's score / 100; the long side is at most 512."""
    from vbench.imaging_quality import transform

    device = next(musiq.parameters()).device
    images = transform(as_images(frames), "longer")
    with torch.no_grad():
        scores = [float(musiq(image[None].to(device))) for image in images]
    return sum(scores) / len(scores) / 100


def motion_smoothness_reward(amt: nn.Module, frames: PixelFrames) -> float:
    """1 - mean difference / 255 between every odd frame and what AMT-S makes of its neighbours, both as
    bytes.
    """
    from vbench.third_party.amt.utils.utils import InputPadder, img2tensor, tensor2img

    if len(frames) < 3:
        raise ValueError(
            f"motion smoothness needs 3 frames, the middle one predicted, found {len(frames)}; use a "
            "longer clip."
        )
    device = next(amt.parameters()).device
    even = [img2tensor(frame).to(device) for frame in frames[::2]]
    padder = InputPadder(even[0].shape, AMT_PADDING)
    padded: Sequence[Tensor] = padder.pad(*even)
    halfway = torch.full((1, 1, 1, 1), 0.5, device=device)
    differences = []
    for i, (before, after) in enumerate(pairwise(padded)):
        with torch.no_grad():
            made = amt(before, after, halfway, scale_factor=1.0, eval=True)["imgt_pred"]
        predicted = tensor2img(padder.unpad(made)).astype(np.int16)
        differences.append(np.abs(predicted - frames[2 * i + 1]).mean())
    return float(1 - np.mean(differences) / 255)


def subject_consistency_reward(dino: nn.Module, frames: PixelFrames) -> float:
    """`consistency` of DINO's features."""
    from vbench.utils import dino_transform

    return consistency(image_features(dino, dino_transform(CLIP_PIXELS), frames))


def background_consistency_reward(clip: nn.Module, frames: PixelFrames) -> float:
    """`consistency` of CLIP's features of images."""
    from vbench.utils import clip_transform

    return consistency(image_features(clip.encode_image, clip_transform(CLIP_PIXELS), frames, clip))


def image_features(
    encode: Any, prepare: Callable[[Tensor], Tensor], frames: PixelFrames, network: nn.Module | None = None
) -> Tensor:
    """Features [T, D] of frames, some at a time. network: of `encode`, where that is not the network."""
    device = next((network or encode).parameters()).device
    with torch.no_grad():
        parts = [
            encode(prepare(as_images(frames[start : start + CLIP_BATCH])).to(device))
            for start in range(0, len(frames), CLIP_BATCH)
        ]
    return torch.cat(parts)


def consistency(features: Tensor) -> float:
    """VBench's formula for features [T, D] of a clip: the mean, over all frames but the first, of the cosines
    to the frame before and to the first, negative ones counted as 0.

    Raises ValueError for fewer than 2 frames.
    """
    if len(features) < 2:
        raise ValueError(f"consistency needs 2 frames, found {len(features)}; use a longer clip.")
    one = F.normalize(features, dim=-1)
    before, first = (F.cosine_similarity(other, one[1:], dim=-1) for other in (one[:-1], one[:1]))
    return float((before.double().clamp(min=0) + first.double().clamp(min=0)).mean() / 2)


def as_images(frames: PixelFrames) -> Tensor:
    """Float images [T, 3, h, w] in 0..255 of bytes [T, h, w, 3]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()


def open_raft(folder: Path, device: torch.device) -> ClipReward:
    """`raft_reward` with the network that lies in `folder`; so are the five below."""
    raft = networks.load_raft(folder, device)
    return lambda frames, fps: raft_reward(raft, frames, fps)


def open_aesthetic(folder: Path, device: torch.device) -> ClipReward:
    clip, head = networks.load_clip("clip_l14", folder, device), networks.load_aesthetic_head(folder, device)
    return lambda frames, _: aesthetic_reward(clip, head, frames)


def open_imaging(folder: Path, device: torch.device) -> ClipReward:
    musiq = networks.load_musiq(folder, device)
    return lambda frames, _: imaging_reward(musiq, frames)


def open_motion_smoothness(folder: Path, device: torch.device) -> ClipReward:
    amt = networks.load_amt(folder, device)
    return lambda frames, _: motion_smoothness_reward(amt, frames)


def open_subject_consistency(folder: Path, device: torch.device) -> ClipReward:
    dino = networks.load_dino(folder, device)
    return lambda frames, _: subject_consistency_reward(dino, frames)


def open_background_consistency(folder: Path, device: torch.device) -> ClipReward:
    clip = networks.load_clip("clip_b32", folder, device)
    return lambda frames, _: background_consistency_reward(clip, frames)


OPENERS: dict[str, Callable[[Path, torch.device], ClipReward]] = {
    "raft": open_raft,
    "aesthetic": open_aesthetic,
    "imaging": open_imaging,
    "motion_smoothness": open_motion_smoothness,
    "subject_consistency": open_subject_consistency,
    "background_consistency": open_background_consistency,
}
"""How each reward is opened from the folder of VBench's weights."""
