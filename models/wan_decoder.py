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

from models.fused import Room, add_norm_silu, attend_one_head, gather_taps, norm_silu_products

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


class Spares:
    """Buffers that no convolution of a stream needs at the moment, to be written again: convolutions of one
    shape need one buffer more than there are of them."""

    def __init__(self) -> None:
        self.free: dict[torch.Size, list[Tensor]] = {}

    def take(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A channels-last buffer of a shape, in the dtype and on the device of `like`; never cleared."""
        found = self.free.get(torch.Size(shape))
        if found:
            return found.pop()
        return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=LAYOUT)

    def give(self, buffer: Tensor) -> None:
        """Hand a buffer back whose contents are done with."""
        self.free.setdefault(buffer.shape, []).append(buffer)


class CausalConv:
    """A causal convolution over time with its input buffers. `room` says where the input goes, `run`
    convolves it, without bias.

    Whoever writes a step's frames also writes the last two into the next step's buffer, so that nothing is
    copied between steps.
    """

    def __init__(self, weights: ConvWeights, spares: Spares, frames: int) -> None:
        """frames: of every step but the first, which may have fewer."""
        self.weights, self.spares, self.frames = weights, spares, frames
        self.bias = weights.bias
        self.buffer: Tensor | None = None
        """Of the step to come, its past in place; None before the first."""
        self.room_now: Room | None = None

    def room(self, batch: int, frames: int, height: int, width: int) -> Room:
        """Where this step's input is to be written by `add_norm_silu`."""
        taps, channels = self.weights.taps, self.weights.channels
        depth, past = (3, 0) if taps else (1, HISTORY)
        now = self.buffer
        if now is None:  # nothing is before the first frame
            shape = (batch, depth * channels, past + frames, height, width)
            now = self.bias.new_zeros(1).expand(shape).contiguous(memory_format=LAYOUT)
        later = self.spares.take((batch, depth * channels, past + self.frames, height, width), self.bias)
        self.room_now = Room(now, later, depth)
        return self.room_now

    def run(self) -> Tensor:
        """[B, C_out, T, H, W] for the frames last written, without the bias."""
        assert self.room_now is not None, "room comes before run"
        now, self.buffer, _ = self.room_now
        weight, spatial = self.weights.weight, self.weights.spatial
        if self.weights.taps:
            pictures = functional.conv2d(now.transpose(1, 2).flatten(0, 1), weight, padding=spatial)
            out: Tensor = pictures.unflatten(0, (-1, now.shape[2])).transpose(1, 2)
        else:
            out = functional.conv3d(now, weight, padding=(0, *spatial))
        self.room_now = None
        self.spares.give(now)
        return out


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
        self.by_tap: dict[int, Tensor] = {}

    def conv(self, module: Any, level: int | None = None) -> ConvWeights:
        """Of a causal convolution at an upsampling level, None before the first."""
        if id(module) not in self.convs:
            self.convs[id(module)] = ConvWeights(module, taps=self.on_cuda and level in TAP_LEVELS)
        return self.convs[id(module)]

    def products(self, module: Any) -> Tensor:
        """[C_in, 27 C_out and zeros up to a power of two]: a 3x3x3 convolution's weights, tap by tap."""
        if id(module) not in self.by_tap:
            columns = module.weight.permute(1, 2, 3, 4, 0).flatten(1)
            width = 1 << (columns.shape[1] - 1).bit_length()
            self.by_tap[id(module)] = functional.pad(columns, (0, width - columns.shape[1]))
        return self.by_tap[id(module)]

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

    def __init__(
        self, block: Any, prepared: Prepared, spares: Spares, level: int | None, frames: int
    ) -> None:
        """frames: of a step at this level."""
        self.gamma1, self.gamma2 = block.norm1.gamma.flatten(), block.norm2.gamma.flatten()
        self.conv1, self.conv2 = (
            CausalConv(prepared.conv(conv, level), spares, frames) for conv in (block.conv1, block.conv2)
        )
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


class PictureAttention:
    """Attention of every pixel of a frame to all of them, with one head as wide as there are channels."""

    def __init__(self, module: Any) -> None:
        self.norm, self.to_qkv, self.proj = module.norm, module.to_qkv, module.proj

    def forward(self, x: Tensor) -> FeatureParts:
        """x: [B, C, T, H, W], channels-last."""
        batch, channels, frames, height, width = x.shape
        pictures = x.transpose(1, 2).flatten(0, 1)
        tokens = self.norm(pictures).permute(0, 2, 3, 1).reshape(batch * frames, height * width, channels)
        qkv = functional.linear(tokens, self.to_qkv.weight.flatten(1), self.to_qkv.bias)
        attended = attend_one_head(*qkv.chunk(3, dim=-1))
        out = functional.linear(attended, self.proj.weight.flatten(1))
        return out.view(batch, frames, height, width, channels).permute(0, 4, 1, 2, 3), self.proj.bias, x


class Upsample:
    """Nearest enlargement by 2 in space, and in time where the level has it; a 3x3 convolution halves C."""

    def __init__(self, module: Any, prepared: Prepared, spares: Spares, frames: int) -> None:
        """frames: of a step at the level below."""
        conv = module.resample[1]
        self.weight, self.bias = prepared.enlarging(conv), conv.bias
        self.time = (
            CausalConv(prepared.conv(module.time_conv), spares, frames)
            if module.mode == "upsample3d"
            else None
        )

    def forward(self, parts: FeatureParts, first: bool) -> FeatureParts:
        """Parts of [B, C, T, H, W] -> of [B, C/2, T', 2H, 2W]; the first frame of a clip stays one frame."""
        x, bias, residual = parts
        batch, channels, frames, height, width = x.shape
        if self.time is not None and not first:
            add_norm_silu(x, bias, residual, None, self.time.room(*_frame(x)), keep_sum=False)
            x = added((self.time.run(), self.time.bias, None))
            x = x.unflatten(1, (2, channels)).permute(0, 3, 1, 4, 5, 2)  # B, T, 2, H, W, C
            frames *= 2
        else:
            x = added(parts).permute(0, 2, 3, 4, 1)
        pictures = x.reshape(batch * frames, height, width, channels).permute(0, 3, 1, 2)
        out = functional.conv_transpose2d(pictures, self.weight, stride=2, padding=1)
        return out.unflatten(0, (batch, frames)).transpose(1, 2), self.bias, None


class PixelConv:
    """The last norm and convolution, to three channels: products with all 27 taps in the norm's kernel, then
    their sum at every pixel. A convolution with so few channels would leave matrix units idle, and here its
    input is never stored. Kept between steps: the last products, as they are."""

    def __init__(self, norm: Any, conv: Any, prepared: Prepared) -> None:
        self.gamma, self.weight, self.bias = norm.gamma.flatten(), prepared.products(conv), conv.bias
        self.before: Tensor | None = None

    def forward(self, parts: FeatureParts) -> Tensor:
        """Pixels [B, 3, T, H, W]."""
        products = norm_silu_products(*parts, self.gamma, self.weight, 27 * len(self.bias))
        pixels = gather_taps(products, self.before, self.bias)
        self.before = products
        return pixels


class FastDecoder:
    """Decoded frames of one stream of latents. Weights are diffusers' and shared, buffers its own."""

    def __init__(self, module: Any, prepared: Prepared | None = None) -> None:
        """module: AutoencoderKLWan; prepared: filled at the first stream and passed to the next ones."""
        decoder = module.decoder
        prepared = prepared or Prepared(on_cuda=decoder.conv_in.weight.is_cuda)
        spares, frames = Spares(), 1
        self.post = module.post_quant_conv
        self.conv_in = CausalConv(prepared.conv(decoder.conv_in), spares, frames)
        self.middle = [
            ResidualBlock(block, prepared, spares, None, frames) for block in decoder.mid_block.resnets
        ]
        self.attention = PictureAttention(decoder.mid_block.attentions[0])
        self.levels: list[tuple[list[ResidualBlock], Upsample | None]] = []
        for number, level in enumerate(decoder.up_blocks):
            blocks = [ResidualBlock(block, prepared, spares, number, frames) for block in level.resnets]
            up = Upsample(level.upsamplers[0], prepared, spares, frames) if level.upsamplers else None
            self.levels.append((blocks, up))
            frames *= 2 if up is not None and up.time is not None else 1
        self.to_pixels = PixelConv(decoder.norm_out, decoder.conv_out, prepared)
        self.first = True

    @torch.no_grad()
    def step(self, z: Tensor) -> Tensor:
        """De-normalised latents of a frame [B, C, 1, H, W] -> pixels [B, 3, 1 or 4, 8H, 8W], not clamped."""
        z = self.post(z).contiguous(memory_format=LAYOUT)
        add_norm_silu(z, z.new_zeros(z.shape[1]), None, None, self.conv_in.room(*_frame(z)), keep_sum=False)
        parts = self.middle[0].forward((self.conv_in.run(), self.conv_in.bias, None))
        parts = self.middle[1].forward(self.attention.forward(added(parts)))
        for blocks, up in self.levels:
            for block in blocks:
                parts = block.forward(parts)
            if up is not None:
                parts = up.forward(parts, self.first)
        self.first = False
        return self.to_pixels.forward(parts)


def _frame(x: Tensor) -> tuple[int, int, int, int]:
    return x.shape[0], x.shape[2], x.shape[3], x.shape[4]
