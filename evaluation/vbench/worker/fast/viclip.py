"""ViCLIP with less around its matrix products: nothing is recomputed for gradients, and behind the last
attention only the class token goes on.

Its attention is torch's own already and 8 frames are 2,049 tokens, so little else can be had.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from evaluation.vbench.worker.watch import LoopWatch


def trim_encoder(module: ModuleType, watch: LoopWatch) -> None:
    """Read and resize clips ahead; give ViCLIP's image encoder a shorter way. A clip's feature differs in
    the order of float32 sums.
    """
    official: Any = module.ViCLIP
    read: Any = module.read_frames_decord_by_fps
    transform: Any = module.clip_transform(224)

    def prepared(path: str, **options: Any) -> Tensor:
        """[8, 3, 224, 224], as the network takes them."""
        images: Tensor = transform(read(path, **options))
        return images

    def viclip(**options: Any) -> Any:
        network = official(**options)
        trim(network.vision_encoder.transformer)
        return network

    module.read_frames_decord_by_fps = watch.ahead(prepared)  # type: ignore[attr-defined]
    module.clip_transform = lambda _: lambda images: images  # type: ignore[attr-defined]
    module.ViCLIP = viclip  # type: ignore[attr-defined]


def trim(transformer: Any) -> None:
    """Change the package's `Transformer` of [tokens, clips, width], of which the first token is read."""
    transformer.checkpoint_num = 0
    for block in transformer.resblocks:
        block.mlp.gelu.forward = quick_gelu
    last = transformer.resblocks[-1]

    def first_token(x: Tensor) -> Tensor:
        """ResidualAttentionBlock.forward, asked by one token only."""
        keys = last.ln_1(x)
        x = x[:1] + last.attn(keys[:1], keys, keys, need_weights=False)[0]
        result: Tensor = x + last.mlp(last.ln_2(x))
        return result

    last.forward = first_token


def quick_gelu(x: Tensor) -> Tensor:
    """QuickGELU, bit for bit, in place of its argument and one copy instead of three."""
    result: Tensor = x.mul_(torch.sigmoid_(1.702 * x))
    return result
