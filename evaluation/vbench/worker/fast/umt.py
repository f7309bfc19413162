"""UMT with fused attention: its 3,136 tokens would else be 24 tables of 16 x 3,136 x 3,136 weights."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from evaluation.vbench.worker.watch import LoopWatch


def fuse_umt(module: ModuleType, watch: LoopWatch) -> None:
    """Read clips ahead; fuse the network's attention. Its logits differ in the order of float32 sums."""
    create: Any = module.create_model
    load: Any = module.load_video

    def load_ahead(path: str, *, transform: Any, frames: int) -> Any:
        return load(path, transform, num_frames=frames)

    ahead = watch.ahead(load_ahead)

    def load_video(path: str, data_transform: Any, num_frames: int) -> Any:
        return ahead(path, transform=data_transform, frames=num_frames)

    def create_model(*arguments: Any, **options: Any) -> Any:
        network = create(*arguments, **options)
        for block in network.blocks:
            block.attn.forward = partial(attend_fused, block.attn)
        return network

    module.load_video = load_video  # type: ignore[attr-defined]
    module.create_model = create_model  # type: ignore[attr-defined]


def attend_fused(attention: Any, x: Tensor) -> Tensor:
    """The package's Attention.forward in its eval mode. x: [clips, tokens, width]."""
    bias = None
    if attention.q_bias is not None:
        bias = torch.cat([attention.q_bias, torch.zeros_like(attention.v_bias), attention.v_bias])
    qkv = F.linear(x, attention.qkv.weight, bias)
    qkv = qkv.view(*x.shape[:2], 3, attention.num_heads, -1)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    seen = F.scaled_dot_product_attention(q, k, v, scale=attention.scale)
    projected: Tensor = attention.proj(seen.transpose(1, 2).flatten(2))
    return projected
