"""The training benchmark's own arithmetic, and its code at tiny size on the CPU; speed itself is never
tested.
"""

import json
from pathlib import Path

import pytest

from models.config import WanConfig
from workflow.scripts.dev import bench_train


def test_operations_of_a_pass() -> None:
    """models/backbone.md#operation-counts: a forward at 32,760 tokens is 283 TFLOP with dense attention, 198
    block-causal.
    """
    latent = (21, 16, 60, 104)
    dense, causal = bench_train.dense_flops, bench_train.causal_calls
    assert dense(WanConfig(), latent) / 1e12 == pytest.approx(283, abs=0.6)
    assert sum(causal(WanConfig(), latent)) / 1e12 == pytest.approx(198, abs=0.6)
    # noisy chunk k sees k clean ones and itself, and so does clean chunk k, but the last is left out
    doubled = 2 * sum(causal(WanConfig(), latent)) - causal(WanConfig(), latent)[-1]
    assert bench_train.packed_flops(WanConfig(), latent) == pytest.approx(doubled)


@pytest.mark.slow
def test_every_part_is_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Guards against parts that no longer fit the recipe."""
    output = tmp_path / "train.json"
    monkeypatch.setattr(
        "sys.argv", ["bench_train", "--size", "tiny", "--repeats", "1", "--output", str(output)]
    )
    bench_train.main()
    facts = json.loads(output.read_text(encoding="utf-8"))
    assert [(part["part"], part["checkpointed"]) for part in facts["parts"]] == [
        ("bidirectional fwd+bwd", True),
        ("block-causal fwd+bwd", True),
        ("interleaved fwd+bwd", True),
        ("bidirectional fwd+bwd", False),
        ("block-causal fwd+bwd", False),
        ("interleaved fwd+bwd", False),
        ("CM-GRPO rollout, eager", False),
        ("CM-GRPO policy fwd+bwd", True),
        ("rollout, eager", False),
        ("student fwd+bwd", True),
        ("student optimizer step", False),
        ("teacher, guided", False),
        ("fake-score update", True),
        ("whole iteration", True),
    ]
    assert all(part["seconds"] > 0 for part in facts["parts"])
