"""What jobs are estimated to cost by the suite's measured rates: all of a run, or those that are left."""

from collections.abc import Mapping, Sequence
from typing import Literal

from evaluation.prompts import count_prompts
from evaluation.records import Prompt
from evaluation.selection import first_samples
from reports.cost import COST_STAGES, STAGE_OF, CostEstimate, Stage, amount, size
from workflow.planning.row_plan import heldout_rows
from workflow.planning.suite import OFFICIAL_BENCHMARKS, Suite

GPU_RULES = ("train", "score_heldout", "sample", "external", "score_part", "filter_part", "between_pieces")
"""Rules whose jobs hold a GPU where a suite runs on some."""


def jobs_from_nothing(suite: Suite) -> dict[str, int]:
    """Jobs of a run from nothing, by rule; clips that are not sampled here count as rendered."""
    rows, trained = len(suite.rows_with_clips), len(suite.train)
    natives = sum(suite.has_weights(row) for row in suite.baselines)
    jobs = {
        "prompts": 1, "aggregate": 1, "report": 1, "train": trained, "convert": trained,
        "score_heldout": len(heldout_rows(suite)), "check": rows, "filter": rows,
        "sample": natives * suite.sample.shards, "render": (rows - natives) * suite.sample.shards,
        "score": rows * len(suite.dimensions), "score_custom": rows * len(suite.custom_dimensions),
        "import_results": len(suite.without_clips),
    }  # fmt: skip
    if suite.benchmark in OFFICIAL_BENCHMARKS and rows:
        jobs |= {"vbench_environment": 1, "vbench_weights": 1, "filter_part": rows * len(suite.filter_parts)}
        jobs["score_part"] = rows * sum(len(suite.score_parts(name)) for name in suite.dimensions)
    return jobs


def estimated_cost(
    suite: Suite, prompts: Sequence[Prompt], jobs: Mapping[str, int] | None = None
) -> CostEstimate:
    """Time of one core or GPU, and disk of clips, that jobs take by the suite's measured rates.

    jobs: how many of each rule; None for a run from nothing. Starting a job is part of its stage, as it is of
    what is measured; on GPUs only jobs that hold one count.
    """
    rates, clips, video_s = suite.rates, count_prompts(prompts).clips, suite.clip.seconds
    todo = jobs_from_nothing(suite) if jobs is None else jobs
    unit: Literal["core", "GPU"] = "core" if suite.device == "cpu" else "GPU"
    scored = sum((p.keep or p.samples) * len(p.dimensions) for p in prompts)
    official = suite.benchmark in OFFICIAL_BENCHMARKS
    parts = sum(len(suite.score_parts(name)) for name in suite.dimensions)
    scoring, pieces = ("score_part", parts) if official else ("score", len(suite.dimensions))
    of_a_shard = clips / suite.sample.shards
    seconds: dict[Stage, float] = {
        "train": todo.get("train", 0) * rates.train_s,
        "sample": todo.get("sample", 0) * sampling_s(suite, prompts) / suite.sample.shards,
        "score": todo.get(scoring, 0) * scored * video_s * rates.score_s / pieces,
        "rest": 0.0,
    }
    for rule, count in todo.items():
        if unit == "core" or rule in GPU_RULES:
            stage = STAGE_OF.get(rule.removesuffix("_part").removesuffix("_custom"), "rest")
            seconds[stage] += count * rates.job_s
    made = of_a_shard * sum(todo.get(rule, 0) for rule in ("sample", "render", "external"))
    return CostEstimate(
        unit=unit,
        jobs=sum(todo.values()),
        seconds=seconds,
        disk_mb=(made + todo.get("import_clips", 0) * clips) * video_s * rates.video_mb,
    )


def sampling_s(suite: Suite, prompts: Sequence[Prompt]) -> float:
    """Seconds of sampling a native row, as they are on average."""
    rows = [row for row in suite.baselines if suite.has_weights(row)]
    each = [
        suite.rates.row_sample_s.get(row, suite.rates.sample_s)
        * suite.clip.seconds
        * count_prompts(first_samples(prompts, suite.row_samples.get(row))).clips
        for row in rows
    ]
    return sum(each) / max(len(each), 1)


def work_line(cost: CostEstimate, begin: str) -> str:
    """One sentence: `begin`, then jobs, time (of GPUs by stage) and room for clips."""
    spent = amount(cost.total_s, cost.unit) if cost.total_s >= 60 else f"under a {cost.unit}-minute"
    stages: list[Stage] = [name for name in COST_STAGES if cost.seconds.get(name)]
    split = ", ".join(f"{COST_STAGES[name].lower()} {amount(cost.seconds[name], 'GPU')}" for name in stages)
    clips = f", up to {size(cost.disk_mb)} of new clips" if cost.disk_mb else ""
    return (
        f"{begin}: {cost.jobs:,} {'job' if cost.jobs == 1 else 'jobs'}, {spent}"
        f"{f' ({split})' if cost.unit == 'GPU' and split else ''}{clips}."
    )
