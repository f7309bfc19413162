"""Killed, signalled, interrupted while writing: whatever happens, what is on disk is whole, and the run goes
on bit for bit.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from models.checkpoints.containers import read_dcp, tensors_sha256
from models.training.checkpoints import RunCheckpoints
from models.training.distributed import ALONE
from models.training.loop import Preempted, RunLimits, train
from models.training.preemption import EXIT_CODE
from tests.models.test_distributed import ROOT
from tests.models.training_toys import dmd_settings, raven_of


def start(output: Path, *arguments: object) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "tests.models.train_toy", "raven", output, *arguments]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(list(map(str, program)), cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)


def content(output: Path) -> dict[str, str]:
    """Hash of every folder of the last checkpoint, and the metrics without their times."""
    whole = (output / "checkpoint").resolve()
    hashes = {
        str(path.parent.relative_to(whole)): tensors_sha256(read_dcp(path.parent))
        for path in sorted(whole.rglob(".metadata"))
    }
    assert len(hashes) == 5
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return {
        **hashes,
        "metrics": json.dumps([{n: v for n, v in line.items() if n != "elapsed_s"} for line in lines]),
    }


def unbroken(output: Path, iterations: int) -> dict[str, str]:
    train(raven_of(dmd_settings()), RunLimits(iterations=iterations), output=output, identity="toy")
    return content(output)


def wait_for_iterations(output: Path, number: int, process: subprocess.Popen[str]) -> None:
    metrics, end = output / "metrics.jsonl", time.monotonic() + 120
    while not metrics.exists() or len(metrics.read_text().splitlines()) < number:
        assert process.poll() is None and time.monotonic() < end, process.communicate()[1][-2000:]
        time.sleep(0.01)


@pytest.mark.slow
def test_killed_runs_go_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """kill -9 at random moments, while another thread writes checkpoints, then resume: same weights,
    averages, optimizers, losses.

    Every folder with a final name must be whole after each kill; global generators are seeded differently in
    every attempt.
    """
    seed = random.randrange(10**6)
    chance, output, iterations = random.Random(seed), tmp_path / "killed", 24
    for attempt in range(3):
        process = start(output, "--iterations", iterations, "--every", 1, "--asynchronous")
        wait_for_iterations(output, 4 + 5 * attempt, process)
        time.sleep(chance.uniform(0, 0.3))
        process.kill()
        process.wait()
        for folder in (path for path in (output / "states").iterdir() if path.name.isdigit()):
            assert json.loads((folder / "progress.json").read_text())["iteration"] == int(folder.name)
            for metadata in folder.rglob(".metadata"):
                read_dcp(metadata.parent)
    process = start(output, "--iterations", iterations, "--every", 1)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 0, error[-2000:]
    assert content(output) == unbroken(tmp_path / "whole", iterations), f"with seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_asks_for_another_attempt(tmp_path: Path, number: signal.Signals) -> None:
    """Slurm's warning before it takes a node: the iteration is finished and saved although no checkpoint was
    due.
    """
    output = tmp_path / "signalled"
    process = start(output, "--iterations", 8, "--every", 1000, "--pause-s", 0.5)
    wait_for_iterations(output, 2, process)
    process.send_signal(number)
    assert process.wait(timeout=60) == EXIT_CODE
    done = json.loads((output / "checkpoint/progress.json").read_text())["iteration"]
    assert 2 <= done < 8 and len((output / "metrics.jsonl").read_text().splitlines()) == done
    assert start(output, "--iterations", 8).wait(timeout=60) == 0
    assert content(output) == unbroken(tmp_path / "whole", 8)


def test_a_request_at_the_last_iteration_ends_the_run(tmp_path: Path) -> None:
    """Otherwise a finished run would be started once more; before the last it saves and raises."""
    recipe = raven_of(dmd_settings())
    with pytest.raises(Preempted, match="saved after iteration 1 of 2"):
        train(recipe, RunLimits(iterations=2), output=tmp_path, identity="a", stop=lambda: True)
    recipe = raven_of(dmd_settings())
    assert train(recipe, RunLimits(iterations=2), output=tmp_path, identity="a", stop=lambda: True) == 2


def test_what_a_killed_writer_left_is_no_checkpoint(tmp_path: Path) -> None:
    """A folder under a temporary name is never read, however complete it looks; the newest two whole ones
    stay.
    """
    settings = dmd_settings(iterations=3)
    train(raven_of(settings), RunLimits(iterations=3, checkpoint_every=1), output=tmp_path, identity="a")
    states = (tmp_path / "states").resolve()
    assert sorted(path.name for path in states.iterdir()) == ["0000002", "0000003"]
    assert (tmp_path / "checkpoint").resolve() == states / "0000003"
    (states / "0000003").rename(states / "0000003.tmp")
    recipe = raven_of(settings)
    assert RunCheckpoints(states.parent, recipe.trainees, "a", {}, ALONE, 2).resume() == 2
    assert [path.name for path in states.iterdir()] == ["0000002"]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    assert tensors_sha256(recipe.student.module.state_dict()) == tensors_sha256(
        read_dcp(states / "0000002/models/student")
    )


def test_a_copy_is_written_while_training_goes_on(tmp_path: Path) -> None:
    """A write in the background must hold the state at the call, not what later steps made of it."""
    recipe = raven_of(dmd_settings())
    for iteration in range(2):
        recipe.step(iteration, 0.0)
    before = {name: tensors_sha256(state) for name, state in recipe.student.states().items()}
    checkpoints = RunCheckpoints(tmp_path, recipe.trainees, "a", {}, ALONE, 2)
    checkpoints.save(2, wait=False)
    with torch.no_grad():
        for state in recipe.student.states().values():
            for value in state.values():
                value.zero_()
    checkpoints.save(3)
    found = {name: tensors_sha256(read_dcp(tmp_path / "states/0000002" / name)) for name in before}
    assert found == before


@pytest.mark.slow
def test_a_signal_to_the_launcher_reaches_all_processes(tmp_path: Path) -> None:
    """The launcher alone gets SIGUSR1: both processes finish one and the same iteration, save, and its code
    asks for another try.
    """
    output = tmp_path / "launched"
    program = [sys.executable, "-m", "workflow.scripts.launch", "tests.models.train_toy", "raven", output]
    program += ["--iterations", "8", "--every", "1000", "--pause-s", "1"]
    env = {**os.environ, "N": "2", "MASTER_PORT": "17893", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(list(map(str, program)), cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)
    wait_for_iterations(output, 2, process)
    process.send_signal(signal.SIGUSR1)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == EXIT_CODE, error[-3000:]
    done = json.loads((output / "checkpoint/progress.json").read_text())["iteration"]
    assert 2 <= done < 8 and len((output / "metrics.jsonl").read_text().splitlines()) == done
