"""Both recipes' scripts on Wan's own kinds of file, at small size: released checkpoints, umT5's .pth with a
tokenizer, a list of prompts.

CM-GRPO also decodes with Wan's VAE and is rewarded by VideoAlign, and by VBench's networks where their
environment is built.
"""

import dataclasses
import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

from models.checkpoints.containers import read_dcp, write_safetensors
from models.config import DtypePolicy, WanConfig
from models.training.distributed import ALONE
from models.training.prompts import PromptPool, read_training_prompts
from models.training.settings import (
    CmGrpoSettings,
    DmdSettings,
    Execution,
    KlSettings,
    OptimizerSettings,
    canonical,
)
from models.wan import Wan, init_weights, stored_dtype
from reports.curves import read_heldout
from tests.evaluation.test_vbench_rewards import CPU_SITE, PYTHON, in_vbench
from tests.models.test_wan_vae import random_vae, wan_name
from tests.models.umt5_toys import DIM, wan_state, write_tokenizer
from tests.models.videoalign_toys import write_videoalign
from workflow.scripts.train_cm_grpo import split_prompts
from workflow.training.job import Job, open_for_training, open_prompts, place

ROOT = Path(__file__).parents[2]
CONFIG = WanConfig(
    dim=128, ffn_dim=64, num_layers=2, num_heads=1, freq_dim=32, text_dim=DIM, in_channels=4, out_channels=4
)
JOB = Job(torch.device("cpu"), ALONE, Execution(), lambda: False, ())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal initialisation inside a container, a base model without a header of ours, umT5, and four lines
    of prompts.
    """
    folder = tmp_path_factory.mktemp("released")
    for seed, name in enumerate(("ode", "base")):
        wan = Wan(CONFIG)
        init_weights(wan, torch.Generator().manual_seed(seed), zero_head=False)
        if name == "ode":
            state = {f"model.{key}": value for key, value in wan.state_dict().items()}
            torch.save({"generator": state}, folder / "causal_ode.pt")
        else:
            write_safetensors(folder / "base.safetensors", wan.state_dict())
    torch.save(wan_state(dtype=torch.bfloat16), folder / "umt5.pth")
    write_tokenizer(folder / "google" / "umt5-xxl")
    (folder / "prompts.txt").write_text("a red ball\n\n  a cat on a meadow \na red ball\na ball and a cat\n")
    return folder


def flags(files: Path, output: Path) -> list[str]:
    adamw = OptimizerSettings(lr=1e-4)
    settings = DmdSettings(
        iterations=2,
        batch=2,
        micro_batches=2,
        seed=3,
        student=adamw,
        fake=adamw,
        chunks=(1, 1),
        checkpoint_every=1,
    )
    return [
        "--recipe",
        "raven",
        "--settings",
        canonical(settings),
        "--output",
        str(output),
        "--execution",
        '{"activation_checkpointing": true, "asynchronous": true}',
        "--init",
        str(files / "causal_ode.pt"),
        "--teacher",
        str(files / "base.safetensors"),
        "--fake",
        str(files / "base.safetensors"),
        "--prompts",
        str(files / "prompts.txt"),
        "--text",
        str(files / "umt5.pth"),
        "--codec",
        str(files / "umt5.pth"),
        "--latent-size",
        "4",
        "6",
        "--precision",
        "fast",
    ]


def test_released_models_compute_as_raven_does(files: Path) -> None:
    """models/backbone.md#precision: what trains has float32 weights and bfloat16 products, what is frozen
    bfloat16 weights; both agree.

    Guards against autocast inside the fp32_modules, a residual in bfloat16, and training in place in a mapped
    file.
    """
    path = files / "base.safetensors"
    trained, frozen = (
        place(open_for_training(path, "bidirectional", "fast", trained=value), JOB, trained=value)
        for value in (True, False)
    )
    assert {value.dtype for value in trained.parameters()} == {torch.float32}
    assert all(value.requires_grad for value in trained.parameters())
    for name, value in frozen.named_parameters():
        assert value.dtype == stored_dtype(name, frozen.dtypes, torch.bfloat16) and not value.requires_grad
    exact = Wan(CONFIG, DtypePolicy(rotary="float32"))
    exact.load_state_dict(trained.state_dict())
    generator = torch.Generator().manual_seed(0)
    x, text = torch.randn(1, 2, 4, 4, 6, generator=generator), torch.randn(1, 5, DIM, generator=generator)
    with torch.no_grad():
        one, other, right = (
            wan(x, torch.full((1, 2), 700.0), wan.embed_text(text)) for wan in (trained, frozen, exact)
        )
    assert one.dtype == torch.float32
    scale = float(right.norm())
    assert 1e-5 < float((one - right).norm()) / scale < 2e-2
    assert float((one - other).norm()) / scale < 2e-3


def test_prompts_are_encoded_when_they_are_drawn(files: Path, tmp_path: Path) -> None:
    """Guards against a prompt whose rows depend on what else is drawn, and against a list that meets the
    embedded encoder.
    """
    drawn: list[str] = []
    prompts = read_training_prompts(files / "prompts.txt")
    assert prompts == ["a red ball", "a cat on a meadow", "a ball and a cat"]
    separated = tmp_path / "list.txt"
    separated.write_bytes("a\u2028b\x85c \r\n\n\td, e\nd, e\n".encode())
    assert read_training_prompts(separated) == ["a\u2028b\x85c", "d, e"], "one prompt a line, all of the line"
    pool = PromptPool(
        prompts, lambda texts: (drawn.extend(texts), torch.full((len(texts), 2, 3), len(drawn)))[1]
    )
    assert len(pool) == 3 and not drawn
    assert pool[[2, 0]].shape == (2, 2, 3) and drawn == ["a ball and a cat", "a red ball"]
    texts = open_prompts(Namespace(prompts=files / "prompts.txt", text=files / "umt5.pth"), JOB, 0)
    assert texts.negative is not None and texts.negative.shape == (1, 512, DIM)
    assert torch.equal(texts.pool[[0, 1]][1:], texts.pool[[1]])
    with pytest.raises(ValueError, match="give both or neither"):
        open_prompts(Namespace(prompts=None, text=files / "umt5.pth"), JOB, 0)


@pytest.mark.slow
def test_the_script_trains_released_files_in_one_process_and_in_two(files: Path, tmp_path: Path) -> None:
    """The full-size path end to end, sharded text encoder included: same draws, and weights as near as
    bfloat16 products are.
    """
    outputs = []
    for processes in (1, 2):
        output = tmp_path / str(processes)
        program = ["-m", "workflow.scripts.launch", "--nodes", "1", "--processes", str(processes)]
        done = subprocess.run(
            [sys.executable, *program, "workflow.scripts.train_raven", *flags(files, output)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MASTER_PORT": "17894"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert json.loads((output / "train.json").read_text())["step"] == 2
        outputs.append(output)
    lines = [json.loads((one / "metrics.jsonl").read_text().splitlines()[-1]) for one in outputs]
    for name in ("fake_loss", "teacher_distance", "student_grad_norm"):
        assert lines[0][name] == pytest.approx(lines[1][name], rel=1e-2)
    one, other = (read_dcp(output / "checkpoint/models/student_ema") for output in outputs)
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 2.1e-4, (
        "two updates of rate 1e-4"
    )


PICTURE = dataclasses.replace(CONFIG, in_channels=16, out_channels=16)
"""A transformer for latents of Wan's VAE, which have 16 channels."""


