"""RAFT's flow of the pairs of a clip with less work: the package's network and weights, its arithmetic in
another order.

What differs from vbench.third_party.RAFT's forward, called once for every pair:

- every frame goes through the feature network once, not as the left and again as the right of a pair
  (its norm is of each frame alone, so nothing changes);
- the flow is enlarged, and its mask computed, after the last of 20 iterations, not after each (the others are
  thrown away);
- of the six convolutions of the recurrent unit, the share of the context, which stays the same, is computed
  once, not 20 times, and the two gates are one convolution: sums of float32 products in another order, about
  1e-6 of the flow;
- pairs go in batches, and on a CPU images lie with their channels last.

Legend: B pairs of a batch, T frames, C channels, h, w frame size padded to multiples of 8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ITERATIONS = 20
"""Of the recurrent unit, as the package asks for."""
FramePair = tuple[int, int]


class FastRaft:
    """The package's RAFT (large), taken apart. network: on its device, in evaluation mode."""

    def __init__(self, network: Any) -> None:
        self.layout = (
            torch.channels_last
            if next(network.parameters()).device.type == "cpu"
            else torch.contiguous_format
        )
        self.network = network.to(memory_format=self.layout)
        self.hidden, self.context = network.hidden_dim, network.context_dim
        gru = network.update_block.gru
        self.passes = [
            _Gates(self, gru.convz1, gru.convr1, gru.convq1),
            _Gates(self, gru.convz2, gru.convr2, gru.convq2),
        ]

    def images(self, frames: Tensor) -> Tensor:
        """Bytes [B, 3, H, W] as the network wants them: padded by repetition, -1..1."""
        from vbench.third_party.RAFT.core.utils_core.utils import InputPadder

        device = next(self.network.parameters()).device
        (padded,) = InputPadder(frames.shape).pad(frames.to(device).float())
        images: Tensor = (2 * (padded / 255.0) - 1.0).contiguous(memory_format=self.layout)
        return images

    def flow(self, first: Tensor, second: Tensor, context: Tensor) -> Tensor:
        """Flow [B, 2, h, w] in pixels. first, second, context: maps [B, 256, h/8, w/8] of the frames."""
        from vbench.third_party.RAFT.core.corr import CorrBlock

        block = self.network.update_block
        correlation = CorrBlock(first.contiguous(), second.contiguous(), radius=self.network.args.corr_radius)
        state, given = torch.split(context, [self.hidden, self.context], dim=1)
        state, given = torch.tanh(state), torch.relu(given)
        fixed = [one.of_context(given) for one in self.passes]
        height, width = first.shape[-2:]
        start, coordinates = self.network.initialize_flow(
            first.new_empty(len(first), 3, 8 * height, 8 * width)
        )
        for _ in range(ITERATIONS):
            near = correlation(coordinates).contiguous(memory_format=self.layout)
            motion = block.encoder((coordinates - start).contiguous(memory_format=self.layout), near)
            for one, known in zip(self.passes, fixed, strict=True):
                state = one.step(state, motion, known)
            coordinates = coordinates + block.flow_head(state)
        mask = 0.25 * block.mask(state)
        enlarged: Tensor = self.network.upsample_flow((coordinates - start).contiguous(), mask.contiguous())
        return enlarged


