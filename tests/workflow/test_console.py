"""What a run shows: few lines without a terminal, failures with the end of their log, the answer."""

import csv
import io
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.exceptions import InputFunctionException, WorkflowError
from snakemake.settings.types import OutputSettings
from snakemake_interface_logger_plugins.common import LogEvent

from evaluation.command import TRACEBACK_MARK
from tests.workflow.test_progress import RECORDED, recorded
from workflow.planning.console import (
    Board,
    Console,
    CoreMeter,
    PlainErrors,
    answer_of,
    is_wanted,
    jobs_left,
    last_lines,
    take_over,
)
from workflow.planning.progress import Pace, PlannedJob

RULES = "/project/workflow/rules/common.smk"


class FakeRun:
    """A run whose clock and jobs the test moves, and what its console printed."""

    def __init__(
        self, jobs: dict[int, PlannedJob], stream: io.StringIO | None = None, **settings: Any
    ) -> None:
        self.now, self.jobs, self.stream = 0.0, dict(jobs), stream or io.StringIO()
        self.console = Console(
            OutputSettings(**settings), lambda: ["Report: here"], lambda: "A plan.", self.stream
        )
        self.board = Board(lambda: self.jobs, Pace({}, 1.0), 2, clock=lambda: self.now)

    def begin(self) -> "FakeRun":
        self.console.begin(self.board, cores=0)
        self.console._over.set()  # the test ticks by itself
        return self

    def say(self, message: str, level: int = logging.INFO, path: str = "snakemake.py", **known: Any) -> None:
        self.console.emit(
            logging.makeLogRecord({"msg": message, "levelno": level, "pathname": path, **known})
        )

    def start(self, number: int, **wildcards: str) -> None:
        rule = self.jobs[number].rule
        self.say("", event=LogEvent.JOB_INFO, jobid=number, rule_name=rule, wildcards=wildcards)

    def finish(self, number: int) -> None:
        self.say("", event=LogEvent.JOB_FINISHED, job_id=number)
        self.jobs.pop(number)

    def fail(self, number: int, *logs: Path, rule_msg: str | None = None, indent: bool = False) -> None:
        known = {"jobid": number, "rule_name": self.jobs[number].rule, "log": [str(path) for path in logs]}
        known |= {"rule_msg": rule_msg, "indent": indent}
        self.say("Error in rule", logging.ERROR, event=LogEvent.JOB_ERROR, **known)

    @property
    def said(self) -> str:
        return self.stream.getvalue()


def test_an_error_of_ours_is_its_own_words(caplog: pytest.LogCaptureFixture) -> None:
    """Also one that Snakemake wrapped; what is Snakemake's own stays as it says it."""
    logger = logging.getLogger("of snakemake")
    logger.addFilter(PlainErrors())
    ours, theirs = ValueError("this is wrong; mend it."), WorkflowError("theirs")
    wrapped = InputFunctionException("x", wildcards={})
    for error in (ours, theirs, wrapped):
        try:
            raise error from (ours if error is wrapped else None)
        except Exception:
            logger.error("ValueError in file x, line 3:", extra={"event": LogEvent.ERROR})
    logger.error("another record")
    kept = "ValueError in file x, line 3:"
    assert caplog.messages == [str(ours), kept, str(ours), "another record"]


def test_a_whole_run_is_told_in_sixty_lines() -> None:
    """Guards against 4,484 lines for 273 jobs. Jobs begin and end when the recorded ones did."""
    jobs, _ = recorded()
    run = FakeRun(jobs)
    run.board.pace = Pace({"train": 200.0, "sample": 45.0, "render": 16.0, "check": 7.0}, 3.0)
    run.begin()
    with RECORDED.open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream, delimiter="\t"))
    steps = [(float(line["started"]), 1, number) for number, line in enumerate(lines)]
    steps += [(float(line["ended"]) + 0.5, 0, number) for number, line in enumerate(lines)]
    for when, begins, number in sorted(steps):
        while run.now + 5 < when:
            run.now += 5
            run.console.tick()
        run.now = when
        run.say("Select jobs to execute...")
        run.start(number, row=lines[number]["row"]) if begins else run.finish(number)
    told = run.said.splitlines()
    assert 15 < len(told) <= 50, "ten more are said at the start and the end"
    assert [line.split()[1] for line in told if " done: " in line] == [
        "prompts", "train", "convert", "sample", "check", "filter", "score", "aggregate", "report",
    ]  # fmt: skip
    assert all("min left" in line or "under a minute left" in line for line in told if "of 273 jobs" in line)
    assert run.console.end_lines(done=True) == ["Finished in 28:02: 273 jobs."]


