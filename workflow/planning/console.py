"""What a run shows while it goes on: a line a stage, what runs, what went wrong, the time that is left.

A log handler on Snakemake's interface for logger plugins. It takes the place of Snakemake's own output, every
line of which stays in .snakemake/log; `-p`, `--verbose`, `--quiet` or a `--logger` bring that output back.
Bars on a terminal; elsewhere a line when a stage ends, or when some of the work is done.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import psutil
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import OutputSettingsLoggerInterface

from evaluation.command import TRACEBACK_MARK, is_expected, keep_traceback, message_of
from evaluation.files import text_lines, utf8_text
from workflow.planning.job_share import JobShare
from workflow.planning.progress import Pace, PlannedJob, RunningJob, about, clock

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

RULES_OF_STAGE: dict[str, tuple[str, ...]] = {
    "fetch": ("fetch", "vbench_environment", "vbench_weights"),
    "prompts": ("prompts",),
    "train": ("train", "score_heldout"),
    "convert": ("convert_raven", "convert_cm_grpo"),
    "sample": ("sample", "render", "external_contract", "external", "import_clips"),
    "check": ("check",),
    "filter": ("filter", "filter_part"),
    "score": (
        "cut_pieces",
        "between_environment",
        "between_pieces",
        "score",
        "score_part",
        "score_custom",
        "import_results",
    ),
    "aggregate": ("measure_long", "aggregate", "long_table"),
    "report": ("report",),
}
"""Stages in their order, with their rules. Any other rule is a stage of its own behind them."""
RULE_STAGE = {rule: stage for stage, rules in RULES_OF_STAGE.items() for rule in rules}

LOG_LINES = 12
"""Lines of a failed job's log that are shown."""
SHOWN_JOBS = 4
"""Running jobs that a terminal shows."""
SHARE_STEP, SILENCE_S, LEAST_S = 0.05, 1800.0, 20.0
"""Without a terminal a line is due when this share of the time has gone by, or so many seconds, but never two
within the last.
"""
LOOK_S = 10.0
"""What of a job is done is looked at as often."""
PLAN_S = 3.0
"""The jobs that are left are counted at most this often."""
CUT_OFF = ("Terminating processes on user request", "Will exit after finishing currently running jobs")
NOTHING_LEFT = "Nothing to be done"
OURS = (".smk", "Snakefile", "workflow/planning/run_events.py")
"""Files that speak to the user; what Snakemake itself says below a warning is left to its log."""
HIDDEN_ERRORS = ("Exiting because a job execution failed", "At least one job did not complete successfully")
"""Said by `end_lines` in our words."""


def stage_of(rule: str) -> str:
    """The stage of a rule."""
    return RULE_STAGE.get("import_results" if rule.startswith("import_results_") else rule, rule)


def stages_in_order(stages: Mapping[str, Any]) -> list[str]:
    """Stages in the order of the pipeline, others behind."""
    return [
        *(name for name in RULES_OF_STAGE if name in stages),
        *(name for name in stages if name not in RULES_OF_STAGE),
    ]


@dataclass(slots=True)
class Running:
    """A job that has been started. began: seconds on the clock of time.monotonic."""

    rule: str
    name: str
    """With its wildcards, as a reader looks for it."""
    began: float
    share: JobShare
    done: float | None = None
    """The share of it that is done, None where nothing tells: as seen `looked` last."""
    before: float = 1.0
    """What of that a job that was killed had done."""
    looked: float = float("-inf")

    def so_far(self, now: float) -> RunningJob:
        """What is known of it now."""
        if now - self.looked >= LOOK_S:
            self.looked, self.done = now, self.share()
            self.before = min(self.before, self.done or 0.0)
        seconds = now - self.began
        return (
            RunningJob(seconds)
            if self.done is None
            else RunningJob(seconds, self.done - self.before, 1.0 - self.done)
        )


@dataclass
class StageCount:
    """Jobs of a stage."""

    done: int = 0
    left: int = 0
    began: float | None = None
    told: bool = False
    """Whether its end was said."""

    @property
    def total(self) -> int:
        return self.done + self.left


