"""What a run from nothing is estimated to cost, by the suite's measured rates."""

from collections.abc import Sequence

from evaluation.prompts import count_prompts
from evaluation.records import Prompt
from reports.cost import CostEstimate
from workflow.planning.row_plan import heldout_rows
from workflow.planning.suite import OFFICIAL_BENCHMARKS, Suite


def estimated_cost(suite: Suite, prompts: Sequence[Prompt]) -> CostEstimate:
    """Jobs, time of one core or GPU, and disk of a run from nothing, by the suite's measured rates."""
    rates, rows, clips = suite.rates, len(suite.rows), count_prompts(prompts).clips
    natives = sum(row in suite.weights or row in suite.train for row in suite.baselines)
    scored = sum((p.keep or p.samples) * len(p.dimensions) for p in prompts)
    jobs = (
        3
        + 2 * len(suite.train)
        + len(heldout_rows(suite))
        + rows * (suite.sample.shards + 2 + len(suite.dimensions) + len(suite.custom_dimensions))
    )
    if suite.benchmark in OFFICIAL_BENCHMARKS:
        parts = len(suite.filter_parts) + sum(len(suite.score_parts(name)) for name in suite.dimensions)
        jobs += 2 + rows * parts
    return CostEstimate(
        unit="core" if suite.device == "cpu" else "GPU",
        jobs=jobs,
        seconds={
            "train": len(suite.train) * rates.train_s,
            "sample": natives * clips * rates.clip_s,
            "score": rows * scored * rates.score_clip_s,
            "rest": jobs * rates.job_s,
        },
        disk_mb=rows * clips * rates.clip_mb,
    )
