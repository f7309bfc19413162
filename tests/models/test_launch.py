"""The launcher's plan: defaults, Slurm's variables, overrides, ports, and arguments left alone."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from models.training.launch import (
    devices_of,
    first_host,
    hold_device,
    hold_devices,
    plan_launch,
    step_command,
)
from workflow.planning.banner import gpu_slots

ROOT = Path(__file__).parents[2]

SLURM = {
    "SLURM_NNODES": "2",
    "SLURM_NODEID": "1",
    "SLURM_GPUS_ON_NODE": "8",
    "SLURM_JOB_ID": "1234567",
    "SLURM_JOB_NODELIST": "gpu[003-004]",
    "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.3",
}


def test_without_slurm_one_node_meets_itself() -> None:
    """Guards the defaults: all GPUs of the machine, and no launcher at all for a single process."""
    launch = plan_launch({}, lambda: 4)
    assert (launch.processes, launch.nodes, launch.host, launch.port) == (4, 1, "localhost", 7890)
    assert not launch.alone and plan_launch({}, lambda: 1).alone
    assert plan_launch({}, lambda: 0).alone, "a machine without GPU trains in one process"


def test_slurm_says_everything() -> None:
    """Two nodes of eight GPUs: the first host of the list, a port of the job's own, a meeting point that all
    nodes can join.
    """
    launch = plan_launch(SLURM, lambda: 99)
    assert (launch.processes, launch.nodes, launch.node_rank) == (8, 2, 1)
    assert (launch.host, launch.port) == ("gpu003", 10000 + 1234567 % 20000)
    assert plan_launch(SLURM, lambda: 99, lambda _: False).host == "10.0.0.3"
    arguments = launch.torchrun("workflow.scripts.train_raven", ["--settings", '{"a": 1}', "two words"])
    assert {
        "--nnodes=2",
        "--node-rank=1",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint=gpu003:{launch.port}",
    } <= {*arguments}
    assert arguments[-5:] == ["-m", "workflow.scripts.train_raven", "--settings", '{"a": 1}', "two words"]
    assert "--rdzv-backend=static" in plan_launch({}, lambda: 2).torchrun("m", [])


def test_own_variables_come_first() -> None:
    """models/training/methods.md#launch: N, NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT override Slurm; D
    stays on one node.
    """
    own = {"N": "3", "NNODES": "4", "NODE_RANK": "2", "MASTER_ADDR": "head", "MASTER_PORT": "5000"}
    launch = plan_launch({**SLURM, **own}, lambda: 99)
    assert (launch.processes, launch.nodes, launch.node_rank, launch.host, launch.port) == (
        3,
        4,
        2,
        "head",
        5000,
    )
    debug = plan_launch({**SLURM, "D": "1"}, lambda: 99)
    assert (debug.processes, debug.nodes, debug.node_rank, debug.alone) == (1, 1, 0, False)
    assert debug.environment(8)["CUDA_LAUNCH_BLOCKING"] == "1"
    assert launch.environment(16)["OMP_NUM_THREADS"] == "5"


def test_what_makes_no_sense_is_one_sentence() -> None:
    """A typing error must not start a job of another shape."""
    with pytest.raises(ValueError, match="N is 'eight', expected a whole number"):
        plan_launch({"N": "eight"}, lambda: 1)
    with pytest.raises(ValueError, match="node 2 of 2"):
        plan_launch({**SLURM, "NODE_RANK": "2"}, lambda: 1)
    with pytest.raises(ValueError, match="set MASTER_ADDR"):
        plan_launch({"NNODES": "2"}, lambda: 1)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu[003-005,9],cpu1", "gpu003"),
        ("node1", "node1"),
        ("a-b[7,9]", "a-b7"),
        ("r[1-2]n[05-06]", "r1n05"),
        ("", ""),
    ],
)
def test_first_host_of_a_node_list(nodes: str, first: str) -> None:
    """Slurm folds host names; the first one must come out with its zeros."""
    assert first_host(nodes) == first


def test_d_waits_for_a_debugger(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """D=2: the launcher listens on this node alone and waits before it starts anything; without debugpy it
    says how to get it.
    """
    from workflow.scripts import launch

    done: list[object] = []
    fake = SimpleNamespace(listen=done.append, wait_for_client=lambda: done.append("waited"))
    monkeypatch.setitem(sys.modules, "debugpy", fake)
    monkeypatch.setattr("torch.distributed.run.run", lambda arguments: done.append(arguments.nproc_per_node))
    monkeypatch.setattr(sys, "argv", ["launch", "--nodes", "2", "--processes", "8", "some.module", "--flag"])
    for name, value in {"D": "2", "DEBUGPY_PORT": "6001"}.items():
        monkeypatch.setenv(name, value)
    for name in plan_launch({"D": "2"}, lambda: 0).environment(1):
        monkeypatch.setenv(name, "1")  # what the launcher sets must not outlive the test
    assert launch.main() == 0
    assert done == [("127.0.0.1", 6001), "waited", "2"]
    assert "waits for a client at 127.0.0.1:6001" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "debugpy", None)
    assert launch.main() == 1
    assert "`pip install debugpy`, or unset D" in capsys.readouterr().err
    monkeypatch.setenv("D", "two")
    assert launch.main() == 1
    assert "D is 'two', expected a whole number" in capsys.readouterr().err


def test_two_devices_are_held_by_one_command_each(tmp_path: Path) -> None:
    """Four commands at once on two fake devices of three: never two on one device, never a third device, and
    a device is free again when its command has ended.
    """
    program = (
        "import os, sys, time; print('begins', os.environ['CUDA_VISIBLE_DEVICES'], time.time(), flush=True); "
        "time.sleep(0.3); print('ends', os.environ['CUDA_VISIBLE_DEVICES'], time.time())"
    )
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "4,7,8", "N": "2", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "workflow.scripts.on_gpu", sys.executable, "-c", program]
    started = [
        subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = [process.communicate(timeout=60)[0].split() for process in started]
    assert all(len(words) == 6 and words[1] == words[4] for words in said), said
    assert {words[1] for words in said} == {"4", "7"}
    for device in ("4", "7"):
        times = sorted((float(w[2]), float(w[5])) for w in said if w[1] == device)
        assert all(one[1] <= other[0] for one, other in pairwise(times))


def test_devices_and_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too few devices and nodes without Slurm are one sentence; in an allocation a job is a step on any node;
    a training takes devices that nobody holds.
    """
    assert devices_of({}, 2) == ["0", "1"]
    assert devices_of({"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}, 1) == ["GPU-a"]
    with pytest.raises(ValueError, match=r"N asks for 2 GPUs .* names 1 \(3\)"):
        devices_of({"CUDA_VISIBLE_DEVICES": "3"}, 2)
    with pytest.raises(ValueError, match="no allocation of Slurm"):
        step_command(["python"], {})
    assert step_command(["python", "x"], SLURM)[-3:] == ["--gres=gpu:1", "python", "x"]
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert hold_device(["4", "7"]) == "4"
    assert hold_device(["4", "7", "8"]) == "7", (
        "a lock is of an open file: this very process cannot have it twice"
    )
    assert hold_devices(["4", "7", "8", "9"], 2) == ["8", "9"]
    assert hold_device(["4", "7", "8", "9"]) is None
    assert gpu_slots({**SLURM, "N": "4", "D": "3"}) == 8
    assert gpu_slots({"CUDA_VISIBLE_DEVICES": "1,2,3", "N": "2"}) == 2