class CoreMeter:
    """Processor seconds of this process and all that it started, ended ones included."""

    def __init__(self) -> None:
        self._me = psutil.Process()
        self.began, self.spent = time.monotonic(), self.seconds()
        self._last, self._last_spent = self.began, self.spent

    def seconds(self) -> float:
        """Since they were started. A process counts its ended children when it has waited for them."""
        spent = sum(self._me.cpu_times()[:4])
        for process in self._me.children(recursive=True):
            try:
                spent += sum(process.cpu_times()[:4])
            except psutil.Error:  # it has ended meanwhile
                continue
        return float(spent)

    def busy(self) -> float:
        """Cores that were busy on average since this was asked last."""
        now, spent = time.monotonic(), self.seconds()
        cores = (spent - self._last_spent) / max(now - self._last, 1e-3)
        self._last, self._last_spent = now, spent
        return max(cores, 0.0)

    def average(self) -> float:
        """Cores that were busy on average since the beginning."""
        return max((self.seconds() - self.spent) / max(time.monotonic() - self.began, 1e-3), 0.0)


@dataclass
class Board:
    """A run as it stands: stages, jobs that run, and what they make of the time left."""

    plan: Callable[[], Mapping[int, PlannedJob]]
    """Every unfinished job by its number, now."""
    pace: Pace
    slots: int
    share: Callable[[str, Mapping[str, str]], JobShare] = lambda *_: lambda: None
    """How to see what is done of a job, by its rule and wildcards."""
    clock: Callable[[], float] = time.monotonic
    stages: dict[str, StageCount] = field(default_factory=dict)
    running: dict[int, Running] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    """Names of jobs that failed and were not tried again."""

    def __post_init__(self) -> None:
        self.began, self._counted = self.clock(), float("-inf")
        self.jobs: Mapping[int, PlannedJob] = {}
        self.count()

    def count(self) -> None:
        """Ask again which jobs are left."""
        self._counted, self.jobs = self.clock(), dict(self.plan())
        for stage in self.stages.values():
            stage.left = 0
        for job in self.jobs.values():
            self.stages.setdefault(stage_of(job.rule), StageCount()).left += 1

    def started(self, number: int, rule: str, wildcards: Mapping[str, str]) -> None:
        """A job begins, perhaps not for the first time."""
        now = self.clock()
        self.running[number] = Running(rule, job_name(rule, wildcards), now, self.share(rule, wildcards))
        self.running[number].so_far(now)
        self.failed.pop(number, None)
        stage = self.stages.setdefault(stage_of(rule), StageCount())
        if stage.began is None:
            stage.began = now

    def ended(self, number: int) -> str | None:
        """A job is done. Returns its stage if that was its last one."""
        job = self.running.pop(number, None)
        if job is None:
            return None
        self.pace.finished(job.rule, self.clock() - job.began)
        stage = self.stages[stage_of(job.rule)]
        stage.done, stage.left = stage.done + 1, stage.left - 1
        if stage.left <= 0 or self.clock() - self._counted > PLAN_S:
            self.count()  # a checkpoint may have brought jobs, or taken some
        self.jobs = {key: value for key, value in self.jobs.items() if key != number}
        stage.left = sum(stage_of(value.rule) == stage_of(job.rule) for value in self.jobs.values())
        if stage.left or stage.told:
            return None
        stage.told = True
        return stage_of(job.rule)

    def broke(self, number: int, name: str) -> Running | None:
        """A job has failed. Returns it, if it was seen to begin."""
        self.failed[number] = name
        return self.running.pop(number, None)

    @property
    def elapsed(self) -> float:
        return self.clock() - self.began

    @property
    def done(self) -> int:
        return sum(stage.done for stage in self.stages.values())

    @property
    def total(self) -> int:
        return sum(stage.total for stage in self.stages.values())

    def left_s(self) -> float:
        """Seconds until the end. Jobs that failed, and what waits for them, are left out."""
        now, jobs = self.clock(), dict(self.jobs)
        lost = set(self.failed) & jobs.keys()
        while lost:
            jobs = {number: job for number, job in jobs.items() if number not in lost}
            lost = {
                number
                for number, job in jobs.items()
                if any(n in self.jobs and n not in jobs for n in job.needs)
            }
        running = {number: job.so_far(now) for number, job in dict(self.running).items() if number in jobs}
        return self.pace.time_left(jobs, running, self.slots)

    def line(self, cores: str) -> str:
        """`12:03  42 %  120 of 273 jobs: sample 5/9, score 80/224; about 6 min left; 1.9 of 2 cores busy`."""
        left = self.left_s()
        share = self.elapsed / max(self.elapsed + left, 1e-3)
        running = {stage_of(job.rule) for job in self.running.values()}
        stages = [
            f"{name} {self.stages[name].done}/{self.stages[name].total}"
            for name in stages_in_order(self.stages)
            if name in running
        ]
        parts = [
            f"{clock(self.elapsed):>8} {share:4.0%}  {self.done} of {self.total} jobs"
            f"{': ' if stages else ''}{', '.join(stages)}",
            *([f"{len(self.failed)} failed"] if self.failed else []),
            f"{about(left)} left",
            *([cores] if cores else []),
        ]
        return "; ".join(parts)


