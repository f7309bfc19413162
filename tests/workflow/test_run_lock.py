"""A run that was killed holds nobody up: its lock goes, and only its."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.locks import Lock
from tests.models.test_preemption import HOLDER
from tests.workflow.project import ROOT, command_line, copy_project, snakemake
from workflow.planning.run_lock import LOCKS, RUNS, release_dead_runs


def runs_here(name: str) -> "subprocess.Popen[str]":
    """A process that has entered a run in this folder."""
    command = [sys.executable, "-c", HOLDER, str(RUNS.resolve() / name)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_the_lock_of_a_killed_run_is_removed_and_that_of_a_living_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against `snakemake --unlock`, which nobody knows of, after every lost connection; and against
    two runs that make the same files.
    """
    monkeypatch.chdir(tmp_path)
    LOCKS.mkdir(parents=True)
    (LOCKS / "0.output.lock").write_text("reports/table.html\n")
    assert release_dead_runs() == [] and (LOCKS / "0.output.lock").exists(), "nobody entered who left it"
    with runs_here("host.1.lock") as dead, runs_here("host.2.lock") as living:
        for process in (dead, living):
            assert process.stdout is not None and process.stdout.readline() == "held\n"
        dead.kill()
        dead.wait()
        (said,) = release_dead_runs()
        assert re.match(rf"Another run works in this folder \(process {living.pid} on [^;]*\); what", said)
        assert (LOCKS / "0.output.lock").exists()
        living.kill()
        living.wait()
    (RUNS / "host.3.lock").touch()
    (RUNS / "host.3.lock.json").touch()  # as a power cut may leave it
    (said,) = release_dead_runs()
    assert re.match(
        rf"An earlier run here did not end by itself \(process {dead.pid} on .*{living.pid} on", said
    )
    assert not list(LOCKS.iterdir())
    assert [Lock(path).is_held for path in RUNS.glob("*.lock")] == [True], "this run alone is left"
    assert release_dead_runs() == []


@pytest.mark.slow
def test_the_same_command_goes_on_by_itself(tmp_path: Path) -> None:
    """The terminal goes away, then the machine: SIGHUP and SIGKILL to all of a run of plain Snakemake."""
    folder = tmp_path / "project"
    copy_project(folder, (ROOT / "workflow/config/tiny.yaml").read_text())
    command = [sys.executable, "-m", "snakemake", *command_line("tiny")]
    for number in (signal.SIGHUP, signal.SIGKILL):
        with subprocess.Popen(
            command,
            cwd=folder,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # nohup's children ignore it
        ) as run:
            end = time.monotonic() + 120
            while not list((folder / LOCKS).glob("*.output.lock")):
                assert run.poll() is None and time.monotonic() < end
                time.sleep(0.05)
            os.killpg(run.pid, number)
        assert list((folder / LOCKS).glob("*.output.lock"))
        done = snakemake(folder, "tiny", "--until", "prompts")
        assert done.returncode == 0, done.stderr[-2000:]
        assert f"An earlier run here did not end by itself (process {run.pid} on" in done.stderr
        (folder / "results/tiny/prompts/prompts.jsonl").unlink()
