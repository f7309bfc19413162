"""RAVEN's script on Wan's own kinds of file, at small size: released checkpoints, umT5's .pth with a tokenizer, a list of prompts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from models.config import Numerics, WanConfig
from models.training.distributed import ALONE
from models.training.prompts import PromptPool, read_prompt_list
from models.training.settings import DmdSettings, Execution, OptimizerSettings, canonical
from models.wan import Wan, init_weights, stored_dtype
from models.weights import read_dcp, write_safetensors
from tests.models.umt5_toys import DIM, wan_state, write_tokenizer
from workflow.training_job import Job, open_model, open_prompts, place

ROOT = Path(__file__).parents[2]
CONFIG = WanConfig(
    dim=128, ffn_dim=64, num_layers=2, num_heads=1, freq_dim=32, text_dim=DIM, in_channels=4, out_channels=4
)
JOB = Job(torch.device("cpu"), ALONE, Execution(), lambda: False)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal initialisation inside a container, a base model without a header of ours, umT5, and four lines of prompts."""
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
        iterations=2, batch=2, slices=2, seed=3, student=adamw, fake=adamw, chunks=(1, 1), checkpoint_every=1
    )
    return [
        "--recipe", "raven", "--settings", canonical(settings), "--output", str(output),
        "--execution", '{"recompute": true, "asynchronous": true}',
        "--init", str(files / "causal_ode.pt"), "--teacher", str(files / "base.safetensors"),
        "--fake", str(files / "base.safetensors"), "--prompts", str(files / "prompts.txt"),
        "--text", str(files / "umt5.pth"), "--codec", str(files / "umt5.pth"), "--latent-size", "4", "6", "--numerics", "fast",
    ]  # fmt: skip


def test_released_models_compute_as_raven_does(files: Path) -> None:
    """raven.md 3.4, 18 B30: what trains has float32 weights and bfloat16 products, what is frozen bfloat16 weights; both agree.

    Guards against autocast inside the islands, a residual in bfloat16, and training in place in a mapped file.
    """
    path = files / "base.safetensors"
    trained, frozen = (
        place(open_model(path, "bidirectional", "fast", trained=value), JOB, trained=value)
        for value in (True, False)
    )
    assert {value.dtype for value in trained.parameters()} == {torch.float32}
    assert all(value.requires_grad for value in trained.parameters())
    for name, value in frozen.named_parameters():
        assert value.dtype == stored_dtype(name, frozen.numerics, torch.bfloat16) and not value.requires_grad
    exact = Wan(CONFIG, Numerics(rotary="float32"))
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


def test_prompts_are_encoded_when_they_are_drawn(files: Path) -> None:
    """Guards against a prompt whose rows depend on what else is drawn, and against a list that meets the embedded encoder."""
    drawn: list[str] = []
    prompts = read_prompt_list(files / "prompts.txt")
    assert prompts == ["a red ball", "a cat on a meadow", "a ball and a cat"]
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
    """The full-size path end to end, sharded text encoder included: same draws, and weights as near as bfloat16 products are."""
    outputs = []
    for processes in (1, 2):
        output = tmp_path / str(processes)
        program = ["-m", "workflow.scripts.launch", "--nodes", "1", "--processes", str(processes)]
        done = subprocess.run(
            [sys.executable, *program, "workflow.scripts.train_raven", *flags(files, output)],
            cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "MASTER_PORT": "17894"},
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
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
