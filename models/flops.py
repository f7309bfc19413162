"""Arithmetic of a sampler counted in closed form, for MFU. A multiply-add is two operations.

Legend: q query tokens of a call, k key tokens its plan reads.
"""

from models.config import WanConfig
from models.plan import AttendPlan


def call_flops(config: WanConfig, plan: AttendPlan, tokens_per_frame: int) -> float:
    """Operations of one network call of one clip: matrix products and attention, no element-wise work.

    Text keys and values are counted with the prompt (`text_flops`). See models/backbone.md#operation-counts.
    """
    queries = plan.frames * tokens_per_frame
    keys = sum(read.length for read in plan.reads) * tokens_per_frame
    dim, patch = config.dim, config.patch_height * config.patch_width
    linear = config.num_layers * (6 * dim * dim + 2 * dim * config.ffn_dim)
    ends = dim * patch * (config.in_channels + config.out_channels)
    attention = 2 * config.num_layers * dim * (keys + config.text_len)
    return 2.0 * queries * (linear + ends + attention)


def text_flops(config: WanConfig) -> float:
    """Operations of embedding one prompt and of its cross-attention keys and values, once per clip."""
    dim = config.dim
    per_row = config.text_dim * dim + dim * dim + config.num_layers * 2 * dim * dim
    return 2.0 * config.text_len * per_row