class Console(LogHandlerBase):
    """The handler. Before `begin` and after `end` it prints what is said and no progress."""

    def __init__(
        self,
        settings: OutputSettingsLoggerInterface,
        answer: Callable[[], Sequence[str]],
        planned: Callable[[], str],
        stream: TextIO | None = None,
    ) -> None:
        """answer: what is said where nothing was to be done. planned: what a dry run says. stream: instead of
        Snakemake's.
        """
        super().__init__(settings, None)
        self.answer, self.planned = answer, planned
        self.stream = stream or (sys.stdout if settings.stdout else sys.stderr)
        self.board: Board | None = None
        self.cores: CoreMeter | None = None
        self.width = 0
        """Cores of this machine that the run may use; 0 on a cluster."""
        self.stopped = False
        """Whether the user ended the run."""
        self._live: Live | None = None
        self._over = threading.Event()
        self._said: set[str] = set()
        self._group_logs: list[str] = []
        """What the cluster wrote of the group of jobs that failed last."""
        self._told_at, self._told_share = float("-inf"), 0.0

    @property
    def writes_to_stream(self) -> bool:
        return True

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return True

    @property
    def has_formatter(self) -> bool:
        return True

    @property
    def needs_rulegraph(self) -> bool:
        return False

    def begin(self, board: Board, cores: int) -> None:
        """Show progress from now on. cores: of this machine that the run may use, 0 on a cluster."""
        self.board, self.width = board, cores
        self.cores = CoreMeter() if cores else None
        self._told_at = board.clock()
        if self.stream.isatty() and os.environ.get("TERM") != "dumb":
            from rich.console import Console as Terminal  # only here: most runs have none
            from rich.live import Live

            terminal = Terminal(file=self.stream)
            self._live = Live(
                get_renderable=self._bars, console=terminal, refresh_per_second=1, transient=True,
                redirect_stdout=False, redirect_stderr=False,
            )  # fmt: skip
            self._live.start()
        else:
            threading.Thread(target=self._watch, daemon=True).start()

    def end(self) -> None:
        """Show no more progress."""
        self._over.set()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def close(self) -> None:
        self.end()
        super().close()

    def say(self, text: str, style: str | None = None) -> None:
        """Print lines, above the bars if there are any."""
        if self._live is not None:
            self._live.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
        else:
            self.stream.write(f"{text}\n")
            self.stream.flush()

    def _once(self, text: str, style: str | None = None) -> None:
        if text not in self._said:
            self._said.add(text)
            self.say(text, style)

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record of Snakemake's, or take it into the account."""
        try:
            self._take(record)
        except BrokenPipeError:
            raise
        except Exception:
            self.handleError(record)

    def _take(self, record: logging.LogRecord) -> None:
        known = vars(record)
        event = known.get("event")
        if event == LogEvent.JOB_INFO and self.board is not None:
            self.board.started(known["jobid"], known["rule_name"], dict(known.get("wildcards") or {}))
        elif event == LogEvent.JOB_FINISHED and self.board is not None:
            stage = self.board.ended(known["job_id"])
            if stage is not None:
                self._stage_ended(stage)
        elif event == LogEvent.GROUP_ERROR:
            self._group_logs = [str(path) for path in known["aux_logs"]]
        elif event == LogEvent.JOB_ERROR:
            if not known.get("indent"):  # those of a group follow the group's own, one by one
                self._group_logs = []
            self._failed(known)
        elif event == LogEvent.RUN_INFO and self.common_settings.dryrun:
            self._once(self.planned())
        elif event is None or event == LogEvent.ERROR:
            self._message(record, str(known.get("exception", "")))

    def _message(self, record: logging.LogRecord, exception: str) -> None:
        text = record.getMessage().rstrip().lstrip("\n")
        if text.startswith(CUT_OFF):
            self.stopped = True
            at_once = text.startswith(CUT_OFF[0])
            if at_once:
                self._ignore_further_interrupts()
            jobs = "; jobs that run are ended." if at_once else " when the jobs that run have ended."
            self._once(f"Stopping{jobs}")
        elif text.startswith(NOTHING_LEFT):
            self.say("\n".join([text, *self.answer()]))
        elif text.startswith("Trying to restart job"):
            self.say(f"{text.rstrip('.')}: it is tried again.")
        elif record.levelno >= logging.ERROR:
            of_a_job = exception == "RuleException" and "CalledProcessError" in text
            if not of_a_job and not any(hidden in text for hidden in HIDDEN_ERRORS):
                self.say(text, "red")
        elif record.levelno >= logging.WARNING:
            self._once(f"Warning: {text}", "yellow")
        elif record.pathname.endswith(OURS):
            self.say(text)

    def _ignore_further_interrupts(self) -> None:
        """A second Ctrl-C would cut off the end of a run, and Snakemake show its traceback; running jobs get
        it all the same.
        """
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, lambda *_: self._once("Still ending the jobs that run."))

    def _stage_ended(self, stage: str) -> None:
        assert self.board is not None, "a stage ends in a run"
        found = self.board.stages[stage]
        took = self.board.clock() - (self.board.began if found.began is None else found.began)
        jobs = "1 job" if found.done == 1 else f"{found.done} jobs"
        self.say(f"{clock(self.board.elapsed):>8}  {stage} done: {jobs} in {clock(took)}", "green")

    def _failed(self, known: Mapping[str, Any]) -> None:
        """Say which job failed, with the last lines of its log, or of the cluster's where it never came to
        write its own, and what the cluster said.
        """
        if self.stopped:
            return
        number, name = known["jobid"], str(known["rule_name"])
        logs = [str(path) for path in known["log"]]
        job = self.board.broke(number, name) if self.board is not None else None
        if job is not None and self.board is not None:
            name = self.board.failed[number] = job.name
            name = f"{name} failed after {clock(self.board.clock() - job.began)}"
        else:
            name = f"{name} failed"
        told = [f"    {line.strip()}" for line in str(known.get("rule_msg") or "").splitlines()]
        for path in [*logs, *self._group_logs]:
            if lines := last_lines(Path(path)):
                told = [f"{name}; the end of {path}:", *(f"    {line}" for line in lines), *told]
                break
        else:
            told = [f"{name}. It left no log.", *told]
        self.say("\n".join(told), "red")

    def _busy(self) -> str:
        return f"{self.cores.busy():.1f} of {self.width} cores busy" if self.cores is not None else ""

    def _watch(self) -> None:
        """Without a terminal: print a line whenever one is due."""
        while not self._over.wait(1.0):
            self.tick()

    def tick(self) -> None:
        """Print a line if one is due."""
        if self.board is None:
            return
        now, elapsed = self.board.clock(), self.board.elapsed
        if now - self._told_at < LEAST_S:
            return
        share = elapsed / max(elapsed + self.board.left_s(), 1e-3)
        if share >= self._told_share + SHARE_STEP or now - self._told_at >= SILENCE_S:
            self._told_at, self._told_share = now, share
            self.say(self.board.line(self._busy()))

    def _bars(self) -> "Table":
        """What a terminal shows below the text: a bar a stage, the jobs that run, the time left."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        page = Table.grid()
        if self.board is None:
            return page
        bars = Table.grid(padding=(0, 1))
        for name in stages_in_order(self.board.stages):
            stage = self.board.stages[name]
            bar = ProgressBar(total=max(stage.total, 1), completed=stage.done, width=30)
            bars.add_row(f"{name:>12}", bar, f"{stage.done}/{stage.total}")
        page.add_row(bars)
        now = self.board.clock()
        jobs = sorted(self.board.running.values(), key=lambda job: job.began)
        for job in jobs[:SHOWN_JOBS]:
            share = f", {job.done:.0%} done" if job.done else ""
            page.add_row(Text(f"{clock(now - job.began):>12} {job.name}{share}", "dim", no_wrap=True))
        if len(jobs) > SHOWN_JOBS:
            page.add_row(Text(f"{'':12} and {len(jobs) - SHOWN_JOBS} more", "dim"))
        page.add_row(Text(self.board.line(self._busy()), "bold"))
        return page

    def end_lines(self, *, done: bool) -> list[str]:
        """What is said of a run that has ended, before its answer."""
        board = self.board
        if board is None:
            return []
        cores = f", {self.cores.average():.1f} of {self.width} cores busy" if self.cores else ""
        if done:
            jobs = "1 job" if board.done == 1 else f"{board.done} jobs"
            return [f"Finished in {clock(board.elapsed)}: {jobs}{cores}."]
        if self.stopped:
            return [f"Stopped after {clock(board.elapsed)}. The same command goes on where this one was."]
        names = list(board.failed.values())
        some = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        failed = f"{len(names)} {'job' if len(names) == 1 else 'jobs'} failed ({some})" if names else "Failed"
        waiting = max(board.total - board.done - len(names), 0)
        return [
            f"{failed}, {board.done} done, {waiting} not tried, after {clock(board.elapsed)}. Mend what the "
            "lines above name; the same command goes on from here."
        ]


def job_name(rule: str, wildcards: Mapping[str, str]) -> str:
    """`score longlive color`: a job's rule and its wildcards."""
    return " ".join([rule, *map(str, wildcards.values())])


