"""Killed, signalled, interrupted while writing: whatever happens, what is on disk is whole, and the run goes
on bit for bit.
"""

import fcntl
import json
import logging
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.checkpoints.containers import read_dcp, tensors_sha256
from models.checkpoints.progress import write_progress
from models.training.checkpoints import RunCheckpoints, keep_metrics
from models.training.distributed import ALONE
from models.training.loop import Preempted, RunLimits, Trainee, train
from models.training.preemption import EXIT_CODE
from models.training.runs import hold_folder, open_run
from models.training.settings import OptimizerSettings
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


def edited(path: Path, **changes: object) -> None:
    """Change values of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def flipped(path: Path) -> None:
    """Turn one bit in the middle of a file."""
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(bytes(held))


def swapped(states: Path) -> None:
    (states / "0000002").rename(states / "x")
    (states / "0000003").rename(states / "0000002")
    (states / "x").rename(states / "0000003")


NEWEST = "0000003"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a bit of a model": (
        lambda s: flipped(s / NEWEST / "models/student_ema/__0_0.distcp"),
        "has other bytes than were written in models/student_ema/__0_0.distcp",
    ),
    "a bit of an optimizer": (
        lambda s: flipped(s / NEWEST / "optimizers/student/__0_0.distcp"),
        "has other bytes than were written in optimizers/student/__0_0.distcp",
    ),
    "an empty shard": (
        lambda s: os.truncate(s / NEWEST / "models/student/__0_0.distcp", 0),
        "has other bytes than were written in models/student/__0_0.distcp",
    ),
    "no shard": (lambda s: (s / NEWEST / "models/student/__0_0.distcp").unlink(), "lacks models/student/__0"),
    "no description": (lambda s: (s / NEWEST / "models/student/.metadata").unlink(), "lacks models/student"),
    "a model less": (lambda s: shutil.rmtree(s / NEWEST / "models/student_ema"), "lacks models/student_ema"),
    "a file more": (lambda s: (s / NEWEST / "models/x").touch(), "has, beside what was written, models/x"),
    "progress cut short": (
        lambda s: os.truncate(s / NEWEST / "progress.json", 40),
        "progress.json cannot be read as JSON",
    ),
    "progress that is no text": (
        lambda s: (s / NEWEST / "progress.json").write_bytes(bytes(range(128, 256))),
        "progress.json cannot be read as JSON",
    ),
    "no progress": (lambda s: (s / NEWEST / "progress.json").unlink(), "has no progress.json"),
    "no hashes": (
        lambda s: (s / NEWEST / "progress.json").write_text('{"iteration": 3, "identity": "a", "facts": {}}'),
        "has no sha256 of its files",
    ),
    "another iteration": (
        lambda s: edited(s / NEWEST / "progress.json", iteration=2),
        "progress.json was changed: it no longer has the sha256",
    ),
    "another run": (
        lambda s: write_progress(s / NEWEST, iteration=3, identity="b", facts={}),
        "holds iteration 3 of the run b, expected 3 of a",
    ),
    "an empty folder": (lambda s: (s / "0000099").mkdir(), "0000099 has no progress.json"),
    "an older one under its name": (
        lambda s: (shutil.rmtree(s / NEWEST), shutil.copytree(s / "0000002", s / NEWEST)),
        "holds iteration 2 of the run a, expected 3 of a",
    ),
    "both exchanged": (swapped, "No checkpoint in .* is whole .*take another checkpoint. .* so there is not"),
}
"""What may happen to the states of a run of three iterations, of which two are kept, and what is said."""


def small_trainee() -> Trainee:
    return Trainee("student", torch.nn.Linear(64, 4), OptimizerSettings(lr=0.1), ema_decay=0.9)


def checkpoints_of(run: Path, trainee: Trainee) -> RunCheckpoints:
    return RunCheckpoints(run, [trainee], "a", {}, ALONE, 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three iterations, the last two kept."""
    folder, trainee = tmp_path_factory.mktemp("run"), small_trainee()
    for iteration in (1, 2, 3):
        for parameter in trainee.parameters.values():
            parameter.grad = torch.full_like(parameter, float(iteration))
        trainee.step(iteration, 0.0)
        checkpoints_of(folder, trainee).save(iteration)
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"iteration": iteration}) + "\n")
    return folder


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_said_and_the_older_one_taken(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Guards against training on with what nobody trained, and against losing what is whole."""
    damage, sentence = DAMAGES[name]
    shutil.copytree(run, tmp_path / "run", symlinks=True)
    states = tmp_path / "run/states"
    damage(states)
    trainee = small_trainee()
    checkpoints = checkpoints_of(states.parent, trainee)
    if name == "both exchanged":
        with pytest.raises(ValueError, match=sentence):
            checkpoints.resume()
        return
    whole = 3 if name == "an empty folder" else 2
    assert checkpoints.resume() == whole
    (said,) = [text for text in caplog.messages if "training goes on from" in text]
    assert re.search(sentence, said)
    assert (tmp_path / "run/checkpoint").resolve() == states / f"{whole:07d}"
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == whole
    assert trainee.updates == whole
    for folder, state in trainee.states().items():
        assert tensors_sha256(state) == tensors_sha256(read_dcp(states / f"{whole:07d}" / folder)), folder
    checkpoints.save(4)
    kept = sorted(path.name for path in states.iterdir() if path.name.isdigit())
    assert kept == [f"{whole:07d}", "0000004"]


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        ([1, 2, 3], [1, 2]),
        ([1, 1, 2, 2, 3], [1, 2]),
        ([1, 3, 2], [1, 2]),
        ([2, 3], [2]),
        (["", 1, '{"iteration": 2', "null", "[]", '{"iteration": "2"}', 2, "{"], [1, 2]),
        ([], []),
    ],
)
def test_metrics_are_cut_by_iteration(tmp_path: Path, lines: list[int | str], kept: list[int]) -> None:
    """A line twice, one missing or torn moves no other; the file ends with iteration 2, of which it keeps the
    first.
    """
    text = [
        json.dumps({"iteration": one, "at": place}) if isinstance(one, int) else one
        for place, one in enumerate(lines)
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(text))
    keep_metrics(tmp_path / "metrics.jsonl", 2)
    found = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [one["iteration"] for one in found] == kept
    assert [one["at"] for one in found] == [lines.index(iteration) for iteration in kept]


HOLDER = """
import sys, time
from pathlib import Path
from models.locks import Lock
assert Lock(Path(sys.argv[1])).take()
print("held", flush=True)
time.sleep(60)
"""


NO_LOCKS = """
import errno, fcntl
def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
"""
"""A file system without locks, as NFS may be."""


@pytest.mark.parametrize("system", ["", NO_LOCKS], ids=["locks", "no locks"])
def test_two_processes_never_train_into_one_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    """The second is refused by a sentence that names host, process and job; killed, the first leaves nothing
    that holds others up.
    """
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(fcntl, "flock", fcntl.flock)
    exec(system, {})
    command = [sys.executable, "-c", system + HOLDER, str(tmp_path / "training.lock")]
    environment = {**os.environ, "SLURM_JOB_ID": "4711"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        named = rf"process {first.pid} on {re.escape(socket.gethostname())} \(Slurm job 4711\), since 20"
        with pytest.raises(ValueError, match=f"is being trained into by {named}"):
            hold_folder(tmp_path, wait_s=0)
        assert (tmp_path / "training.lock.held").exists() is bool(system)
        monkeypatch.setattr("models.training.runs.WAIT_S", 0.0)
        with pytest.raises(ValueError, match="is being trained into"):
            open_run(tmp_path, "a", ALONE)
        assert not (tmp_path / "runs").exists()
        first.kill()
    hold_folder(tmp_path, wait_s=0)
    hold_folder(tmp_path, wait_s=0)
    (said,) = [text for text in caplog.messages if "is gone; its lock was removed" in text]
    assert re.match(named, said)


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
