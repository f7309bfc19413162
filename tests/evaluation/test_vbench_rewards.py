"""Rewards by VBench's networks: equal to VBench's own code on the same frames, closed forms, and files that
are refused.
"""

import argparse
import json
import os
import pickle
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from evaluation.vbench.worker.networks import load_whole, read_script_state, read_state
from evaluation.vbench.worker.rewards import consistency, every_nth, largest_flow
from workflow.training.reward_names import REWARD_NETWORK_FILES

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("VBENCH_PYTHON", ROOT / ".venvs/vbench/bin/python")).absolute()
CPU_SITE = ROOT / "tests/vbench/cpu"
"""Lets torchvision import beside a CPU torch, where it is there."""


def in_vbench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A program in VBench's environment."""
    paths = [str(ROOT), *([str(CPU_SITE)] if CPU_SITE.is_dir() else [])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [str(PYTHON), "-W", "ignore", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What tests/evaluation/vbench_reward_probe.py says."""
    if not PYTHON.is_file():
        pytest.skip(f"VBench's environment is not built ({PYTHON}); build it: envs/vbench/install.sh")
    done = in_vbench("-m", "tests.evaluation.vbench_reward_probe", str(tmp_path_factory.mktemp("probe")))
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.vbench
def test_rewards_are_vbenchs_numbers(probed: dict[str, Any]) -> None:
    """Guards against another resize, crop, normalisation, padding, quantisation or share: random networks of
    true shape show any of them.

    RAFT's mean is summed in another order than VBench's, and frames of the consistencies go through their
    network together; the others are the same bits.
    """
    assert probed["beside"].keys() == set(REWARD_NETWORK_FILES)
    summed_apart = ("raft", "subject_consistency", "background_consistency")
    for name, (ours, theirs) in probed["beside"].items():
        assert ours == pytest.approx(theirs, rel=1e-6 if name in summed_apart else 1e-12), name


@pytest.mark.vbench
def test_closed_forms(probed: dict[str, Any]) -> None:
    """models/training/methods.md#rewards. AMT: a predictor of midpoints is right on constant and even motion,
    and 51 of 255 off where odd frames jump by 51.

    MUSIQ: / 100, pictures in 0..1 with a long side of 512. LAION: / 10 of the head on the *normalised*
    feature, 0.01 sqrt(768) + 4, from 32 frames at once of 224 x 224 with CLIP's mean and deviation.
    """
    closed = probed["closed"]
    assert closed["smooth"] == pytest.approx({"still": 1.0, "ramp": 1.0, "shaken": 1 - 51 / 255})
    assert closed["imaging"] == pytest.approx(0.62)
    assert closed["musiq_saw"] == [[1, 3, 120, 512], 1.0]
    assert closed["aesthetic"] == pytest.approx((0.01 * 768**0.5 + 4) / 10, rel=1e-6)
    assert closed["clip_saw"] == [[32, 3, 224, 224], [8, 3, 224, 224]]
    mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    expected = [(128 / 255 - m) / d for m, d in zip(mean, deviation, strict=True)]
    assert closed["clip_mean"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.vbench
def test_spoilt_weights_are_one_sentence(probed: dict[str, Any]) -> None:
    """Guards against a network that keeps its random tensors: its scores would look like scores."""
    said = probed["faults"]
    for name, words in (
        ("raft", "1 missing"), ("musiq", "1 missing"), ("aesthetic_head", "not finite"),
        ("dino", "1 missing"), ("clip_b32", "is not the CLIP of its name"),
        ("clip_l14", "no TorchScript archive"),
        ("amt", "no level 'state_dict'"),
    ):  # fmt: skip
        assert words in said[name] and "fetch" in said[name] and "\n" not in said[name]


def test_the_largest_five_percent_of_a_known_flow() -> None:
    """400 pixels, of which 20 (5 %) move by (3, 4): their mean is 5, and 6 % would be less; a tiny picture is
    refused.
    """
    flow = torch.zeros(2, 20, 20)
    flow[0, 7], flow[1, 7] = 3.0, -4.0
    assert largest_flow(flow) == pytest.approx(5.0)
    assert largest_flow(flow, share=0.06) == pytest.approx(5 * 20 / 24)
    with pytest.raises(ValueError, match="9 pixels"):
        largest_flow(torch.zeros(2, 3, 3))


def test_consistency_of_known_features() -> None:
    """By hand: three directions in a plane; and VBench's loop, frame by frame, on random features."""
    found = consistency(torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 1.0]]))
    half = 0.5**0.5
    assert found == pytest.approx(((0 + 0) / 2 + (half + 0) / 2) / 2), "to the first: -0.71, counted as 0"
    features, total = torch.randn(9, 5, generator=torch.Generator().manual_seed(0)), 0.0
    for t in range(1, 9):
        cosines = [float(torch.cosine_similarity(features[t], features[k], dim=0)) for k in (t - 1, 0)]
        total += sum(max(0.0, one) for one in cosines) / 2
    assert consistency(features) == pytest.approx(total / 8, rel=1e-6)
    assert consistency(torch.ones(4, 3)) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="needs 2 frames, found 1"):
        consistency(torch.ones(1, 3))