@pytest.fixture(scope="module")
def clips(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What CM-GRPO needs beside umT5 and prompts: a policy and a base model, Wan's VAE a 24th as wide,
    VideoAlign's files.
    """
    folder = tmp_path_factory.mktemp("clips")
    for seed, name in enumerate(("policy", "base")):
        wan = Wan(PICTURE)
        init_weights(wan, torch.Generator().manual_seed(seed), zero_head=False)
        write_safetensors(folder / f"{name}.safetensors", wan.state_dict())
    vae = {wan_name(name): value for name, value in random_vae().state_dict().items()}
    torch.save(vae, folder / "Wan2.1_VAE.pth")
    write_videoalign(folder / "videoalign")
    return folder


def grpo_settings(**changed: Any) -> CmGrpoSettings:
    """Both of the prompts that are left of three when one is held out, two rollouts of each."""
    rewards = {"text_alignment": 2.0}
    plain = CmGrpoSettings(
        iterations=2,
        prompts=2,
        group=2,
        micro_batches=2,
        seed=3,
        optimizer=OptimizerSettings(lr=1e-3),
        rewards=rewards,
        chunks=(1, 1),
        lora_rank=4,
        lora_alpha=4.0,
        heldout=1,
        checkpoint_every=1,
    )
    return dataclasses.replace(plain, **changed)


def in_project(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run modules of the project as a rule does."""
    paths = [str(ROOT), *([str(CPU_SITE)] if CPU_SITE.is_dir() else [])]
    environment = {"OMP_NUM_THREADS": "1", "MASTER_PORT": "17895", "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def cm_grpo_flags(files: Path, clips: Path, settings: CmGrpoSettings) -> list[str]:
    """Flags of training and of scoring held-out prompts."""
    return [
        "--settings",
        canonical(settings),
        "--init",
        str(clips / "policy.safetensors"),
        "--prompts",
        str(files / "prompts.txt"),
        "--rewards",
        str(clips),
        "--fps",
        "16",
        "--reward-python",
        str(PYTHON),
        "--text",
        str(files / "umt5.pth"),
        "--codec",
        str(clips / "Wan2.1_VAE.pth"),
        "--latent-size",
        "16",
        "16",
        "--precision",
        "fast",
    ]


def train_cm_grpo(
    files: Path, clips: Path, output: Path, settings: CmGrpoSettings, *, processes: int = 1
) -> subprocess.CompletedProcess[str]:
    """CM-GRPO's script through the launcher, as the rule calls it."""
    launcher = ["workflow.scripts.launch", "--nodes", "1", "--processes", str(processes)]
    return in_project(
        *launcher,
        "workflow.scripts.train_cm_grpo",
        "--recipe",
        "cm_grpo",
        "--output",
        str(output),
        "--execution",
        '{"activation_checkpointing": true}',
        "--teacher",
        str(clips / "base.safetensors"),
        *cm_grpo_flags(files, clips, settings),
    )


def test_held_out_prompts_are_not_trained_on() -> None:
    """Guards against a held-out check on prompts that training saw, and against a list that is too short."""
    prompts = [f"prompt {i}" for i in range(10)]
    split = split_prompts(prompts, grpo_settings(heldout=4))
    assert len(split.heldout) == 4 and not set(split.heldout) & set(split.trained)
    assert set(split.heldout) | set(split.trained) == set(prompts)
    assert split_prompts(prompts, grpo_settings(heldout=4, seed=4)).heldout != split.heldout
    with pytest.raises(ValueError, match=r"10 prompts, but cm_grpo\.heldout is 9"):
        split_prompts(prompts, grpo_settings(heldout=9))


@pytest.mark.slow
def test_cm_grpo_trains_on_real_kinds_of_file_in_one_process_and_in_two(
    files: Path, clips: Path, tmp_path: Path
) -> None:
    """umT5, list, released policy, Wan's VAE, VideoAlign: end to end; both draw the same and measure the
    held-out prompt before training.

    The KL to the guided base model needs umT5's rows of the empty prompt, so that path is in it too.
    """
    kl = KlSettings(weight=0.1, reference="base", guidance=3.0)
    lines, measured = [], []
    for processes in (1, 2):
        output = tmp_path / f"grpo{processes}"
        done = train_cm_grpo(files, clips, output, grpo_settings(kl=kl), processes=processes)
        assert done.returncode == 0, done.stderr[-3000:]
        assert json.loads((output / "train.json").read_text())["step"] == 2
        lines.append(json.loads((output / "metrics.jsonl").read_text().splitlines()[0]))
        scored = in_project(
            "workflow.scripts.score_heldout",
            "--before",
            "raven",
            "--train",
            str(output),
            "--output",
            str(output / "heldout.json"),
            *cm_grpo_flags(files, clips, grpo_settings(kl=kl)),
        )
        assert scored.returncode == 0, scored.stderr[-3000:]
        measured.append(json.loads((output / "heldout.json").read_text()))
    for name in ("reward", "reward_text_alignment", "student_grad_norm", "kl"):
        assert lines[0][name] == pytest.approx(lines[1][name], rel=5e-2, abs=2e-2), name
    assert lines[0]["ratio_error"] < 2e-3, "on policy, but for bfloat16 products"
    assert lines[0]["kl"] > 0
    for record in measured:
        assert [m["name"] for m in record["measures"]] == ["reward", "text_alignment"]
        assert record["prompts"] == measured[0]["prompts"] and len(record["prompts"]) == 1
    before = [record["measures"][1]["before"][0] for record in measured]
    assert before[0] == pytest.approx(before[1], abs=1e-6)
    assert read_heldout(tmp_path / "grpo1/heldout.json").before == "raven"


@pytest.mark.vbench
def test_cm_grpo_is_rewarded_by_every_network(files: Path, clips: Path, tmp_path: Path) -> None:
    """All five published rewards and weights, the worker in VBench's environment included."""
    if not PYTHON.is_file():
        pytest.skip(f"VBench's environment is not built ({PYTHON}); build it: envs/vbench/install.sh")
    made = in_vbench("-m", "tests.evaluation.vbench_reward_probe", str(tmp_path / "random"), "weights")
    assert made.returncode == 0, made.stderr[-3000:]
    (tmp_path / "random/weights").rename(tmp_path / "vbench")
    (tmp_path / "videoalign").symlink_to(clips / "videoalign")
    for name in ("policy.safetensors", "base.safetensors", "Wan2.1_VAE.pth"):
        (tmp_path / name).symlink_to(clips / name)
    weights = {
        "raft": 0.35,
        "text_alignment": 2.0,
        "aesthetic": 1.0,
        "imaging": 1.0,
        "motion_smoothness": 0.75,
    }
    done = train_cm_grpo(
        files, tmp_path, tmp_path / "grpo", grpo_settings(rewards=weights, iterations=1, micro_batches=4)
    )
    assert done.returncode == 0, done.stderr[-3000:]
    line = json.loads((tmp_path / "grpo/metrics.jsonl").read_text())
    assert line["reward_raft"] > 0
    assert 0 < line["reward_motion_smoothness"] < 1
    assert 0.3 < line["reward_aesthetic"] < 0.7 and 0.3 < line["reward_imaging"] < 0.7
    assert line["student_grad_norm"] > 0
    raw = sum(weight * line[f"reward_{name}"] for name, weight in weights.items()) / 5.1
    assert line["reward"] == pytest.approx(raw)


@pytest.mark.slow
def test_a_fault_of_a_reward_ends_the_run_in_one_sentence(files: Path, clips: Path, tmp_path: Path) -> None:
    """Nothing is trained, and no finished run is claimed, where a reward cannot be computed."""
    done = train_cm_grpo(files, clips, tmp_path / "grpo", grpo_settings(rewards={"raft": 1.0}))
    assert done.returncode != 0
    assert "envs/vbench/install.sh" in done.stderr or "There are no weights at" in done.stderr
    assert not (tmp_path / "grpo/train.json").exists()
