"""Files that VBench's worker writes are whole, and the stages know what a dead worker left."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from evaluation.files import remove_leftovers, unfinished_name
from evaluation.vbench.worker.networks import read_state, save_tensors
from evaluation.vbench.worker.whole import whole_file


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    with whole_file(path) as unfinished:
        unfinished.write_text("old")
        assert not path.exists() and unfinished.name == unfinished_name("answer.json")
    with suppress(InterruptedError), whole_file(path) as unfinished:
        unfinished.write_text("ne")
        raise InterruptedError
    assert [file.name for file in tmp_path.iterdir()] == ["answer.json"] and path.read_text() == "old"


def test_what_a_killed_worker_left_is_removed(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from evaluation.vbench.worker.whole import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as file: file.write_text('part'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "amt-s.pth"], check=False)
    (left,) = tmp_path.iterdir()
    assert done.returncode == -9 and remove_leftovers(tmp_path) == [left] and not left.exists()


def test_tensors_are_saved_without_the_rest(tmp_path: Path) -> None:
    """And under another process' name nothing stays, whether they are saved or refused."""
    state = {"state_dict": {"module.a": torch.arange(3.0)}, "options": {"lr": 1.0}}
    torch.save(state, tmp_path / "published.pth")
    save_tensors(tmp_path / "published.pth", tmp_path / "amt-s.pth")
    assert torch.equal(read_state(tmp_path / "amt-s.pth", key="state_dict")["a"], torch.arange(3.0))
    torch.save({"state_dict": [1]}, tmp_path / "published.pth")
    with pytest.raises(ValueError, match="no level 'state_dict'"):
        save_tensors(tmp_path / "published.pth", tmp_path / "amt-s.pth")
    assert sorted(os.listdir(tmp_path)) == ["amt-s.pth", "published.pth"]