def last_lines(path: Path, count: int = LOG_LINES) -> list[str]:
    """The end of a log without tracebacks; nothing if there is none."""
    if not path.is_file():
        return []
    with path.open("rb") as stream:
        stream.seek(max(path.stat().st_size - 20_000, 0))
        text = stream.read().decode(errors="replace")
    told = (line for line in text.splitlines() if line.strip() and not line.startswith(TRACEBACK_MARK))
    return [line.rstrip() for line in told][-count:]


def jobs_left(dag: Any, *, finished: bool = False) -> dict[int, PlannedJob]:
    """Every unfinished job of Snakemake's graph by its number, with the unfinished ones that it needs.

    finished: take in those that have ended, as all have at the end of a dry run.
    """
    left = list(dag.needrun_jobs(exclude_finished=not finished))
    number = {job: dag.jobid(job) for job in left}
    return {
        number[job]: PlannedJob(
            job.rule.name,
            known_threads(job.rule),
            tuple(number[needed] for needed in dag.dependencies[job] if needed in number),
        )
        for job in left
    }


def known_threads(rule: Any) -> int:
    """Threads of a rule's jobs as far as they depend on nothing."""
    threads = rule.resources["_cores"].raw if "_cores" in rule.resources else 1
    return max(1, threads) if isinstance(threads, int) else 1