def test_a_failure_shows_the_end_of_its_log(tmp_path: Path) -> None:
    """Guards against a failed job in the midst of thousands of lines, and one that was mended by a retry."""
    log = tmp_path / "longlive.log"
    log.write_text("\n".join([*(f"step {n}" for n in range(100)), "clip 7 is damaged; delete it", ""]))
    run = FakeRun(
        {
            1: PlannedJob("sample"),
            2: PlannedJob("score", needs=(1,)),
            3: PlannedJob("check"),
            4: PlannedJob("train"),
        }
    ).begin()
    run.start(1, row="longlive", shard="0-of-1")
    run.start(3, row="raven")
    run.start(4)
    run.now = 12.0
    run.fail(1, log)
    run.fail(3, tmp_path / "none.log")
    assert f"sample longlive 0-of-1 failed after 0:12; the end of {log}:\n    step 89\n" in run.said
    assert "    clip 7 is damaged; delete it\ncheck raven failed after 0:12. It left no log.\n" in run.said
    text = "CalledProcessError in file rules.smk: Command 'set -euo pipefail; ...' returned 1"
    run.say(f"RuleException:\n{text}", logging.ERROR, event=LogEvent.ERROR, exception="RuleException")
    run.say("Exiting because a job execution failed. Look below for error messages", logging.ERROR)
    assert "CalledProcess" not in run.said and "Look below" not in run.said
    assert run.board.left_s() <= 2, "what waits for a failed job is not waited for"
    run.say("Trying to restart job 3.")
    run.start(3, row="raven")
    run.finish(3)
    run.finish(4)
    assert run.console.end_lines(done=False) == [
        "1 job failed (sample longlive 0-of-1), 2 done, 1 not tried, after 0:12. Mend what the lines above "
        "name; the same command goes on from here."
    ]


def test_a_job_that_never_began_is_told_in_the_cluster_s_words(tmp_path: Path) -> None:
    """Guards against "It left no log" where Slurm wrote why: the node's disk is full, the Python is gone.

    Also for the jobs of a group, whose errors name no log of the cluster's, and not for one that fails later.
    """
    cluster_log = tmp_path / "12.log"
    cluster_log.write_text("srun: error: Unable to create step\n")
    run = FakeRun({1: PlannedJob("train"), 2: PlannedJob("score"), 3: PlannedJob("check")}).begin()
    for number in (1, 2, 3):
        run.start(number)
    said = "SLURM-job '12' failed, SLURM status is: 'FAILED'."
    run.fail(1, tmp_path / "none.log", cluster_log, rule_msg=said)
    end = f"; the end of {cluster_log}:\n    srun: error: Unable to create step\n"
    assert f"train failed after 0:00{end}    {said}\n" in run.said
    run.say("Error in group", logging.ERROR, event=LogEvent.GROUP_ERROR, aux_logs=[cluster_log])
    run.fail(2, tmp_path / "none.log", indent=True)
    assert f"score failed after 0:00{end}" in run.said
    run.fail(3, tmp_path / "none.log")
    assert "check failed after 0:00. It left no log.\n" in run.said


@pytest.fixture
def interrupts() -> Iterator[None]:
    """What Ctrl-C does is put back."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_a_user_who_stops_a_run_is_told_how_it_goes_on() -> None:
    """Guards against killed jobs that look like failures."""
    run = FakeRun({1: PlannedJob("train")}).begin()
    run.start(1)
    run.now = 3.0
    run.say("Terminating processes on user request, this might take some time.")
    for _ in range(2):  # nor does a second Ctrl-C cut the end off, or show a traceback
        signal.raise_signal(signal.SIGINT)
    run.fail(1)
    assert run.said == "Stopping; jobs that run are ended.\nStill ending the jobs that run.\n"
    for _ in range(3):
        run.say("Will exit after finishing currently running jobs (scheduler).")
    assert run.said.count("Stopping when the jobs that run have ended.") == 1
    (line,) = run.console.end_lines(done=False)
    assert line == "Stopped after 0:03. The same command goes on where this one was."


def test_what_is_said_and_what_is_not() -> None:
    """Our rule files, warnings (once), errors and the answer; none of Snakemake's own steps."""
    run = FakeRun({1: PlannedJob("all")}).begin()
    for noise in ("Building DAG of jobs...", "Select jobs to execute...", "Execute 2 jobs..."):
        run.say(noise)
    run.say("  Suite tiny: 4 lines", path=RULES)
    for _ in range(2):
        run.say("a clip is missing", logging.WARNING)
    run.say("suite tiny has no row x", logging.ERROR, event=LogEvent.ERROR, exception="WorkflowError")
    run.say("Nothing to be done (all requested files are present and up to date).")
    assert run.said.splitlines() == [
        "  Suite tiny: 4 lines",
        "Warning: a clip is missing",
        "suite tiny has no row x",
        "Nothing to be done (all requested files are present and up to date).",
        "Report: here",
    ]
    dry = FakeRun({}, dryrun=True)
    for _ in range(2):
        dry.say("PlannedJob stats: ...", event=LogEvent.RUN_INFO)
    assert dry.said == "A plan.\n"


