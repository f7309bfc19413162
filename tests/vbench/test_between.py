"""Clip-to-clip consistency by the real loading code of DINOv2 and DreamSim, on random weights."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.vbench import tiny

PYTHON = tiny.ROOT / ".venvs/vbench_long/bin/python"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.vbench,
    pytest.mark.skipif(not PYTHON.is_file(), reason=f"{PYTHON} is not built (envs/vbench_long/install.sh)"),
]


def in_environment(*words: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{tiny.CPU_SITE}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [PYTHON, *words], check=False, cwd=tiny.ROOT, env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("between") / "cache"
    made = in_environment("-m", "tests.vbench.between_cache", folder)
    assert not made.returncode, made.stderr[-3000:]
    return folder


def measured(cache: Path, folder: Path, videos: dict[str, np.ndarray[Any, Any]]) -> Any:
    """The answer of the worker, or its last line if it gave none."""
    files = {}
    for name, frames in videos.items():
        files[name] = str(folder / f"{name}.npy")
        np.save(files[name], frames)
    job = {"videos": files, "cache": str(cache), "sizes": {}, "device": "cpu", "threads": 1}
    (folder / "job.json").write_text(json.dumps(job | {"output": str(folder / "answer.json")}))
    done = in_environment("-m", "evaluation.vbench.worker.between", "--job", folder / "job.json")
    if done.returncode:
        return done.stderr.strip().splitlines()[-1]
    return json.loads((folder / "answer.json").read_text())


def test_cosines_of_real_networks(cache: Path, tmp_path: Path) -> None:
    """Equal frames have cosine 1 and different ones less; one piece has none."""
    one, two = (tiny.drifting(seed, 1, 48, 64)[0] for seed in (1, 2))
    answer = measured(
        cache,
        tmp_path,
        {"still": np.stack([one] * 2), "change": np.stack([one, two, one]), "single": one[None]},
    )
    for dimension in ("subject_consistency", "background_consistency"):
        still, change, single = (answer["videos"][name][dimension] for name in ("still", "change", "single"))
        for part in ("previous", "first"):
            assert still[part] == pytest.approx([1.0], abs=1e-5)
            assert single[part] == []
        assert change["first"][1] == pytest.approx(1.0, abs=1e-5)
        assert change["previous"][0] == change["first"][0] < 0.9999
        assert change["previous"][1] == pytest.approx(change["previous"][0], abs=1e-5)
    assert answer["versions"]["dreamsim"] == "0.2.1" and answer["versions"]["device"] == "cpu"


def test_a_missing_checkpoint_is_one_sentence(cache: Path, tmp_path: Path) -> None:
    """Guards against DreamSim's own download, which the guard would refuse with a traceback."""
    lora = cache / "between/dreamsim/ensemble_lora/adapter_config.json"
    kept = lora.read_bytes()
    lora.unlink()
    said = measured(cache, tmp_path, {"a": tiny.drifting(1, 2, 48, 64)})
    lora.write_bytes(kept)
    assert "ensemble_lora/adapter_config.json is missing; run `make fetch`" in said
