"""Counted operations against the published count of the 1.3B model (models/backbone.md#operation-counts)."""

import pytest

from models.config import WanConfig
from models.flops import call_flops, text_flops
from models.plan import AbsolutePolicy

POLICY = AbsolutePolicy(capacity=21, counting="includes_current", denoise_writes=True)


def test_counts_of_a_whole_clip() -> None:
    """Guards against a forgotten projection or a wrong key count: 16.2 TFLOP in the first chunk, 4.04 more in
    each later one, 990.5 in 35 passes, 950.1 in the 34 that are needed.
    """
    config, planner, passes = WanConfig(), POLICY.planner(), []
    for start in range(0, 21, 3):
        for kind in ("denoise",) * 4 + ("context",):
            passes.append(call_flops(config, planner.plan(start, 3, kind), 1560) / 1e12)
    assert passes[0] == pytest.approx(16.2, abs=0.05)
    assert [passes[i + 5] - passes[i] for i in range(30)] == pytest.approx([4.04] * 30, abs=0.005)
    text = text_flops(config) / 1e12
    assert sum(passes) + text == pytest.approx(990.5, abs=0.1)
    assert sum(passes[:-1]) + text == pytest.approx(950.1, abs=0.1)