def test_snakemakes_own_output_can_be_had() -> None:
    assert is_wanted(OutputSettings())
    assert is_wanted(OutputSettings(dryrun=True, quiet={"rules"}))
    others: list[dict[str, Any]] = [
        {"dryrun": True}, {"verbose": True}, {"printshellcmds": True}, {"quiet": {"all"}},
        {"log_handler_settings": {"rich": None}},
    ]  # fmt: skip
    assert not any(is_wanted(OutputSettings(**settings)) for settings in others)
    logger, theirs, file = logging.Logger("one"), logging.StreamHandler(), logging.NullHandler()
    theirs.name = "DefaultStreamHandler"
    logger.addHandler(theirs)
    logger.addHandler(file)
    console = FakeRun({}).console
    take_over(console, logger)
    assert logger.handlers == [file, console]


def test_a_terminal_shows_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a drawing that only breaks where somebody watches."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    run = FakeRun({number: PlannedJob("score") for number in range(6)}, Terminal())
    run.console.begin(run.board, cores=2)
    for number in range(6):
        run.start(number, row="raven", dimension=f"d{number}")
    run.finish(0)
    run.now = 61.0
    run.say("a warning", logging.WARNING)
    assert run.console._live is not None
    run.console._live.refresh()
    run.console.close()
    for part in ("score", "1/6", "score raven d1", "and 1 more", "Warning: a warning", "of 2 cores busy"):
        assert part in run.said
    assert run.console._live is None


def test_cores_are_those_of_every_process_that_was_started() -> None:
    """Guards against the 2 of 2 cores of a plan that only one core worked on."""
    meter = CoreMeter()
    before = meter.seconds()
    work = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", work], check=True)
    assert 0.25 < meter.seconds() - before < 2
    assert meter.busy() > 0 and meter.average() > 0


def test_jobs_left_are_read_from_snakemakes_graph() -> None:
    """Only unfinished jobs count, as what is done and as what is waited for."""
    raw = {"a": 2, "b": None, "c": 1}
    jobs = {
        name: SimpleNamespace(rule=SimpleNamespace(name=name, resources={"_cores": SimpleNamespace(raw=r)}))
        for name, r in raw.items()
    }
    jobs["d"] = SimpleNamespace(rule=SimpleNamespace(name="d", resources={}))
    by_id = {id(job): number for number, job in enumerate(jobs.values())}

    class Key:
        """A job by identity, as Snakemake's are."""

        def __init__(self, name: str) -> None:
            self.rule = jobs[name].rule
            self.number = by_id[id(jobs[name])]

    a, b, c, d = (Key(name) for name in "abcd")
    dag = SimpleNamespace(
        needrun_jobs=lambda exclude_finished: iter([b, c, d]),
        jobid=lambda job: job.number,
        dependencies={b: {a: set()}, c: {a: set(), b: set()}, d: {}},
    )
    assert jobs_left(dag) == {1: PlannedJob("b", 1), 2: PlannedJob("c", 1, (1,)), 3: PlannedJob("d", 1)}


def test_the_answer_is_the_text_beside_the_report(tmp_path: Path) -> None:
    """Guards against another suite's page that stands for a run which is gone."""
    lacks = f"There is no report of this run: {tmp_path}/report.html is not there, and --forcerun report"
    assert answer_of(tmp_path) == [f"{lacks} makes it."]
    (tmp_path / "verdict.txt").write_text("RAVEN leads.\n  group 1  RAVEN\n")
    (tmp_path / "report.html").touch()
    page = f"Report: reports/table.html; every clip plays in {tmp_path}/report.html"
    assert answer_of(tmp_path) == ["RAVEN leads.", "  group 1  RAVEN", page]
    assert last_lines(tmp_path / "nothing.log") == []
    (tmp_path / "job.log").write_text(
        f"begun\n{TRACEBACK_MARK}Traceback\n{TRACEBACK_MARK}  File\nwrong: so\n"
    )
    assert last_lines(tmp_path / "job.log") == ["begun", "wrong: so"]
    assert json.dumps(last_lines(tmp_path / "verdict.txt", 1)) == '["  group 1  RAVEN"]'
