"""The client of the reward worker: what it does with a worker that dies, sleeps, lies or was never built;
frames on their way to it.
"""

import os
import signal
import stat
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.dimensions import NAMES
from evaluation.vbench.worker.networks import NETWORK_FILES, RAFT_ARCHIVE
from models.training.video_align import FILES as VIDEO_ALIGN_FILES
from tests.evaluation.test_vbench_rewards import CPU_SITE, PYTHON, in_vbench
from workflow.planning.code_digest import imported_files
from workflow.planning.resources import needed_resources
from workflow.planning.row_plan import heldout_modules
from workflow.planning.suite_file import load_suite, read_mapping, suite_from
from workflow.training.reward_names import (
    FULL_REWARDS,
    GRADED,
    REWARD_NETWORK_FILES,
    SMOOTH,
    UNIFIED_REWARD,
    UNIFIED_REWARDS,
    UNIFIED_WEIGHTS,
    check_rewards,
    reward_modules,
    toybox_scorer,
)
from workflow.training.rewards import (
    SHARED_MEMORY,
    ClipRewards,
    RewardWorker,
    as_bytes,
    reward_files,
)

ROOT = Path(__file__).parents[2]
FRAMES = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
READY = 'print(json.dumps({"ready": {"torch": "1"}}), flush=True)\n'
ANSWERS = """
for line in sys.stdin:
    request = json.loads(line)
    data = open(request["frames"], "rb").read()
    assert len(data) == 120 and request["shape"] == [2, 4, 5, 3], request
    print(json.dumps({"scores": {"raft": sum(data) / request["fps"]}}), flush=True)
"""


def worker_of(tmp_path: Path, program: str, **limits: float) -> RewardWorker:
    """A client whose `python` runs this program instead of our worker."""
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\nimport json, sys, time\n{program}")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return RewardWorker(
        ["raft"], weights=tmp_path, device="cpu", log_file=tmp_path / "log", python=python, **limits
    )


def test_frames_go_over_and_scores_come_back(tmp_path: Path) -> None:
    """The documented layout: T h w 3 bytes in a file, nothing else; nothing is left when the client is
    closed.
    """
    worker = worker_of(tmp_path, READY + ANSWERS)
    folder = Path(worker.folder.name)
    assert folder.parent == SHARED_MEMORY or not SHARED_MEMORY.is_dir()
    for _ in range(2):
        assert worker.scores(FRAMES, 16.0) == {"raft": FRAMES.sum() / 16}
    worker.close()
    assert worker.process.returncode == 0
    assert not folder.exists()


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("sys.exit('no such library')", ("has ended", "no such library", "exit code 1")),
        ("print('hello', flush=True)", ("no JSON",)),
        ('print(json.dumps({"error": "bad weights"}), flush=True); sys.exit(1)', ("bad weights",)),
        ("time.sleep(60)", ("did not answer within 1 s",)),
        (READY + "sys.exit(7)", ("has ended", "exit code 7")),
        (READY + "sys.stdin.readline(); time.sleep(60)", ("did not answer within 1 s",)),
        (
            READY + 'sys.stdin.readline(); print(\'{"scores": {"raft": NaN}}\', flush=True)',
            ("NaN", "which is no JSON"),
        ),
        (READY + "sys.stdin.readline(); print('{\"scores\": {}}', flush=True)", ("raft were asked for",)),
        (READY + 'sys.stdin.readline(); print(\'{"error": "too small"}\', flush=True)', ("too small",)),
    ],
)
def test_every_fault_of_a_worker_is_one_sentence(
    tmp_path: Path, program: str, words: tuple[str, ...]
) -> None:
    """A fault never becomes a number, nor a process that waits for ever."""
    patience = 1.0 if "sleep" in program else 30.0
    with pytest.raises(ValueError, match="The worker that computes the rewards raft") as caught:
        worker_of(tmp_path, program, start_s=patience, answer_s=patience).scores(FRAMES, 16.0)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_our_worker_says_what_its_environment_lacks(tmp_path: Path) -> None:
    """The real worker in this environment, which has none of VBench's packages: a sentence, not a
    traceback.
    """
    with pytest.raises(ValueError, match=r"says: ModuleNotFoundError: No module named") as caught:
        RewardWorker(
            ["raft"], weights=tmp_path, device="cpu", log_file=tmp_path / "log", python=Path(sys.executable)
        )
    assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"envs/vbench/install\.sh"):
        RewardWorker(
            ["raft"], weights=tmp_path, device="cpu", log_file=tmp_path / "log", python=tmp_path / "x"
        )


