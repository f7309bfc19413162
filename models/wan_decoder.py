"""Wan2.1's VAE decoder rewritten for speed: the same weights and the same function as diffusers'
WanDecoder3d, fewer passes over memory.

Everything is channels-last. A convolution never pads or concatenates: the kernel before it writes straight
into its input buffer, behind the two frames of history that causal convolutions keep. Bias, residual, RMS
norm and SiLU are that one kernel (Triton on CUDA, plain torch elsewhere), computed in float32 and rounded
once. Enlargement and the convolution behind it are one transposed convolution
(models/backbone.md#decoder-speed).

Legend: B batch, T frames of one step at some level, C channels, H, W size at that level. A step is one latent
frame: 1 pixel frame for the first of a clip, 4 for every other.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.fused import add_norm_silu

HISTORY = 2  # frames of the past that a temporal kernel of 3 sees
LAYOUT = torch.channels_last_3d
TAP_LEVELS = (1, 3)
"""Levels at which cuDNN's 2-D kernels on three frames side by side beat its 3-D ones, each with its own way
of writing the input
(H200, bfloat16: 384 channels 120x208 699 against 588 TFLOP/s, 96 channels 480x832 483 against 264)."""


class ConvWeights:
    """A convolution's weights in the layout that is used; shared by all streams."""

    def __init__(self, conv: Any, *, taps: bool) -> None:
        """taps: whether to convolve in 2-D over three frames side by side."""
        weight = conv.weight
        self.channels: int = weight.shape[1]
        self.bias: Tensor = conv.bias
        self.spatial = tuple(size // 2 for size in weight.shape[3:])
        self.taps = taps
        self.weight: Tensor = (
            weight.transpose(1, 2).flatten(1, 2).contiguous(memory_format=torch.channels_last)
            if taps
            else weight.contiguous(memory_format=LAYOUT)
        )


class CausalConv:
    """A causal convolution over time with its input buffer. `room` gives the part to write, `run` convolves,
    without bias.

    With taps, the buffer holds for every frame the two before it and itself, side by side along C.
    """

    def __init__(self, weights: ConvWeights) -> None:
        self.weights = weights
        self.bias = weights.bias
        self.buffer: Tensor | None = None

    def room(self, batch: int, frames: int, height: int, width: int) -> Tensor:
        """Part of the buffer for this step's input, to be overwritten by `add_norm_silu`: [B, C, T, H, W]
        behind the history, or [B, 3 C, T, H, W] with taps, whose history is in place.
        """
        taps = self.weights.taps
        depth, length = (3, frames) if taps else (1, HISTORY + frames)
        shape = (batch, depth * self.weights.channels, length, height, width)
        old = self.buffer
        if old is None or old.shape != shape:
            self.buffer = torch.empty(
                shape, dtype=self.bias.dtype, device=self.bias.device, memory_format=LAYOUT
            )
        assert self.buffer is not None
        if taps:
            self._keep_taps(old)
            return self.buffer
        history = self.buffer[:, :, :HISTORY]
        if old is None:
            history.zero_()
        else:
            last = old[:, :, -HISTORY:]
            history.copy_(last.clone() if old is self.buffer and frames < HISTORY else last)
        return self.buffer[:, :, HISTORY:]

    def _keep_taps(self, old: Tensor | None) -> None:
        """Put the last two frames before the coming ones."""
        assert self.buffer is not None
        channels = self.weights.channels
        first = self.buffer.narrow(1, 0, HISTORY * channels)[:, :, 0]
        second = self.buffer.narrow(1, 0, channels)[:, :, 1] if self.buffer.shape[2] > 1 else None
        if old is None:
            first.zero_()
            if second is not None:
                second.zero_()
            return
        last = old.narrow(1, channels, HISTORY * channels)[:, :, -1]
        if second is not None:
            second.copy_(last.narrow(1, channels, channels))
        first.copy_(last.clone() if old is self.buffer and old.shape[2] == 1 else last)

    def run(self) -> Tensor:
        """[B, C_out, T, H, W] for the frames last written, without the bias."""
        assert self.buffer is not None, "room comes before run"
        weight, spatial = self.weights.weight, self.weights.spatial
        if not self.weights.taps:
            return functional.conv3d(self.buffer, weight, padding=(0, *spatial))
        frames = self.buffer.shape[2]
        pictures = self.buffer.transpose(1, 2).flatten(0, 1)
        out = functional.conv2d(pictures, weight, padding=spatial)
        clips: Tensor = out.unflatten(0, (-1, frames))
        return clips.transpose(1, 2)


FeatureParts = tuple[Tensor, Tensor, Tensor | None]
"""(convolved, bias, residual), whose sum is a feature map."""


def added(parts: FeatureParts) -> Tensor:
    """The sum of the parts [B, C, T, H, W]."""
    x, bias, residual = parts
    total = add_norm_silu(x, bias, residual, None, None, keep_sum=True)
    assert total is not None
    return total


class Prepared:
    """Weights in the layouts that are used, made at the first stream and shared by the next ones."""

    def __init__(self, *, on_cuda: bool) -> None:
        self.on_cuda = on_cuda
        self.convs: dict[int, ConvWeights] = {}
        self.enlarged: dict[int, Tensor] = {}

    def conv(self, module: Any, level: int | None = None) -> CausalConv:
        """A causal convolution at an upsampling level, None before the first."""
        if id(module) not in self.convs:
            self.convs[id(module)] = ConvWeights(module, taps=self.on_cuda and level in TAP_LEVELS)
        return CausalConv(self.convs[id(module)])

    def enlarging(self, module: Any) -> Tensor:
        """[C_in, C_out, 4, 4]: `enlarging_weight` of a 3x3 convolution."""
        if id(module) not in self.enlarged:
            self.enlarged[id(module)] = enlarging_weight(module.weight)
        return self.enlarged[id(module)]


def enlarging_weight(weight: Tensor) -> Tensor:
    """The transposed convolution (stride 2, padding 1) that equals nearest enlargement by 2 and a 3x3
    convolution.

    weight: [C_out, C_in, 3, 3] -> [C_in, C_out, 4, 4]. Each output pixel sees 2x2 different inputs, so nine
    products become four: per axis, weights that meet the same input are added up (in float32, rounded once).
    """
    sums = weight.new_tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], dtype=torch.float32)
    enlarged = torch.einsum("ik,ockl,jl->coij", sums, weight.float(), sums)
    return enlarged.to(weight.dtype).contiguous(memory_format=torch.channels_last)


