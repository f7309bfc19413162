"""Arithmetic of a sampler counted in closed form, for MFU. A multiply-add is two operations.

Legend: q query tokens of a call, k key tokens its plan reads.
"""

from models.config import WanConfig
from models.plan import AttendPlan


def call_flops(config: WanConfig, plan: AttendPlan, tokens_per_frame: int) -> float:
    """Operations of one network call of one clip: see `frame_flops`."""
    return frame_flops(config, plan.frames, sum(read.length for read in plan.reads), tokens_per_frame)


def frame_flops(config: WanConfig, frames: int, seen: int, tokens_per_frame: int) -> float:
    """Matrix products and attention of `frames` frames that see `seen` ones and the text; nothing else.

    Text keys and values are counted with the prompt (`text_flops`). See models/backbone.md#operation-counts.
    """
    queries, keys = frames * tokens_per_frame, seen * tokens_per_frame
    attention = 2 * config.num_layers * config.dim * (keys + config.text_len)
    return queries * (weight_flops(config) + 2.0 * attention)


def weight_flops(config: WanConfig) -> float:
    """Operations of a token with the network's weights."""
    dim, patch = config.dim, config.patch_height * config.patch_width
    linear = config.num_layers * (6 * dim * dim + 2 * dim * config.ffn_dim)
    return 2.0 * (linear + dim * patch * (config.in_channels + config.out_channels))


def text_flops(config: WanConfig) -> float:
    """Operations of embedding one prompt and of its cross-attention keys and values, once per clip."""
    dim = config.dim
    per_row = config.text_dim * dim + dim * dim + config.num_layers * 2 * dim * dim
    return 2.0 * config.text_len * per_row