class _Gates:
    """A pass of the recurrent unit, h' = (1 - z) h + z q, its convolutions split by what they see."""

    def __init__(self, raft: FastRaft, update: Any, reset: Any, candidate: Any) -> None:
        self.padding = update.padding
        seen = (raft.hidden, raft.context)
        both = torch.cat([update.weight, reset.weight])
        self.bias = torch.cat([update.bias, reset.bias]), candidate.bias
        self.from_context = tuple(
            w[:, seen[0] : sum(seen)].contiguous(memory_format=raft.layout) for w in (both, candidate.weight)
        )
        self.from_rest = tuple(
            torch.cat([w[:, : seen[0]], w[:, sum(seen) :]], dim=1).contiguous(memory_format=raft.layout)
            for w in (both, candidate.weight)
        )

    def of_context(self, given: Tensor) -> tuple[Tensor, Tensor]:
        """The context's share, and the bias, of both gates together and of the candidate."""
        gates, candidate = (
            F.conv2d(given, weight, bias, padding=self.padding)
            for weight, bias in zip(self.from_context, self.bias, strict=True)
        )
        return gates, candidate

    def step(self, state: Tensor, motion: Tensor, known: tuple[Tensor, Tensor]) -> Tensor:
        """The next state."""
        seen = F.conv2d(torch.cat([state, motion], dim=1), self.from_rest[0], padding=self.padding)
        update, reset = torch.sigmoid(seen + known[0]).chunk(2, dim=1)
        seen = F.conv2d(torch.cat([reset * state, motion], dim=1), self.from_rest[1], padding=self.padding)
        return (1 - update) * state + update * torch.tanh(seen + known[1])


class ClipFlows:
    """Sizes of the flow between frames of one clip. frames: bytes [T, 3, H, W], on any device.

    share: of the pixels, those with the largest flow, whose mean magnitude is a pair's value (the package's
    get_score).
    """

    def __init__(self, raft: FastRaft, frames: Tensor, share: float) -> None:
        self.raft = raft
        self.frames = frames
        self.share = share
        self.features: dict[int, Tensor] = {}

    def values(self, pairs: Sequence[FramePair], at_once: int, *, enough: int = 0) -> Iterator[float]:
        """The value of each pair, in order. `at_once` are computed when the first of them is asked for.

        enough: after so many pairs it may be known that the others are not needed, so a batch ends there.
        """
        for segment in (pairs[: max(enough, 0)], pairs[max(enough, 0) :]):
            for start in range(0, len(segment), at_once):
                with torch.inference_mode():
                    found = self._values(segment[start : start + at_once])
                yield from found

    def _values(self, pairs: Sequence[FramePair]) -> list[float]:
        needed = sorted({t for pair in pairs for t in pair})
        firsts = sorted({first for first, _ in pairs})
        images = dict(zip(needed, self.raft.images(self.frames[needed]), strict=True))
        unknown = [t for t in needed if t not in self.features]
        found = self.raft.network.fnet(torch.stack([images[t] for t in unknown])) if unknown else ()
        known = self.features | dict(zip(unknown, found, strict=True))
        self.features = {t: feature for t, feature in known.items() if t in needed or t == 0}
        context = dict(
            zip(firsts, self.raft.network.cnet(torch.stack([images[t] for t in firsts])), strict=True)
        )
        flow = self.raft.flow(
            torch.stack([known[first] for first, _ in pairs]),
            torch.stack([known[second] for _, second in pairs]),
            torch.stack([context[first] for first, _ in pairs]),
        )
        size = flow.square().sum(1).sqrt().flatten(1)
        largest = size.topk(int(size.shape[1] * self.share), dim=1).values.cpu().numpy()
        return [float(np.mean(row)) for row in largest]


def read_motion_frames(path: str) -> tuple[Tensor, float]:
    """A clip's frames as dimensions of motion read them: bytes [T, 3, h, w] in RGB, and the frame rate that
    the file states.

    Raises AssertionError if there is none, as the package does.
    """
    import cv2

    video, frames = cv2.VideoCapture(path), []
    fps = video.get(cv2.CAP_PROP_FPS)
    while video.isOpened():
        success, frame = video.read()
        if not success:
            break
        frames.append(torch.from_numpy(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)).permute(2, 0, 1))
    video.release()
    assert frames, f"{path} holds no frame that can be read"
    return torch.stack(frames), fps


def usual_batch(device: torch.device, decisive: int) -> int:
    """Pairs at once: on a GPU as many as can decide anything, so that stopping early wastes none."""
    return max(1, min(decisive, 16)) if device.type == "cuda" else 1