@pytest.mark.slow
def test_the_real_worker_outlives_the_signal_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In VBench's environment, on random weights: a score, the same after SIGTERM (training then saves with
    its help), and a fault.
    """
    if not PYTHON.is_file():
        pytest.skip(f"VBench's environment is not built ({PYTHON}); build it: envs/vbench/install.sh")
    made = in_vbench("-m", "tests.evaluation.vbench_reward_probe", str(tmp_path), "weights")
    assert made.returncode == 0, made.stderr[-3000:]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(CPU_SITE)]))
    worker = RewardWorker(
        ["motion_smoothness"],
        weights=tmp_path / "weights",
        device="cpu",
        log_file=tmp_path / "log",
        python=PYTHON,
    )
    clip = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    first = worker.scores(clip, 16.0)
    assert 0 < first["motion_smoothness"] < 1
    worker.process.send_signal(signal.SIGTERM)
    assert worker.scores(clip, 16.0) == first
    with pytest.raises(ValueError, match="motion smoothness needs 3 frames"):
        worker.scores(clip[:2], 16.0)
    worker.close()


def test_pixels_become_bytes_by_rounding() -> None:
    """models/training/methods.md#rewards: round((x + 1) * 127.5) of x clamped to [-1, 1], channels last; what
    is not finite has no reward.
    """
    pixels = (
        torch.tensor([-2.0, -1.0, 0.0, 0.5 / 127.5, 0.6 / 127.5, 1.0]).view(1, 1, 1, 6).expand(3, 2, 1, 6)
    )
    found = as_bytes(pixels)
    assert found.shape == (2, 1, 6, 3)
    assert found[0, 0, :, 0].tolist() == [0, 0, 128, 128, 128, 255]
    with pytest.raises(FloatingPointError, match="not finite"):
        as_bytes(torch.full((3, 1, 2, 2), torch.nan))


def test_rewards_are_named_strictly(tmp_path: Path) -> None:
    """Guards against yesterday's `temporal_style`, which is another measure, and against a list of prompts
    without reward weights.
    """
    suite = ROOT / "workflow/config/vbench.yaml"
    values = read_mapping(suite, "vbench.yaml")
    values["cm_grpo"]["rewards"] = {"temporal_style": 2.0}
    with pytest.raises(
        ValueError, match=r"cm_grpo\.rewards names temporal_style; the rewards of real clips are text_al"
    ):
        suite_from(values, "vbench.yaml", ROOT)
    for spoil in ({"rewards": None}, {"prompts": None}):
        values = read_mapping(suite, "vbench.yaml")
        values["train"]["cm_grpo"] |= spoil
        with pytest.raises(ValueError, match=r"train\.cm_grpo\.rewards is"):
            suite_from(values, "vbench.yaml", ROOT)
    check_rewards({"raft": 1.0}, "x", real_clips=True)
    (tmp_path / "vbench/amt_model").mkdir(parents=True)
    (tmp_path / "vbench/amt_model/amt-s.pth").touch()
    read = {name for names in REWARD_NETWORK_FILES.values() for name in names}
    assert set(NETWORK_FILES.values()) | {RAFT_ARCHIVE[0]} == {n for n in read if not n.endswith(".py")}
    (tmp_path / UNIFIED_WEIGHTS).mkdir()
    (tmp_path / UNIFIED_WEIGHTS / "config.json").touch()
    found = [path.name for path in reward_files(dict.fromkeys(FULL_REWARDS, 1.0), tmp_path)]
    assert found == ["amt-s.pth", "config.json"]


def test_rewards_bring_their_own_files() -> None:
    """Each reward of real clips brings what it reads, and nothing of another; without training there is
    none.
    """
    suite = ROOT / "workflow/config/vbench.yaml"

    def brought(rewards: dict[str, float]) -> set[str]:
        values = read_mapping(suite, "vbench.yaml")
        values["cm_grpo"]["rewards"] = rewards
        return {e.path for e in needed_resources(ROOT, suite_from(values, "vbench.yaml", ROOT))}

    plain = brought({"text_alignment": 1.0})
    assert {f"weights/videoalign/{name}" for name in VIDEO_ALIGN_FILES} <= plain
    listed = {f"weights/vbench/{n}" for names in REWARD_NETWORK_FILES.values() for n in names}
    every = listed - {f"weights/vbench/{NETWORK_FILES['raft']}"}
    assert brought(dict.fromkeys(REWARD_NETWORK_FILES, 1.0)) - plain == every
    assert brought({"background_consistency": 1.0}) - plain == {"weights/vbench/clip_model/ViT-B-32.pt"}
    judged = brought(dict.fromkeys(UNIFIED_REWARDS, 1.0)) - plain
    assert {path.rpartition("/")[0] for path in judged} == {f"weights/{UNIFIED_WEIGHTS}"}
    assert len(judged) == 4
    released = load_suite(ROOT, [suite], {"weights": "released"})
    assert not [e for e in needed_resources(ROOT, released) if e.path.startswith("weights/vbench/")]
    assert UNIFIED_REWARD not in reward_modules(REWARD_NETWORK_FILES, real_clips=True)


def test_ratings_of_the_judge_are_rewards_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scripted UnifiedReward, loaded as training loads it: only the ratings asked for, and one question a
    clip.
    """
    from argparse import Namespace

    from tests.models.unified_reward_toys import write_unified_reward
    from workflow.training import rewards

    write_unified_reward(tmp_path / UNIFIED_WEIGHTS, scripted=True)
    monkeypatch.setattr(rewards.WanVae, "load", lambda *_, **__: None)
    clip = torch.randint(0, 256, (5, 280, 280, 3), dtype=torch.uint8)
    monkeypatch.setattr(rewards, "frames_of", lambda *_: clip)
    flags = Namespace(rewards=tmp_path, codec=None, fps=16.0, reward_python=Path("none"))
    asked = {"unified_dynamic_degree": 2.0, "unified_text_alignment": 1.0}
    made: ClipRewards = rewards.rewards_of(flags, asked, torch.device("cpu"), tmp_path / "log")
    assert made.worker is None
    assert made.score(torch.zeros(1), "a ball") == {
        "unified_dynamic_degree": 3.0, "unified_text_alignment": 1.0,
    }  # fmt: skip


def test_training_depends_on_the_rewards_it_uses() -> None:
    """The toybox's scorers and the networks of real clips are imported by name, so that editing one of them
    retrains only what it rewards (tests/workflow/test_reruns.py runs that).
    """
    trains = {str(path) for path in imported_files(ROOT, "workflow.scripts.train_cm_grpo")}
    assert not [path for path in trains if "/scorers/" in path and "__init__" not in path]
    assert not trains & {"evaluation/toybox/checkers.py", "models/training/video_align.py"}
    assert reward_modules({"color": 1.0}, real_clips=False) == ["evaluation.toybox.scorers.color"]
    plan = load_suite(ROOT, [ROOT / "workflow/config/toybox.yaml"], {}).train["cm_grpo"]
    assert {toybox_scorer(name) for name in NAMES} <= set(heldout_modules(plan))
    for module in reward_modules(FULL_REWARDS, real_clips=True):
        assert imported_files(ROOT, module)
    for name in (*GRADED, *SMOOTH):
        scorer = import_module(toybox_scorer(name))
        assert (name in GRADED) == hasattr(scorer, "soft"), name
        assert imported_files(ROOT, toybox_scorer(name))
