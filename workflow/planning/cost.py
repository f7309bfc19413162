"""What a run from nothing is estimated to cost, by the suite's measured rates."""

from collections.abc import Sequence

from evaluation.prompts import count_prompts
from evaluation.records import Prompt
from reports.cost import CostEstimate, Stage
from workflow.planning.row_plan import heldout_rows
from workflow.planning.suite import OFFICIAL_BENCHMARKS, Suite


def estimated_cost(suite: Suite, prompts: Sequence[Prompt]) -> CostEstimate:
    """Jobs, time of one core or GPU, and disk of a run from nothing, by the suite's measured rates.

    Starting a job is part of its stage, as it is of what is measured; on GPUs only jobs that hold one count.
    """
    rates, rows, clips = suite.rates, len(suite.rows), count_prompts(prompts).clips
    natives = sum(row in suite.weights or row in suite.train for row in suite.baselines)
    scored = sum((p.keep or p.samples) * len(p.dimensions) for p in prompts)
    dimensions = len(suite.dimensions) + len(suite.custom_dimensions)
    jobs: dict[Stage, int] = {  # by stage, as measured jobs are counted: reports.cost.STAGE_OF
        "train": len(suite.train) + len(heldout_rows(suite)),
        "sample": rows * suite.sample.shards,
        "score": rows * (1 + dimensions),
        "rest": 3 + len(suite.train) + rows,
    }
    on_gpu = dict(jobs)
    if suite.benchmark in OFFICIAL_BENCHMARKS:
        parts = len(suite.filter_parts) + sum(len(suite.score_parts(name)) for name in suite.dimensions)
        on_gpu |= {"score": rows * parts, "rest": 0}
        jobs["score"] += rows * parts
        jobs["rest"] += 2
    counted = jobs if suite.device == "cpu" else on_gpu
    work: dict[Stage, float] = {
        "train": len(suite.train) * rates.train_s,
        "sample": natives * clips * rates.clip_s,
        "score": rows * scored * rates.score_clip_s,
        "rest": 0.0,
    }
    return CostEstimate(
        unit="core" if suite.device == "cpu" else "GPU",
        jobs=sum(jobs.values()),
        seconds={stage: seconds + counted[stage] * rates.job_s for stage, seconds in work.items()},
        disk_mb=rows * clips * rates.clip_mb,
    )
