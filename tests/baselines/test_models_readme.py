"""models/README.md: its code runs as printed, and its table of draws is the samplers'."""

import re
import shutil
import textwrap
from pathlib import Path

import pytest
import torch
from torch import Tensor

from baselines.build import build_sampler, dtypes_of
from baselines.spec import load_all
from models.config import WanConfig
from models.noise import UpstreamNoise
from models.wan import Wan, cast_parameters, init_weights

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "models" / "README.md").read_text()
BASELINES = load_all(ROOT / "baselines")


def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The documented call yields seven chunks from each kind of noise source, and the page's
    own comparison holds. Catches a page that has fallen behind the code.
    """
    shutil.copytree(ROOT / "baselines", tmp_path / "baselines", ignore=shutil.ignore_patterns("*.py*"))
    monkeypatch.chdir(tmp_path)  # the page writes draws.safetensors where it runs
    blocks = re.findall(r"^( *)```python\n(.*?)^ *```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for _, block in blocks:
        exec(compile(textwrap.dedent(block), "models/README.md", "exec"), names)
    clips = names["clips"]
    assert isinstance(clips, dict)
    assert set(clips) == {"portable", "upstream", "generator", "tensors"}
    for chunks in clips.values():
        assert [tuple(chunk.shape) for chunk in chunks] == [(1, 3, 4, 8, 8)] * 7
        assert all(chunk.dtype == torch.bfloat16 and chunk.isfinite().all() for chunk in chunks)


def test_the_table_of_draws_is_complete_and_true() -> None:
    """Every baseline once, with the number of later draws that its sampler makes."""
    rows = re.findall(r"^\| ((?:`\w+` ?)+) \|.*?\|.*?\| (\d+) \|", PAGE, flags=re.MULTILINE)
    printed = {name: int(count) for names, count in rows for name in re.findall(r"`(\w+)`", names)}
    assert set(printed) == set(BASELINES)
    config = WanConfig(
        dim=12, ffn_dim=8, num_layers=1, num_heads=1, freq_dim=8, text_dim=4, text_len=3,
        in_channels=2, out_channels=2,
    )  # fmt: skip

    class Counted(UpstreamNoise):
        later = 0

        def _rows(self, frames: int) -> Tensor:
            self.later += 1
            return super()._rows(frames)

    for name, baseline in BASELINES.items():
        dtypes = dtypes_of(baseline, "float32")
        wan = Wan(config, dtypes.network)
        init_weights(wan, torch.Generator().manual_seed(0))
        cast_parameters(wan, dtypes.matmul).requires_grad_(False)
        sampler = build_sampler(baseline, wan, latent_shape=(21, 2, 2, 2), precision="float32")
        noise = sampler.upstream_noise([0], torch.device("cpu"))
        counted = Counted(noise.order, [0], noise.shape, dtype=noise.dtype)
        for _ in sampler.sample(torch.zeros(1, 2, 4), counted):
            pass
        assert counted.later == printed[name], name
