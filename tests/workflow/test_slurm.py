"""The literal command against a real Slurm: GPU requests, a killed job retried with more memory, a lost node
survived.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import BARE_JOB_FAILS
from tests.workflow.project import ROOT, copy_project, replace_in

pytestmark = [pytest.mark.slow, pytest.mark.slurm]

TOOL = ROOT.parent / "shared" / "tools" / "slurm_local.sh"
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "scontrol")
# What a site would put into its own profile: here small memory and quick status checks.
SITE = """
slurm-init-seconds-before-status-checks: 1
latency-wait: 10
default-resources: {slurm_partition: gpu, mem_mb: "900 * attempt", runtime: 20}
set-resources:
  train: {gpu: 1, mem_mb: "1100 * attempt", runtime: 20}
  sample: {gpu: 1, mem_mb: "1200 * attempt", runtime: 20}
  score: {gres: "gpu:1", mem_mb: "1000 * attempt", runtime: 20}
groups: ["score=scoring_{row}"]
group-components: ["scoring_{row}=2"]
"""
CLIENTS_CONF = Path("/etc/slurm/slurm.conf")
"""Where steps of a job look for their cluster: the tool links it, and leaves that of another alone."""
SCORES = 4
"""Of the suite: two dimensions of each of two rows."""


def environment() -> dict[str, str]:
    paths = [str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin", "/sbin"]
    return {**os.environ, "PATH": os.pathsep.join(paths)}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Two nodes with two fake GPUs each; gives a function that runs a command with the cluster's settings."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=environment()["PATH"]) is None]
    if absent or os.geteuid() != 0 or not TOOL.is_file():
        pytest.skip(
            f"needs root, {TOOL} and the Debian packages slurmctld slurmd slurm-client munge; absent: "
            f"{absent or 'none'}"
        )
    folder = tmp_path_factory.mktemp("slurm")
    folder.parent.chmod(0o755)
    settings = {"DIR": folder / "cluster", "NODES": 2, "CPUS": 8, "MEM": 32000, "GPUS": 2, "PORT": 18117}
    env = {**environment(), **{f"SLURM_LOCAL_{key}": str(value) for key, value in settings.items()}}
    env["SLURM_CONF"] = str(folder / "cluster/etc/slurm.conf")

    def run(*command: object) -> str:
        answer = subprocess.run(
            list(map(str, command)), env=env, capture_output=True, text=True, check=False, timeout=120
        )
        assert answer.returncode == 0, f"{command}: {answer.stdout[-1000:]} {answer.stderr[-1000:]}"
        return answer.stdout

    if CLIENTS_CONF.is_symlink() and "pytest-of-" in os.readlink(CLIENTS_CONF):  # of a run that was killed
        left = {**env, "SLURM_LOCAL_DIR": str(Path(os.readlink(CLIENTS_CONF)).parents[1])}
        subprocess.run(["bash", TOOL, "stop"], env=left, check=False, timeout=120)
        CLIENTS_CONF.unlink(missing_ok=True)
    for attempt in (1, 2):
        run("bash", TOOL, "start")
        wrong = bare_job_fault(run, folder)
        if not wrong:
            break
        run("bash", TOOL, "clean")
        if attempt == 2:
            pytest.skip(f"{BARE_JOB_FAILS}: {wrong}")
    yield run
    run("bash", TOOL, "clean")


def bare_job_fault(run: Callable[..., str], folder: Path) -> str:
    """What Slurm says of a job that starts this Python in a step, asked for as those of a stage are; "" if it
    ran.
    """
    step = f"env -u SLURM_CONF srun {sys.executable} -m snakemake --version"
    job = [
        "--wait",
        "--comment=bare",
        "--partition=gpu",
        "--gpus=1",
        "--mem=1100",
        f"--output={folder}/%j.log",
    ]
    try:
        run("sbatch", *job, f"--wrap={step}")
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return f"{error}\n{slurm_says(run, folder)}"
    return ""


def slurm_says(run: Callable[..., str], folder: Path) -> str:
    """State, reason and exit code of every job, and the end of the log of every daemon and bare job."""
    wanted = ("JobId", "JobState", "Reason", "ExitCode", "WorkDir", "StdOut")
    told = [", ".join(f"{key}={job.get(key)}" for key in wanted) for job in jobs(run)]
    for log in sorted([*folder.glob("*.log"), *folder.glob("cluster/log/*.log")]):
        told += [f"{log.name}:", *log.read_text(errors="replace").splitlines()[-15:]]
    return "\n".join(told)


def jobs(run: Callable[..., str]) -> list[dict[str, str]]:
    """Every job Slurm remembers, newest last, as the fields of `scontrol show job`."""
    lines = run("scontrol", "show", "job", "-o", "-a").splitlines()
    return [dict(re.findall(r"(\w[\w/:]*)=(\S*)", line)) for line in lines if line.startswith("JobId=")]


def wait_for(
    what: str, find: Callable[[], dict[str, str] | None], process: subprocess.Popen[str], log: Path
) -> dict[str, str]:
    end = time.monotonic() + 150
    while time.monotonic() < end:
        if found := find():
            return found
        assert process.poll() is None, f"snakemake ended before {what}: {log.read_text()[-3000:]}"
        time.sleep(0.3)
    raise AssertionError(f"no {what} within 150 s: {log.read_text()[-3000:]}")


def end_processes_of(job_id: str) -> None:
    """End what runs of a job, as the death of its node would: the simulated node's death ends only its
    daemon.
    """
    for process in psutil.process_iter(["cmdline"]):
        if f"slurmstepd: [{job_id}." in " ".join(process.info["cmdline"] or []):
            for one in [*process.children(recursive=True), process]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()


def test_the_literal_command_survives_a_killed_job_and_a_lost_node(
    cluster: Callable[..., str], tmp_path: Path
) -> None:
    """Guards against GPU requests that reach no sbatch option, retries inside one allocation, and polling
    that never ends.

    Two scores at a time run beside each other in one job, on one GPU (README.md), with the cores and memory
    of both.
    """
    project = tmp_path / "project"
    copy_project(project, (ROOT / "workflow/config/tiny.yaml").read_text())
    replace_in(
        project / "workflow/config/tiny.yaml", "iterations: 2", "iterations: 40\n  checkpoint_every: 4"
    )
    (project / "site").mkdir()
    (project / "site/config.yaml").write_text(SITE)
    log = tmp_path / "log"
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--profile",
        "slurm",
        "--profile",
        "site",
        "reports/table.html",
    ]
    command += ["--configfile", "workflow/config/tiny.yaml"]
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, cwd=project, env=environment(), stdout=stream, stderr=subprocess.STDOUT, text=True
        )
    try:

        def training(memory: str, state: str) -> dict[str, str] | None:
            found = [
                job for job in jobs(cluster) if "train" in job["Comment"] and job["MinMemoryNode"] == memory
            ]
            return found[-1] if found and found[-1]["JobState"] == state else None

        first = wait_for("a running training job", lambda: training("1100M", "RUNNING"), process, log)
        cluster("scancel", first["JobId"])
        second = wait_for("its retry with more memory", lambda: training("2200M", "RUNNING"), process, log)
        assert second["JobId"] != first["JobId"]
        checkpoint = project / "results/tiny/train/raven/checkpoint/progress.json"
        wait_for("a checkpoint", lambda: {"there": "yes"} if checkpoint.is_file() else None, process, log)
        cluster("bash", TOOL, "down", second["NodeList"].removeprefix("node"))
        end_processes_of(second["JobId"])
        requeued = wait_for(
            "the job of the lost node in the queue again", lambda: training("2200M", "PENDING"), process, log
        )
        assert requeued["JobId"] == second["JobId"]
        cluster("scontrol", "update", f"jobid={second['JobId']}", "StartTime=now")
        assert process.wait(timeout=400) == 0, log.read_text()[-4000:]
    finally:
        if process.poll() is None:
            process.send_signal(2)
            process.wait(timeout=60)
    assert "tiny" in (project / "reports/table.html").read_text()
    finished = [job for job in jobs(cluster) if job["JobState"] == "COMPLETED"]
    for rule in ("train", "sample"):
        of_rule = [job for job in finished if f"rule_{rule}_" in job["Comment"]]
        assert of_rule, f"no {rule} job in {[job['Comment'] for job in finished]}"
        assert {job["TresPerJob"] for job in of_rule} == {"gres:gpu:1"}
    groups = [job for job in finished if "scoring" in job["Comment"]]
    assert len(groups) == SCORES // 2
    wanted = {(job["TresPerNode"], job["NumCPUs"], job["MinMemoryNode"]) for job in groups}
    assert wanted == {("gres:gpu:1", "2", "2000M")}
    assert "resuming" in (project / "results/tiny/logs/train/raven.log").read_text()
    survivor = next(job for job in finished if "train" in job["Comment"])
    assert (survivor["JobId"], survivor["Restarts"]) == (second["JobId"], "1")
    assert survivor["NodeList"] != second["NodeList"]


def test_training_on_two_nodes(cluster: Callable[..., str], tmp_path: Path) -> None:
    """Config asks for nodes and GPUs, Slurm grants them, and one launcher on each node starts its processes.

    Guards against `gpu` and `gres` together, an srun around the srun, node names that do not resolve, and a
    finished run that starts again because it would now be carried out otherwise.
    """
    for node in (1, 2):  # another test may have ended one
        cluster("bash", TOOL, "up", node)
    project = tmp_path / "project"
    copy_project(project, (ROOT / "workflow/config/tiny.yaml").read_text())
    config = project / "workflow/config/tiny.yaml"
    replace_in(config, "flavour: full", "flavour: full\n    nodes: 2\n    gpus: 2")
    replace_in(config, "iterations: 2\n  batch: 2", "iterations: 2\n  batch: 4")
    (project / "site").mkdir()
    (project / "site/config.yaml").write_text(SITE.replace("train: {gpu: 1, ", "train: {"))
    command = [sys.executable, "-m", "snakemake", "results/tiny/train/raven/train.json"]
    command += ["--configfile", "workflow/config/tiny.yaml", "--profile", "slurm", "--profile", "site"]
    done = subprocess.run(
        command, cwd=project, env=environment(), capture_output=True, text=True, check=False, timeout=500
    )
    log = project / "results/tiny/logs/train/raven.log"
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:] + log.read_text()[-4000:]
    assert "training in 4 processes, 2 on each of 2 nodes" in log.read_text()
    assert len((project / "results/tiny/train/raven/metrics.jsonl").read_text().splitlines()) == 2
    job = next(job for job in reversed(jobs(cluster)) if "rule_train_" in job["Comment"])
    assert (job["NumNodes"], job["TresPerNode"]) == ("2", "gres:gpu:2")
    replace_in(config, "nodes: 2\n    gpus: 2", "nodes: 1\n    gpus: 1")
    again = subprocess.run(
        [*command, "-n"], cwd=project, env=environment(), capture_output=True, text=True, check=True
    )
    assert "Nothing to be done" in again.stdout + again.stderr


def test_a_warned_training_job_saves_and_is_tried_again(cluster: Callable[..., str], tmp_path: Path) -> None:
    """Slurm's signal before a time limit or a preemption goes to every process of the step: only the training
    may act on it.

    No checkpoint is ever due here, so that the second attempt can only go on from the one that the signal
    caused.
    """
    for node in (1, 2):
        cluster("bash", TOOL, "up", node)
    project = tmp_path / "project"
    copy_project(project, (ROOT / "workflow/config/tiny.yaml").read_text())
    replace_in(
        project / "workflow/config/tiny.yaml", "iterations: 2", "iterations: 150\n  checkpoint_every: 1000"
    )
    (project / "site").mkdir()
    warned = "train: {slurm_extra: \"'--signal=TERM@600'\", "
    (project / "site/config.yaml").write_text(SITE.replace("train: {", warned))
    log = tmp_path / "log"
    command = [sys.executable, "-m", "snakemake", "results/tiny/train/raven/train.json"]
    command += ["--configfile", "workflow/config/tiny.yaml", "--profile", "slurm", "--profile", "site"]
    before = {job["JobId"] for job in jobs(cluster)}
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, cwd=project, env=environment(), stdout=stream, stderr=subprocess.STDOUT, text=True
        )
    try:
        metrics = project / "results/tiny/train/raven/metrics.jsonl"

        def begun() -> dict[str, str] | None:
            running = [job for job in jobs(cluster) if job["JobId"] not in before]
            return running[0] if metrics.exists() and metrics.read_text().count("\n") > 3 else None

        first = wait_for("a few iterations", begun, process, log)
        cluster("scancel", "--signal=TERM", first["JobId"])
        assert process.wait(timeout=300) == 0, log.read_text()[-4000:]
    finally:
        if process.poll() is None:
            process.send_signal(2)
            process.wait(timeout=60)
    assert "resuming" in (project / "results/tiny/logs/train/raven.log").read_text()
    assert [json.loads(line)["iteration"] for line in metrics.read_text().splitlines()] == list(range(1, 151))