class ResidualBlock:
    """Two normed convolutions and a shortcut; whoever made the input runs the norm before the first."""

    def __init__(self, block: Any, prepared: Prepared, level: int | None) -> None:
        self.gamma1, self.gamma2 = block.norm1.gamma.flatten(), block.norm2.gamma.flatten()
        self.conv1, self.conv2 = prepared.conv(block.conv1, level), prepared.conv(block.conv2, level)
        self.shortcut = block.conv_shortcut if isinstance(block.conv_shortcut, nn.Conv3d) else None

    def forward(self, parts: FeatureParts) -> FeatureParts:
        x, bias, residual = parts
        total = add_norm_silu(x, bias, residual, self.gamma1, self.conv1.room(*_frame(x)), keep_sum=True)
        assert total is not None
        hidden = self.conv1.run()
        add_norm_silu(
            hidden, self.conv1.bias, None, self.gamma2, self.conv2.room(*_frame(hidden)), keep_sum=False
        )
        return self.conv2.run(), self.conv2.bias, total if self.shortcut is None else self.shortcut(total)


class Upsample:
    """Nearest enlargement by 2 in space, and in time where the level has it; a 3x3 convolution halves C."""

    def __init__(self, module: Any, prepared: Prepared) -> None:
        conv = module.resample[1]
        self.weight, self.bias = prepared.enlarging(conv), conv.bias
        self.time = prepared.conv(module.time_conv) if module.mode == "upsample3d" else None

    def forward(self, x: Tensor, first: bool) -> FeatureParts:
        """[B, C, T, H, W] -> [B, C/2, T', 2H, 2W]; the first frame of a clip stays one frame."""
        batch, channels, frames, height, width = x.shape
        if self.time is not None and not first:
            self.time.room(*_frame(x)).copy_(x)
            x = added((self.time.run(), self.time.bias, None))
            x = x.unflatten(1, (2, channels)).permute(0, 3, 1, 4, 5, 2)  # B, T, 2, H, W, C
            frames *= 2
        else:
            x = x.permute(0, 2, 3, 4, 1)
        pictures = x.reshape(batch * frames, height, width, channels).permute(0, 3, 1, 2)
        out = functional.conv_transpose2d(pictures, self.weight, stride=2, padding=1)
        return out.unflatten(0, (batch, frames)).transpose(1, 2), self.bias, None


class FastDecoder:
    """Decoded frames of one stream of latents. Weights are diffusers' and shared, buffers its own."""

    def __init__(self, module: Any, prepared: Prepared | None = None) -> None:
        """module: AutoencoderKLWan; prepared: filled at the first stream and passed to the next ones."""
        decoder = module.decoder
        prepared = prepared or Prepared(on_cuda=decoder.conv_in.weight.is_cuda)
        self.post = module.post_quant_conv
        self.conv_in = prepared.conv(decoder.conv_in)
        self.middle = [ResidualBlock(block, prepared, None) for block in decoder.mid_block.resnets]
        self.attention = decoder.mid_block.attentions[0]
        self.levels = [
            (
                [ResidualBlock(block, prepared, number) for block in level.resnets],
                Upsample(level.upsamplers[0], prepared) if level.upsamplers else None,
            )
            for number, level in enumerate(decoder.up_blocks)
        ]
        self.gamma_out = decoder.norm_out.gamma.flatten()
        self.conv_out = prepared.conv(decoder.conv_out)
        self.first = True

    @torch.no_grad()
    def step(self, z: Tensor) -> Tensor:
        """De-normalised latents of a frame [B, C, 1, H, W] -> pixels [B, 3, 1 or 4, 8H, 8W], not clamped."""
        z = self.post(z)
        self.conv_in.room(*_frame(z)).copy_(z)
        parts = self.middle[0].forward((self.conv_in.run(), self.conv_in.bias, None))
        x = self.attention(added(parts)).contiguous(memory_format=LAYOUT)
        parts = self.middle[1].forward((x, x.new_zeros(x.shape[1]), None))
        for blocks, up in self.levels:
            for block in blocks:
                parts = block.forward(parts)
            if up is not None:
                parts = up.forward(added(parts), self.first)
        x, bias, residual = parts
        add_norm_silu(x, bias, residual, self.gamma_out, self.conv_out.room(*_frame(x)), keep_sum=False)
        self.first = False
        return self.conv_out.run() + self.conv_out.bias[:, None, None, None]


def _frame(x: Tensor) -> tuple[int, int, int, int]:
    return x.shape[0], x.shape[2], x.shape[3], x.shape[4]