def test_flow_is_measured_eight_times_a_second() -> None:
    """models/training/methods.md#rewards: 81 frames at 16 fps become 41; 24 fps takes every third, and slow
    clips every frame.
    """
    assert [every_nth(fps) for fps in (4, 8, 16, 24, 30)] == [1, 1, 2, 3, 4]
    assert len(range(81)[:: every_nth(16)]) == 41


class Trap:
    """Runs a command when it is unpickled the ordinary way."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def test_objects_of_a_checkpoint_are_never_run(tmp_path: Path) -> None:
    """AMT's published file holds its options beside the tensors: those come to nothing, and what would run is
    refused.
    """
    state = {"module.a": torch.ones(2)}
    torch.save({"state_dict": state, "config": argparse.Namespace(lr=1.0)}, tmp_path / "good.pth")
    assert read_state(tmp_path / "good.pth", key="state_dict")["a"].tolist() == [1.0, 1.0]
    torch.save({"state_dict": state, "config": Trap(tmp_path / "ran")}, tmp_path / "trap.pth")
    with pytest.raises(ValueError, match="can be read safely"):
        read_state(tmp_path / "trap.pth", key="state_dict")
    assert not (tmp_path / "ran").exists()
    torch.save(state, tmp_path / "older.pth", _use_new_zipfile_serialization=False)
    assert read_state(tmp_path / "older.pth").keys() == {"a"}, "torch before 1.6 wrote no zip"
    with zipfile.ZipFile(tmp_path / "several.zip", "w") as packed:
        packed.write(tmp_path / "good.pth", "models/good.pth")
    inside = read_state(tmp_path / "several.zip", key="state_dict", member="models/good.pth")
    assert inside.keys() == {"a"}


def test_files_that_are_no_weights_are_one_sentence(tmp_path: Path) -> None:
    """Guards against a web page, a pickle, an absent member or tensors mixed with text where weights should
    be.
    """
    (tmp_path / "page.pth").write_text("<html>")
    (tmp_path / "old.pth").write_bytes(pickle.dumps({"a": 1}))
    torch.save({"a": "text"}, tmp_path / "text.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    zipfile.ZipFile(tmp_path / "empty.zip", "w").close()
    for name, member in (
        ("page.pth", None), ("old.pth", None), ("text.pth", None), ("list.pth", None), ("empty.zip", "x.pth"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="fetch") as caught:
            read_state(tmp_path / name, member=member)
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="make fetch"):
        read_state(tmp_path / "absent.pth")
    with pytest.raises(ValueError, match="no TorchScript archive"):
        read_script_state(tmp_path / "page.pth")


def test_loading_is_whole_or_not_at_all(tmp_path: Path) -> None:
    """Missing, unknown and wrongly shaped tensors are all named; the module is as it was."""
    module = torch.nn.Linear(3, 2)
    before = module.weight.detach().clone()
    for state, words in (
        ({"weight": torch.zeros(2, 3)}, "1 missing"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "x": torch.zeros(1)}, "1 unexpected"),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(2)}, "1 of another shape"),
        ({"weight": torch.zeros(2, 3), "bias": torch.tensor([0.0, torch.nan])}, "not finite"),
    ):
        with pytest.raises(ValueError, match=words):
            load_whole(module, state, tmp_path / "x.pth")
        assert torch.equal(module.weight, before)