def answer_of(run: Path) -> list[str]:
    """What a run ends with: its report, and the text that was written beside it.

    The page that is shown to others is named only where the run has one of its own.
    """
    text, page = run / "verdict.txt", run / "report.html"
    if not page.is_file():
        return [f"There is no report of this run: {page} is not there, and --forcerun report makes it."]
    alone = any(run.glob("imported/*.json")) and not any(run.glob("clips/*/manifest.jsonl"))
    beside = f"; {'the same is' if alone else 'every clip plays in'} {page}"
    said = text_lines(utf8_text(text.read_bytes(), str(text))) if text.is_file() else []
    return [*said, f"Report: reports/table.html{beside}"]


def is_wanted(settings: Any) -> bool:
    """Whether our console shows this run: not where another output was asked for.

    A dry run lists its jobs as Snakemake does, unless it is quiet about them: then it gets our summary.
    """
    if settings.verbose or settings.debug_dag or settings.printshellcmds or settings.log_handler_settings:
        return False
    return bool(settings.quiet) == bool(settings.dryrun)


class PlainErrors(logging.Filter):
    """Says what our own code raised while Snakemake read rules, planned or started, in its own words.

    Snakemake would print lines of code beside it; they are in the log of tracebacks.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the text of a record about an error of ours; every record is kept."""
        error = sys.exc_info()[1]
        if getattr(record, "event", None) == LogEvent.ERROR and error is not None:
            while type(error).__module__.startswith("snakemake") and (
                inner := error.__cause__ or error.__context__
            ):
                error = inner
            if isinstance(error, Exception) and not type(error).__module__.startswith("snakemake"):
                kept = keep_traceback(error)
                more = "" if is_expected(error) else f" The traceback is in {kept}."
                record.msg, record.args = f"{message_of(error)}{more}", ()
            elif type(error).__name__ == "MissingRuleException":
                asked = str(error).strip().partition(" (if you use")[0]
                record.msg, record.args = f"{asked}; raven-bench report --list-rules names the rules.", ()
        return True


PLAIN_ERRORS = PlainErrors()


def take_over(console: Console, logger: logging.Logger) -> None:
    """Put the console in the place of Snakemake's own output to the terminal."""
    for handler in list(logger.handlers):
        if handler.name == "DefaultStreamHandler":
            logger.removeHandler(handler)
    logger.addHandler(console)
