"""What `raven-bench dry-run` says in one screen: jobs a stage, what made them needed, and their cost."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from reports.cost import amount, size
from workflow.planning.acceptance import SHOWN_CHANGES
from workflow.planning.console import stage_of, stages_in_order
from workflow.planning.suite import Suite

CODE_DIGEST = re.compile(r"\W*(?:[0-9a-f]{16})+\W*")
NOT_MADE, AGAIN = "not made yet", "what it is made from is made again"
GPU_RULES = ("train", "score_heldout", "sample", "external", "score_part", "filter_part")
"""Rules whose jobs hold a GPU where a suite runs on some."""


class NeededJob(NamedTuple):
    """A job of a dry run."""

    rule: str
    cause: str


def cause_of(reason: Any, changed_since: Callable[[Iterable[str]], Sequence[str]]) -> str:
    """What made a job needed, in words.

    reason: Snakemake's. changed_since: files that have changed, by the parameters of what is there.
    """
    if reason.forced:
        return "asked for by hand"
    if reason.incomplete_output:
        return "was cut off"
    if reason.missing_output:
        return NOT_MADE
    if params := reason.params_changed:
        if not all(CODE_DIGEST.fullmatch(str(value)) for value in params.only_new):
            return "its settings changed"
        changed = changed_since(map(str, params.only_old))
        some = ", ".join(changed[:SHOWN_CHANGES]) + (
            f" and {len(changed) - SHOWN_CHANGES} more" if changed[SHOWN_CHANGES:] else ""
        )
        return f"its code changed: {some}" if changed else "its code changed"
    if reason.input_changed:
        return "it is made from other files"
    if reason.updated_input:
        return "what it is made from changed"
    return AGAIN if reason.updated_input_run else "always runs"


def needed_jobs(dag: Any, changed_since: Callable[[Iterable[str]], Sequence[str]]) -> list[NeededJob]:
    """The jobs of Snakemake's graph that are to be run."""
    return [NeededJob(job.rule.name, cause_of(dag.reason(job), changed_since)) for job in dag.needrun_jobs()]


def job_seconds(suite: Suite, costs: Mapping[str, float], other: float, rule: str) -> float:
    """Seconds of one core, or GPU, of a job. costs, other: expected wall seconds by rule."""
    if suite.device == "cpu":
        return costs.get(rule, other)
    if rule == "train":
        return suite.rates.train_s
    return costs.get(rule, 0.0) if rule in GPU_RULES else 0.0


def summary(
    suite: Suite, jobs: Sequence[NeededJob], costs: Mapping[str, float], clips: int, details: str
) -> str:
    """The screen. costs: as in `job_seconds`; clips: of one row, 0 if they are
    not known yet; details: how every job is listed."""
    unit: Literal["core", "GPU"] = "core" if suite.device == "cpu" else "GPU"
    seconds = sum(job_seconds(suite, costs, suite.rates.job_s, job.rule) for job in jobs)
    made = {"import_clips": clips} | dict.fromkeys(
        ("sample", "render", "external"), clips / suite.sample.shards
    )
    disk = sum(made.get(job.rule, 0.0) for job in jobs) * suite.rates.clip_mb
    stages: dict[str, Counter[str]] = {}
    for job in jobs:
        stages.setdefault(stage_of(job.rule), Counter())[job.cause] += 1
    width = max((len(name) for name in stages), default=0)
    spent = f"about {amount(seconds, unit)}" if seconds >= 60 else f"under a {unit}-minute"
    cost = f", {spent}" + (f", up to {size(disk)} of new clips" if disk else "")
    lines = [
        f"To do for suite {suite.suite}: {len(jobs)} {'job' if len(jobs) == 1 else 'jobs'}"
        f"{cost if clips else '; what they cost can be said when its prompts are here (raven-bench fetch)'}.",
        f"  {'stage':{width}}  jobs  why",
    ]
    for name in stages_in_order(stages):
        causes = stages[name].most_common()
        for place, (cause, count) in enumerate(causes):
            total = f"{name:{width}} {stages[name].total():5}" if not place else " " * (width + 6)
            lines.append(f"  {total}  {cause}{f' ({count})' if len(causes) > 1 else ''}")
    return "\n".join([*lines, details])
