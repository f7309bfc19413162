"""Small real networks for the model tests: random everywhere, because a zero head makes every comparison
vacuous.
"""

from collections.abc import Callable

import pytest
import torch

from models.config import WanConfig
from models.wan import Wan, init_weights

TOY = WanConfig(
    dim=48,
    ffn_dim=96,
    num_layers=3,
    num_heads=3,
    freq_dim=32,
    text_dim=20,
    text_len=12,
    in_channels=4,
    out_channels=4,
)


@pytest.fixture
def toy_wan() -> Callable[..., Wan]:
    """Build a toy Wan with random weights, in float64 unless asked otherwise."""

    def build(dtype: torch.dtype = torch.float64, seed: int = 0, config: WanConfig = TOY) -> Wan:
        wan = Wan(config)
        init_weights(wan, torch.Generator().manual_seed(seed), zero_head=False)
        return wan.to(dtype).requires_grad_(False)

    return build
