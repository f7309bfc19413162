"""Wan2.1's VAE decoder rewritten for speed: the same weights and the same function as diffusers' WanDecoder3d, fewer passes over memory.

Everything is channels-last. A convolution never pads or concatenates: the kernel before it writes straight into its input buffer,
behind the two frames of history that causal convolutions keep. Bias, residual, RMS norm and SiLU are that one kernel (Triton on
CUDA, plain torch elsewhere), computed in float32 and rounded once. Source of the ideas: performance.md, "own VAE decode".

Legend: B batch, T frames of one step at some level, C channels, H, W size at that level. A step is one latent frame: 1 pixel frame
for the first of a clip, 4 for every other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

HISTORY = 2  # frames of the past that a temporal kernel of 3 sees
LAYOUT = torch.channels_last_3d
TAP_CHANNELS = (
    96,
    384,
)  # widths at which cuDNN's 2-D kernels are faster on three frames side by side (performance.md C)


class ConvWeights:
    """A convolution's weights in the layout that is used; shared by all streams."""

    def __init__(self, conv: nn.Module, *, taps: bool | None = None) -> None:
        """taps: whether to convolve in 2-D over three frames side by side; None: where it is known to be faster."""
        weight = conv.weight
        self.channels = weight.shape[1]
        self.bias = conv.bias
        self.spatial = tuple(size // 2 for size in weight.shape[3:])
        if taps is None:
            taps = weight.is_cuda and self.channels in TAP_CHANNELS and self.spatial == (1, 1)
        self.taps = taps
        self.weight = (
            weight.transpose(1, 2).flatten(1, 2).contiguous(memory_format=torch.channels_last)
            if taps
            else weight.contiguous(memory_format=LAYOUT)
        )


class CausalConv:
    """A causal convolution over time with its input buffer. `room` gives the part to write, `run` convolves, without bias."""

    def __init__(self, weights: ConvWeights) -> None:
        self.weights = weights
        self.bias = weights.bias
        self.buffer: Tensor | None = None

    def room(self, batch: int, frames: int, height: int, width: int) -> Tensor:
        """[B, C, T, H, W] part of the buffer behind the history, to be overwritten with this step's input."""
        shape = (batch, self.weights.channels, HISTORY + frames, height, width)
        old = self.buffer
        if old is None:
            self.buffer = torch.zeros(shape, dtype=self.bias.dtype, device=self.bias.device).to(
                memory_format=LAYOUT
            )
        else:
            last = old[:, :, -HISTORY:]
            if old.shape == shape:
                old[:, :, :HISTORY] = last.clone() if frames < HISTORY else last
            else:
                self.buffer = torch.empty(shape, dtype=old.dtype, device=old.device, memory_format=LAYOUT)
                self.buffer[:, :, :HISTORY] = last
        return self.buffer[:, :, HISTORY:]

    def run(self) -> Tensor:
        """[B, C_out, T, H, W] for the frames last written, without the bias."""
        assert self.buffer is not None, "room comes before run"
        weight, spatial = self.weights.weight, self.weights.spatial
        if not self.weights.taps:
            return functional.conv3d(self.buffer, weight, padding=(0, *spatial))
        frames = self.buffer.shape[2] - HISTORY
        beside = torch.cat([self.buffer[:, :, tap : tap + frames] for tap in range(HISTORY + 1)], dim=1)
        pictures = beside.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        out = functional.conv2d(pictures, weight, padding=spatial)
        return out.unflatten(0, (-1, frames)).transpose(1, 2)


Prepare = Callable[[nn.Module], ConvWeights]


def add_norm_silu(
    x: Tensor, bias: Tensor, residual: Tensor | None, gamma: Tensor, out: Tensor, *, keep_sum: bool
) -> Tensor | None:
    """out <- silu(rms_norm(x + bias + residual)); returns the sum where it is wanted (keep_sum), in x's dtype.

    x, residual, out: [B, C, T, H, W], channels-last; bias, gamma: [C]. The norm divides by the length over C and multiplies by
    sqrt(C) gamma. One Triton kernel on CUDA.
    """
    if x.is_cuda:
        from models.kernels import add_norm_silu_cuda  # Triton is there with CUDA builds of torch only

        return add_norm_silu_cuda(x, bias, residual, gamma, out, keep_sum=keep_sum)
    total = x.float() + bias.float()[:, None, None, None]
    if residual is not None:
        total = total + residual.float()
    scale = (x.shape[1] ** 0.5) * gamma.float()[:, None, None, None]
    out.copy_(functional.silu(functional.normalize(total, dim=1) * scale))
    return total.to(x.dtype) if keep_sum else None


class Residual:
    """Two normed convolutions and a shortcut; the norm before the first one is run by whoever made the input."""

    def __init__(self, block: Any, prepare: Prepare) -> None:
        self.gamma1, self.gamma2 = block.norm1.gamma.flatten(), block.norm2.gamma.flatten()
        self.conv1, self.conv2 = CausalConv(prepare(block.conv1)), CausalConv(prepare(block.conv2))
        self.shortcut = block.conv_shortcut if isinstance(block.conv_shortcut, nn.Conv3d) else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(convolved, bias, residual) whose sum is the block's output; conv1's buffer already holds silu(norm1(x))."""
        hidden = self.conv1.run()
        add_norm_silu(
            hidden, self.conv1.bias, None, self.gamma2, self.conv2.room(*_frame(hidden)), keep_sum=False
        )
        return self.conv2.run(), self.conv2.bias, x if self.shortcut is None else self.shortcut(x)


class Upsample:
    """Nearest enlargement by 2 in space, and by 2 in time where the level has it, then a 3x3 convolution that halves C."""

    def __init__(self, module: Any, prepare: Prepare) -> None:
        conv = module.resample[1]
        self.weight, self.bias = conv.weight, conv.bias
        self.time = CausalConv(prepare(module.time_conv)) if module.mode == "upsample3d" else None

    def forward(self, x: Tensor, first: bool) -> Tensor:
        """[B, C, T, H, W] -> [B, C/2, T', 2H, 2W] without the bias; the first frame of a clip stays one frame."""
        batch, channels, frames, height, width = x.shape
        if self.time is not None and not first:
            self.time.room(*_frame(x)).copy_(x)
            x = self.time.run() + self.time.bias[:, None, None, None]
            x = x.unflatten(1, (2, channels)).permute(0, 3, 1, 4, 5, 2)  # B, T, 2, H, W, C
        else:
            x = x.permute(0, 2, 3, 4, 1)[:, :, None]
        copies, frames = x.shape[2], frames * x.shape[2]
        x = x[:, :, :, :, None, :, None].expand(batch, -1, copies, height, 2, width, 2, channels)
        pictures = x.reshape(batch * frames, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)
        out = functional.conv2d(pictures, self.weight, padding=1)
        return out.unflatten(0, (batch, frames)).transpose(1, 2)


class FastDecoder:
    """Decoded frames of one stream of latents. Weights are the diffusers module's and shared; buffers are this object's own."""

    def __init__(self, module: Any, prepared: dict[int, ConvWeights] | None = None) -> None:
        """module: AutoencoderKLWan; prepared: weights in their layout, filled at the first stream and passed to the next ones."""
        kept = {} if prepared is None else prepared

        def prepare(conv: nn.Module) -> ConvWeights:
            if id(conv) not in kept:
                kept[id(conv)] = ConvWeights(conv)
            return kept[id(conv)]

        decoder = module.decoder
        self.post = module.post_quant_conv
        self.conv_in = CausalConv(prepare(decoder.conv_in))
        self.middle = [Residual(block, prepare) for block in decoder.mid_block.resnets]
        self.attention = decoder.mid_block.attentions[0]
        self.levels = [
            (
                [Residual(block, prepare) for block in level.resnets],
                Upsample(level.upsamplers[0], prepare) if level.upsamplers else None,
            )
            for level in decoder.up_blocks
        ]
        self.gamma_out = decoder.norm_out.gamma.flatten()
        self.conv_out = CausalConv(prepare(decoder.conv_out))
        self.first = True

    @torch.no_grad()
    def step(self, z: Tensor) -> Tensor:
        """De-normalised latents of one frame [B, C, 1, H, W] -> pixels [B, 3, 1 or 4, 8H, 8W], not clamped."""
        z = self.post(z)
        self.conv_in.room(*_frame(z)).copy_(z)
        parts: tuple[Tensor, Tensor, Tensor | None] = (self.conv_in.run(), self.conv_in.bias, None)
        parts = self._residual(parts, self.middle[0])
        x = self.attention(_sum(parts)).contiguous(memory_format=LAYOUT)
        parts = (x, x.new_zeros(x.shape[1]), None)
        parts = self._residual(parts, self.middle[1])
        for blocks, up in self.levels:
            for block in blocks:
                parts = self._residual(parts, block)
            if up is not None:
                parts = (up.forward(_sum(parts), self.first), up.bias, None)
        x, bias, residual = parts
        add_norm_silu(x, bias, residual, self.gamma_out, self.conv_out.room(*_frame(x)), keep_sum=False)
        self.first = False
        return self.conv_out.run() + self.conv_out.bias[:, None, None, None]

    def _residual(
        self, parts: tuple[Tensor, Tensor, Tensor | None], block: Residual
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        x, bias, residual = parts
        total = add_norm_silu(x, bias, residual, block.gamma1, block.conv1.room(*_frame(x)), keep_sum=True)
        assert total is not None
        return block.forward(total)


def _frame(x: Tensor) -> tuple[int, int, int, int]:
    return x.shape[0], x.shape[2], x.shape[3], x.shape[4]


def _sum(parts: tuple[Tensor, Tensor, Tensor | None]) -> Tensor:
    x, bias, residual = parts
    total = x + bias[:, None, None, None]
    return total if residual is None else total + residual
