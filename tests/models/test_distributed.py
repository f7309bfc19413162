"""Several processes train as one does, and checkpoints fit any number of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.checkpoints.containers import read_dcp
from models.noise import GeneratorNoise
from models.training.distributed import ALONE, Processes
from models.training.rollouts import consistency_rollout, predictions_with_gradient
from tests.models.training_toys import CHUNKS, SHAPE, normal, wan_of

ROOT = Path(__file__).resolve().parents[2]


def train_toy(*arguments: object, processes: int = 1) -> subprocess.CompletedProcess[str]:
    """Run tests/models/train_toy.py to its end, in one process or under torchrun."""
    program = ["-m", "tests.models.train_toy", *map(str, arguments)]
    if processes > 1:
        program = [
            "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), *program,
        ]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *program],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def trained(output: Path, *arguments: object, processes: int = 1) -> Path:
    recipe = "cm_grpo" if "cm_grpo" in output.name else "raven"
    done = train_toy(recipe, output, *arguments, processes=processes)
    assert done.returncode == 0, done.stderr[-3000:]
    return output


def assert_close(one: Path, other: Path) -> None:
    """Every tensor of the last checkpoint and every number of the metrics agree to 1e-5."""
    folders = sorted(path.parent.relative_to(one) for path in (one / "checkpoint/").rglob(".metadata"))
    assert len(folders) >= 3
    for folder in folders:
        found, expected = read_dcp(other / folder), read_dcp(one / folder)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            gap = float((found[name] - value).abs().max())
            assert gap <= 1e-5, f"{folder} {name} differs by {gap:.2g}"
    metrics = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (one, other)]
    lines = [[json.loads(line) for line in each] for each in metrics]
    assert [line["iteration"] for line in lines[0]] == [1, 2, 3, 4]
    for a, b in zip(*lines, strict=True):
        assert a.keys() == b.keys()
        assert {n: a[n] for n in a if n != "elapsed_s"} == pytest.approx(
            {n: b[n] for n in b if n != "elapsed_s"}, rel=1e-5, abs=1e-5
        )


@pytest.mark.slow
def test_two_processes_equal_one_and_read_each_others_checkpoints(tmp_path: Path) -> None:
    """RAVEN's sharded parameters, shared batch, summed gradients, resharded weights, averages and optimizers.

    Two processes keep no activations of blocks, which must change nothing either. 1e-5: sums in another
    order, in float32.
    """
    whole = trained(tmp_path / "whole")
    assert_close(whole, trained(tmp_path / "shared", "--activation-checkpointing", processes=2))
    trained(tmp_path / "from_two", "--iterations", 2, processes=2)
    assert_close(whole, trained(tmp_path / "from_two"))
    trained(tmp_path / "from_one", "--iterations", 2)
    assert_close(whole, trained(tmp_path / "from_one", "--asynchronous", processes=2))


@pytest.mark.slow
def test_muon_orthogonalises_whole_matrices(tmp_path: Path) -> None:
    """Orthogonalising each process' rows alone would be another optimizer; its momentum is resharded as
    everything is.
    """
    whole = trained(tmp_path / "whole", "--muon")
    assert_close(whole, trained(tmp_path / "shared", "--muon", processes=2))
    trained(tmp_path / "from_two", "--muon", "--iterations", 2, processes=2)
    assert_close(whole, trained(tmp_path / "from_two", "--muon"))
    plain = read_dcp(trained(tmp_path / "plain") / "checkpoint/models/student")
    moved = read_dcp(whole / "checkpoint/models/student")
    assert float((plain["blocks.0.ffn.0.weight"] - moved["blocks.0.ffn.0.weight"]).abs().max()) > 1e-3


@pytest.mark.slow
def test_groups_lie_across_processes(tmp_path: Path) -> None:
    """CM-GRPO's advantages need every reward of a prompt: without the exchange each process would standardise
    its own.
    """
    assert_close(trained(tmp_path / "cm_grpo_1"), trained(tmp_path / "cm_grpo_2", processes=2))


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA GPUs")
@pytest.mark.parametrize("recipe", ["raven", "cm_grpo"])
def test_two_gpus_equal_one(recipe: str, tmp_path: Path) -> None:
    """Over NCCL: the shared batch on sharded parameters, copies staged from GPU memory while training goes
    on, and a run that one GPU began.
    """
    cuda = ("--device", "cuda")
    whole = trained(tmp_path / f"{recipe}_whole", *cuda)
    assert_close(
        whole,
        trained(
            tmp_path / f"{recipe}_shared", *cuda, "--activation-checkpointing", "--asynchronous", processes=2
        ),
    )
    begun = trained(tmp_path / f"{recipe}_begun", *cuda, "--iterations", 2)
    assert_close(whole, trained(begun, *cuda, processes=2))


@pytest.mark.slow
def test_a_loss_that_is_not_finite_names_its_rank(tmp_path: Path) -> None:
    """reports/README.md#honesty-rules: one process sees the fault, all stop before the optimizer step, and no
    checkpoint is left.
    """
    failed = train_toy("raven", tmp_path / "run", "--poison", 1, processes=2)
    assert failed.returncode != 0
    assert "The fake-score loss is nan at iteration 0 on rank 1" in failed.stderr
    assert not (tmp_path / "run/checkpoint").exists()
    assert (tmp_path / "run/metrics.jsonl").read_text() == ""


@pytest.mark.parametrize(
    ("batch", "micro_batches", "size"), [(8, 8, 1), (8, 1, 1), (8, 8, 4), (8, 2, 4), (8, 1, 8), (12, 6, 3)]
)
def test_shares_are_the_batch(batch: int, micro_batches: int, size: int) -> None:
    """Every sample is trained on once, in order, and no slice is larger than one process would take."""
    shares = [Processes(rank=rank, size=size).split(batch, micro_batches) for rank in range(size)]
    assert [one for share in shares for piece in share for one in piece] == list(range(batch))
    assert len({len(share) for share in shares}) == 1
    assert max(len(piece) for share in shares for piece in share) <= batch // micro_batches


def test_shares_that_do_not_come_out_even_are_refused() -> None:
    """An unequal share would weigh its samples differently, silently."""
    with pytest.raises(ValueError, match="batch of 8 samples cannot be split equally among 3 processes"):
        Processes(size=3).split(8, 8)
    with pytest.raises(ValueError, match="micro-batches of 4 samples do not divide the 6 samples"):
        Processes(size=2).split(12, 3)
    assert ALONE.split(4, 2) == [range(2), range(2, 4)]


def test_recomputed_activations_change_no_bit() -> None:
    """Activation checkpointing replays the same operations."""
    found = []
    noisy, clean, text = (
        normal(2, *s, seed=i, dtype=torch.float32) for i, s in enumerate((SHAPE, SHAPE, (4, 8)))
    )
    for recompute in (False, True):
        wan = wan_of(1)
        wan.activation_checkpointing = recompute
        v = wan.interleaved(noisy, clean, torch.full((2, 8), 833.0), wan.embed_text(text), chunks=CHUNKS)
        v.square().mean().backward()
        found.append([v, *(value.grad for value in wan.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_call_that_writes_a_cache_is_never_recomputed() -> None:
    """models/training/methods.md#forcings: self forcing's cache is overwritten later, so a replay of the call
    would see another history.
    """
    found = []
    rollout = consistency_rollout((1000, 625), CHUNKS, window=1)
    for recompute in (False, True):
        wan = wan_of(1)
        wan.activation_checkpointing = recompute
        noise = GeneratorNoise(generator=torch.Generator().manual_seed(5), batch=1, shape=SHAPE)
        records = rollout.run(wan, normal(1, 4, 8, dtype=torch.float32), noise, grad_at=1)
        predictions_with_gradient(list(records)).square().mean().backward()
        found.append([value.grad for value in wan.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
