"""What `raven-bench dry-run` says in one screen: jobs a stage, and what made them needed."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from workflow.planning.acceptance import SHOWN_CHANGES
from workflow.planning.console import stage_of, stages_in_order

CODE_DIGEST = re.compile(r"\W*(?:[0-9a-f]{16})+\W*")
NOT_MADE, AGAIN = "not made yet", "what it is made from is made again"


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


def summary(jobs: Sequence[NeededJob], first: str, details: str) -> str:
    """The screen. first: its first line, what is to be done at which cost; details: how jobs are listed."""
    stages: dict[str, Counter[str]] = {}
    for job in jobs:
        stages.setdefault(stage_of(job.rule), Counter())[job.cause] += 1
    width = max((len(name) for name in stages), default=0)
    lines = [first, f"  {'stage':{width}}  jobs  why"]
    for name in stages_in_order(stages):
        causes = stages[name].most_common()
        for place, (cause, count) in enumerate(causes):
            total = f"{name:{width}} {stages[name].total():5}" if not place else " " * (width + 6)
            lines.append(f"  {total}  {cause}{f' ({count})' if len(causes) > 1 else ''}")
    return "\n".join([*lines, details])
