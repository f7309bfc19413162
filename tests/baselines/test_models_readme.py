"""models/README.md: its code runs as printed, and its table of draws is the samplers'."""

import re
import shutil
import textwrap
from pathlib import Path

import pytest
import torch

from baselines.describe import described_clip
from baselines.spec import load_all

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
    for name, baseline in BASELINES.items():
        assert len(described_clip(baseline).draws) - 1 == printed[name], name
