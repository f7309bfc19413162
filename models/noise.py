"""Every random draw of a sample, behind one protocol, so that a rollout never owns a generator.

Legend: B samples of a batch, F latent frames, C channels, H, W latent size; f frames of one chunk or block.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from models.schedule import CPU
from models.transfer import upload

LatentShape = tuple[int, int, int, int]
"""(F, C, H, W) of a whole clip."""

Draw = Callable[[tuple[int, ...]], Tensor]
"""Shape -> standard normals: the next draw of one sample's generator."""


class JointWindow(NamedTuple):
    """The frames that a draw may cover beside its own: a rolling call's, or the whole clip's."""

    frames: int
    offset: int
    """Where the block or chunk to be re-noised lies among them."""


class NoiseSource(Protocol):
    """Standard normals of one batch. A rollout asks in a fixed order, so sources may be plain generators."""

    def initial_pieces(self, sizes: Sequence[int]) -> Iterator[Tensor]:
        """[B, f, C, H, W] for each f of `sizes`, in order: where sampling starts, together one whole clip.

        Asked once, first. Raises ValueError if the sizes do not make up the clips that the noise is for.
        """
        ...

    def draw_renoise(self, chunk: int, step: int, frames: int, window: JointWindow | None) -> Tensor:
        """[B, f, C, H, W] for `frames` frames of `chunk` after `step`; window: what they lie in."""
        ...


class DrawnWhole(ABC):
    """Noise whose first draw is one tensor for the whole clip, handed out in pieces."""

    __slots__ = ()

    @abstractmethod
    def initial(self) -> Tensor:
        """[B, F, C, H, W]."""

    def initial_pieces(self, sizes: Sequence[int]) -> Iterator[Tensor]:
        z = self.initial()
        check_pieces(z.shape[1], sizes)
        yield from z.split(list(sizes), dim=1)


def check_pieces(frames: int, sizes: Sequence[int]) -> None:
    """Raise ValueError unless pieces of these sizes make up a clip of `frames`."""
    if sum(sizes) != frames:
        raise ValueError(
            f"The noise is for clips of {frames} latent frames, but {sum(sizes)} are sampled; make noise and "
            "latent_shape agree."
        )


@dataclass(frozen=True, slots=True)
class SampleKey:
    """Which sample of which prompt a row of a batch is."""

    prompt_id: str
    sample: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PortableNoise:
    """The same noise on every machine, for every method, batch and order: NumPy's counter-based Philox, keyed
    by what it is for.

    The key of a draw is the first 128 bits (big endian) of sha256 of the JSON list [suite, prompt_id, sample,
    purpose, draw]: purpose "initial" with draw 0 is the whole clip, "renoise" with draw 100 * chunk + step
    one chunk. Values are float32 in [f, C, H, W] order and cast to `dtype` last. Rolling blocks count as
    chunks, so methods share their noise.
    """

    suite: str
    samples: Sequence[SampleKey]
    shape: LatentShape
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32

    def initial(self) -> Tensor:
        """[B, F, C, H, W]: the whole first draw."""
        return next(self.initial_pieces([self.shape[0]]))

    def initial_pieces(self, sizes: Sequence[int]) -> Iterator[Tensor]:
        """Piece after piece of one generator a sample, which gives the bits of one whole draw."""
        check_pieces(self.shape[0], sizes)
        draws = [portable_draws((self.suite, s.prompt_id, s.sample, "initial", 0)) for s in self.samples]
        for frames in sizes:
            yield self._on_device([normal(draw, (frames, *self.shape[1:])) for draw in draws])

    def draw_renoise(self, chunk: int, step: int, frames: int, window: JointWindow | None) -> Tensor:  # noqa: ARG002
        if step >= 100:
            raise ValueError(
                f"Portable noise numbers at most 100 steps a chunk, got step {step}; use fewer steps."
            )
        return self._draw("renoise", 100 * chunk + step, frames)

    def _draw(self, purpose: str, draw: int, frames: int) -> Tensor:
        shape = (frames, *self.shape[1:])
        names = [(self.suite, key.prompt_id, key.sample, purpose, draw) for key in self.samples]
        return self._on_device([portable_normal(name, shape) for name in names])

    def _on_device(self, rows: Sequence[np.ndarray]) -> Tensor:
        return upload(torch.from_numpy(np.stack(rows)), self.device).to(self.dtype)


