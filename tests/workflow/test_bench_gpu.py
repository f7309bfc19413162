"""The GPU benchmark's own arithmetic, run at tiny size on the CPU; speed itself is never tested."""

import json
from pathlib import Path

import pytest

from workflow.scripts.dev import bench_gpu


@pytest.mark.slow
def test_figures_add_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Guards against uncounted calls, chunks that are not timed, and rates over wrong numbers of frames."""
    output = tmp_path / "gpu.json"
    arguments = ["--size", "tiny", "--methods", "raven", "rolling_forcing", "--batches", "1", "2"]
    monkeypatch.setattr("sys.argv", ["bench_gpu", *arguments, "--repeats", "1", "--output", str(output)])
    bench_gpu.main()
    facts = json.loads(output.read_text(encoding="utf-8"))
    assert facts["weights"] == "random"
    assert [(t["method"], t["batch"]) for t in facts["timings"]] == [
        ("raven", 1), ("raven", 2), ("rolling_forcing", 1), ("rolling_forcing", 2),
    ]  # fmt: skip
    for timing in facts["timings"]:
        assert timing["network_calls"] == {"raven": 34, "rolling_forcing": 17}[timing["method"]]
        assert len(timing["chunk_s"]) == 7
        assert timing["first_latents_s"] == timing["chunk_s"][0]
        assert timing["text_s"] > 0
        assert timing["attention"] == facts["attention"] == "sdpa"
        assert timing["first_latents_s"] < timing["network_s"]
        assert timing["fps_stream"] * timing["stream_s"] == pytest.approx(81 * timing["batch"])
        assert timing["fps_stage"] * timing["stage_s"] == pytest.approx(81 * timing["batch"])
        assert timing["cpus"] >= 1
        assert timing["fps_network"] * timing["network_s"] == pytest.approx(81 * timing["batch"])
        assert timing["mfu"] * timing["network_s"] * facts["matrix_tflop_per_s"] == pytest.approx(
            timing["tflop"]
        )
    one, two = facts["timings"][:2]
    assert two["tflop"] == pytest.approx(2 * one["tflop"])
