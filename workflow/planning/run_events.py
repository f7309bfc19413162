"""What a run says and notes: when its rules are read, when jobs start, at the end, and in a dry run.

Snakemake's rules hand over what they know; nothing here decides what is made.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from snakemake.logging import logger  # type: ignore[import-untyped]

from evaluation.records import Prompt
from evaluation.words import numbered
from models.training.launch import count_gpus
from reports.cost import read_stages
from reports.starts import note_start
from workflow.external.baseline import shape_notes
from workflow.planning.acceptance import CodeBook
from workflow.planning.banner import (
    check_inputs,
    expected_prompts,
    missing_for_jobs,
    missing_fp8,
    missing_gpu,
    planned_prompts,
    run_needs,
    start_notices,
    this_start,
)
from workflow.planning.console import Board, Console, answer_of, is_wanted, jobs_left, last_lines, take_over
from workflow.planning.cost import estimated_cost, work_line
from workflow.planning.dry_run import needed_jobs, summary
from workflow.planning.job_share import job_share
from workflow.planning.missing_results import missing_warnings
from workflow.planning.needs import released_alternative
from workflow.planning.paths import Folders, has_user_list, prompt_list_copy
from workflow.planning.progress import Pace, about, job_costs
from workflow.planning.prompt_plan import keep_copy
from workflow.planning.row_plan import Baselines
from workflow.planning.run_lock import release_dead_runs
from workflow.planning.subset import Subset, chosen_prompts, chosen_suite, make_subset_folder
from workflow.planning.suite import Suite
from workflow.planning.suite_file import RELEASED

LIST_HINT = "Every job, its files and its reason: raven-bench dry-run --list, or of other commands -n -p."


@dataclass(slots=True, kw_only=True)
class RunEvents:
    """The moments of one run of Snakemake.

    workflow: Snakemake's own object. config: the suite's file, replaced: what --config puts in the place of
    its keys.
    """

    workflow: Any
    root: Path
    config: str
    replaced: Mapping[str, Any]
    suite: Suite
    subset: Subset | None
    folders: Folders
    baselines: Baselines
    code: CodeBook
    console: Console = field(init=False)

    def __post_init__(self) -> None:
        self.console = Console(self.workflow.output_settings, self.answer, self.planned)

    @property
    def chosen(self) -> Suite:
        """The suite, or the part of it that this run is about."""
        return chosen_suite(self.suite, self.subset)

    def read(self) -> None:
        """The rules were read: remove a dead run's lock, check what the suite names, make a subset's folder,
        say what is gone.
        """
        if is_wanted(self.workflow.output_settings):
            take_over(self.console, logger)
        dead = release_dead_runs()
        check_inputs(self.chosen, self.root, self.baselines, self.config)
        if has_user_list(self.suite):
            listed, copy = self.suite.prompts.list, prompt_list_copy(self.suite)
            assert listed is not None
            assert copy is not None
            keep_copy((self.root / listed).read_bytes(), Path(copy))
        if self.subset:
            make_subset_folder(
                Path(self.folders.suite), self.subset, lambda: planned_prompts(self.suite, self.root)
            )
        gone = missing_warnings(self.folders, self.suite, self.baselines)
        for warning in (*dead, *self.code.warnings(), *gone):
            logger.warning(warning)

    def start(self) -> None:
        """Stop if anything is missing; else say what will be done at which cost. Not so of a replay."""
        jobs = self._jobs()
        if missing := self._missing(jobs):
            prompts = None if self.subset else expected_prompts(self.suite, self.root)
            raise ValueError("\n".join([*self._needs(jobs, prompts), missing]))
        prompts = chosen_prompts(planned_prompts(self.suite, self.root), self.subset)
        if not _replays(jobs):
            self._note_start(jobs, prompts)
        if is_wanted(self.workflow.output_settings):
            share = partial(job_share, self.chosen, self.folders, prompts)
            board = Board(lambda: jobs_left(self.workflow.dag), self._pace(prompts), self.slots, share)
            self.console.begin(board, self.workflow.cores if self.local else 0)

    def end(self, *, done: bool) -> None:
        """Say how the run ended, and what came out."""
        self.console.end()
        for line in (*self.console.end_lines(done=done), *(self.answer() if done else [])):
            logger.info(line)

    def dry_run(self) -> None:
        """A dry run that has jobs is over: what they need and this machine lacks, time and disk."""
        if not self.workflow.dryrun or self.workflow.dag is None:
            return
        jobs = self._jobs()
        if not jobs or _replays(jobs):
            return
        missing = self._missing(jobs)
        if self.subset:
            planned = None if missing else planned_prompts(self.suite, self.root)
            prompts = None if planned is None else chosen_prompts(planned, self.subset)
        else:
            prompts = expected_prompts(self.suite, self.root)
        work = "" if is_wanted(self.workflow.output_settings) else None  # the summary has said it
        lines = ["", *self._needs(jobs, prompts, work), *([missing] if missing else []), ""]
        sys.stderr.write("\n".join(lines))

    def answer(self) -> list[str]:
        """What a run ends with: the report if it was asked for one, the outcome of a replay."""
        rules = {job.rule.name for job in self.workflow.dag.jobs}
        replays = sorted(rule for rule in rules if rule.startswith("replay"))
        said = [
            line for rule in replays for line in last_lines(Path(f"{self.folders.suite}/logs/{rule}.log"))
        ]
        return [*said, *(answer_of(Path(self.folders.run)) if "report" in rules else [])]

    def planned(self) -> str:
        """What a dry run says that does not list its jobs."""
        expected = expected_prompts(self.suite, self.root)
        prompts = [] if expected is None else chosen_prompts(expected, self.subset)
        return summary(
            needed_jobs(self.workflow.dag, self.code.changed_since), self._work(prompts), LIST_HINT
        )

    def _note_start(self, jobs: set[tuple[str, str | None]], prompts: Sequence[Prompt]) -> None:
        self.code.remember()
        left = len(list(self.workflow.dag.needrun_jobs()))
        note_start(
            Path(self.folders.run),
            this_start(
                self.chosen, prompts, root=self.root, config=self.config, replaced=self.replaced,
                command=sys.argv, jobs=left,
            ),
        )  # fmt: skip
        if self.subset:
            logger.info(f"Note: {self.subset.note} Its table goes to {self.folders.run}.")
        for line in self._needs(jobs, prompts):
            logger.info(line)
        notices = start_notices(self.suite, prompts, self.root)
        for notice in (*notices, *shape_notes(self.suite, self.baselines.values())):
            logger.info(f"Note: {notice}")

    def _jobs(self) -> set[tuple[str, str | None]]:
        """Rule, and row (or custom dimension) if it has one, of every job that is to be run.

        A dry run calls them finished at its end.
        """
        jobs = self.workflow.dag.needrun_jobs(exclude_finished=not self.workflow.dryrun)
        return {(job.rule.name, job.wildcards.get("row", job.wildcards.get("custom"))) for job in jobs}

    def _missing(self, jobs: set[tuple[str, str | None]]) -> str:
        released = self.replaced.get("weights") == RELEASED
        files = missing_for_jobs(self.root, self.suite, self.baselines, jobs, released=released)
        here = self.local and self._given_gpus is None
        gpu = (
            (missing_gpu(self.suite, jobs) or missing_fp8(self.suite, jobs)) if here else ""
        )  # steps of --profile gpus may be on other nodes
        return "\n".join(text for text in (gpu, files) if text)

    def _needs(
        self, jobs: set[tuple[str, str | None]], prompts: Sequence[Prompt] | None, work: str | None = None
    ) -> list[str]:
        """What jobs need, a sentence each, the cheaper way first. work: as of `run_needs`, None for all."""
        alternative = released_alternative(self.root, self.workflow.configfiles, self.replaced)
        said = self._work(prompts or []) if work is None else work
        return run_needs(self.root, self.chosen, prompts, jobs, alternative, said)

    def _work(self, prompts: Sequence[Prompt]) -> str:
        """One sentence: jobs that are left, how long they take here, and what they cost."""
        every = self.workflow.dryrun
        counts = Counter(job.rule.name for job in self.workflow.dag.needrun_jobs(exclude_finished=not every))
        begin = f"To do for suite {self.suite.suite}"
        if not prompts:
            more = "what they cost can be said when its prompts are here (raven-bench fetch)"
            return f"{begin}: {numbered(counts.total(), 'job')}; {more}."
        left = jobs_left(self.workflow.dag, finished=every)
        time = about(self._pace(prompts).time_left(left, {}, self.slots))
        with_ = (
            f"on {self.slots} cores"
            if self.suite.device == "cpu" and self.local
            else (f"with {self.slots} {'job' if self.slots == 1 else 'jobs'} at once")
        )
        return work_line(estimated_cost(self.chosen, prompts, counts), f"{begin}, {time} {with_}")

    @property
    def local(self) -> bool:
        """Whether jobs run on this machine. A dry run does not say, but its number of jobs at once does."""
        if self.workflow.dryrun:
            return self.workflow.nodes is None
        return bool(self.workflow.local_exec)

    @property
    def slots(self) -> int:
        """Jobs at once: of a cluster as many as were asked for, else as many as there are cores, or GPUs."""
        if not self.local:
            return int(self.workflow.nodes)
        if self.suite.device == "cpu":
            return int(self.workflow.cores)
        given = self._given_gpus
        return min(int(self.workflow.cores), max(1, count_gpus() if given is None else given))

    @property
    def _given_gpus(self) -> int | None:
        """The limit of GPUs that this run was given (--profile gpus); None without one."""
        given = self.workflow.global_resources.get("gpu")
        return None if given is None or given.value is None else int(given.value)

    def _pace(self, prompts: Sequence[Prompt]) -> Pace:
        """Seconds of a job by rule, from the last run here or the suite's rates."""
        costs = job_costs(self.chosen, prompts, read_stages(Path(self.folders.run)))
        return Pace(costs, self.suite.rates.job_s)


def _replays(jobs: set[tuple[str, str | None]]) -> bool:
    return all(rule.startswith("replay") for rule, _ in jobs)