def portable_normal(name: Sequence[str | int], shape: Sequence[int]) -> np.ndarray:
    """float32 standard normals that depend on `name` and `shape` alone."""
    return normal(portable_draws(name), shape)


def portable_draws(name: Sequence[str | int]) -> np.random.Generator:
    """The generator of what bears a name."""
    text = json.dumps(list(name), separators=(",", ":"))
    key = int.from_bytes(hashlib.sha256(text.encode("ascii")).digest()[:16], "big")
    return np.random.Generator(np.random.Philox(key=key))


def normal(draws: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """The next float32 standard normals of a generator."""
    return draws.standard_normal(tuple(shape), dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawOrder:
    """How a method's released code draws: what it seeds with, in which layout and precision, and from how
    many generators.

    seed: of item 0; item i of the expanded (prompt x sample) list uses seed + i. layout: "frame_major" [F, C,
    H, W] or "channel_major" [C, F, H, W]. renoise_generator: "same", or a "forked" second one seeded by the
    LCG. extent: a re-noise draw covers the "chunk", the whole joint "window", of which one block is used, or
    the "clip": one draw a step index, of which every chunk uses its frames.
    Source: baselines/methods.md#noise.
    """

    seed: int
    layout: Literal["frame_major", "channel_major"]
    dtype: torch.dtype
    renoise_generator: Literal["same", "forked"]
    extent: Literal["chunk", "window", "clip"]


def lcg(seed: int) -> int:
    """RAVEN's next seed: (1103515245 * seed + 12345) mod 2^31 (baselines/methods.md#noise)."""
    return (1103515245 * seed + 12345) % 2**31


class UpstreamNoise(DrawnWhole):
    """Each method's own noise: per sample a torch generator, drawn in upstream's order, shapes and dtype.

    Equal to upstream bit for bit only on the same kind of device, since torch's normals differ between CPU
    and GPU models. items: index of each sample in the expanded (prompt x sample) list. dtype: what the draws
    are cast to for use, if not their own.
    """

    def __init__(
        self,
        order: DrawOrder,
        items: Sequence[int],
        shape: LatentShape,
        *,
        device: torch.device = CPU,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.order, self.shape = order, shape
        self.dtype = dtype or order.dtype
        self._whole: list[Tensor] = []
        seeds = [order.seed + item for item in items]
        self._first = [self._seeded(seed, device) for seed in seeds]
        self._later = self._first
        if order.renoise_generator == "forked":
            self._later = [self._seeded(lcg(seed), device) for seed in seeds]

    @classmethod
    def recorded(
        cls,
        order: DrawOrder,
        draws: Sequence[Tensor],
        shape: LatentShape,
        *,
        dtype: torch.dtype | None = None,
    ) -> UpstreamNoise:
        """One clip's draws as another implementation made them: in its order, shapes and layout
        (models/README.md lists them), with or without a leading axis for the one clip.

        Raises ValueError, when asked, for a draw that is missing or of another shape.
        """
        noise = cls(order, [], shape, dtype=dtype)
        noise._first = noise._later = [_replay(draws)]
        return noise

    def initial(self) -> Tensor:
        return torch.stack([self._take(draw, self.shape[0], lead=(1,))[0] for draw in self._first]).to(
            self.dtype
        )

    def draw_renoise(self, chunk: int, step: int, frames: int, window: JointWindow | None) -> Tensor:  # noqa: ARG002
        if self.order.extent == "chunk" or window is None:
            return self._rows(frames)
        if self.order.extent == "window":
            drawn = self._rows(window.frames)
        else:  # upstream makes them beforehand; the same order, since chunk 0 has the most steps
            while step >= len(self._whole):
                self._whole.append(self._rows(window.frames))
            drawn = self._whole[step]
        return drawn[:, window.offset : window.offset + frames]

    def _rows(self, frames: int) -> Tensor:
        return torch.stack([self._take(draw, frames) for draw in self._later]).to(self.dtype)

    def _seeded(self, seed: int, device: torch.device) -> Draw:
        generator = torch.Generator(device).manual_seed(seed)

        def draw(shape: tuple[int, ...]) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=self.order.dtype, device=device)

        return draw

    def _take(self, draw: Draw, frames: int, lead: tuple[int, ...] = ()) -> Tensor:
        """[*lead, f, C, H, W] normals of one sample, drawn in the order's layout and dtype."""
        _, channels, height, width = self.shape
        frame_major = self.order.layout == "frame_major"
        axes = (frames, channels) if frame_major else (channels, frames)
        drawn = draw((*lead, *axes, height, width))
        return drawn if frame_major else drawn.transpose(-4, -3)


def _replay(draws: Sequence[Tensor]) -> Draw:
    remaining = iter(enumerate(draws))

    def draw(shape: tuple[int, ...]) -> Tensor:
        number, tensor = next(remaining, (len(draws), None))
        if tensor is None:
            raise ValueError(
                f"The recording holds {len(draws)} draws but draw number {number + 1}, of shape "
                f"{list(shape)}, is asked for; record the whole clip."
            )
        if _of_one_clip(tensor.shape) != _of_one_clip(shape):
            raise ValueError(
                f"Draw number {number + 1} of the recording has shape {list(tensor.shape)} where "
                f"{list(shape)} is asked for; record this method's own draws, in its order."
            )
        return tensor.reshape(shape)

    return draw


def _of_one_clip(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape without the axis that stands for the only clip: the same numbers in the same order."""
    return tuple(shape[1:] if len(shape) == 5 and shape[0] == 1 else shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorNoise(DrawnWhole):
    """Plain draws of one generator in the order asked, on its device: [B, F, C, H, W] first, then
    [B, f, C, H, W] for every chunk or block that is re-noised.
    """

    generator: torch.Generator
    batch: int
    shape: LatentShape
    dtype: torch.dtype = torch.float32

    def initial(self) -> Tensor:
        return self._draw(self.shape[0])

    def draw_renoise(self, chunk: int, step: int, frames: int, window: JointWindow | None) -> Tensor:  # noqa: ARG002
        return self._draw(frames)

    def _draw(self, frames: int) -> Tensor:
        shape = (self.batch, frames, *self.shape[1:])
        return torch.randn(shape, generator=self.generator, dtype=self.dtype, device=self.generator.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorNoise(DrawnWhole):
    """Noise given as tensors. start: [B, F, C, H, W]; draws: (chunk, step) -> [B, f, C, H, W] added after
    that step.

    In a rolling rollout a block counts as a chunk, and only the block's own frames are given. RAVEN also asks
    after the last step of a chunk and discards the answer, so zeros will do there.
    """

    start: Tensor
    draws: Mapping[tuple[int, int], Tensor]

    def initial(self) -> Tensor:
        return self.start

    def draw_renoise(self, chunk: int, step: int, frames: int, window: JointWindow | None) -> Tensor:  # noqa: ARG002
        """Raises ValueError if the draw was not given or has another number of frames."""
        if (chunk, step) not in self.draws:
            raise ValueError(
                f"TensorNoise holds no draw for chunk {chunk} after step {step}; add it to draws."
            )
        noise = self.draws[chunk, step]
        if noise.shape[1] != frames:
            raise ValueError(
                f"TensorNoise has {noise.shape[1]} frames for chunk {chunk} after step {step}, {frames} "
                "are needed; resize that draw."
            )
        return noise
