"""What a run says before its first job: what is missing, what it will do, and about what it will cost."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.prompts import count_prompts
from evaluation.records import Prompt
from workflow.resources import needed_resources
from workflow.scripts.prompts import suite_prompts
from workflow.settings import Suite


def put_python_first() -> None:
    """Let `python` in a rule be the one that runs Snakemake, whether or not its environment is activated."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def missing_resources(root: Path, suite: Suite) -> str:
    """One screen naming every file of the suite that was not fetched and how to get it; empty if all are there."""
    needed = needed_resources(root, suite)
    missing = [entry for entry in needed if not (root / "resources" / entry.path).is_file()]
    if not missing:
        return ""
    width = max(len(entry.path) for entry in missing)
    lines = [f"  {e.path:<{width}}  {e.size_mb:>9,.1f} MB  {e.origin}" for e in missing]
    total = sum(entry.size_mb for entry in missing)
    return (
        f"Suite {suite.suite} needs {len(needed)} fetched files, and {len(missing)} of them (about {total / 1000:.1f} GB) are not in "
        "resources/:\n"
        + "\n".join(lines)
        + f"\nGet them, on a machine with network, with: make fetch SUITE={suite.suite}\n"
        "Nothing was started. The embedded suite needs none of this: snakemake --profile local reports/table.html"
    )


def planned_prompts(suite: Suite) -> list[Prompt]:
    """The prompts that the suite's `prompts` stage will write."""
    settings = {"world": suite.world, "dimensions": suite.dimensions, **suite.prompts.model_dump()}
    return suite_prompts(json.loads(json.dumps(settings)))


def start_banner(suite: Suite, prompts: Sequence[Prompt]) -> str:
    """Prompts, clips and a cost estimate for a run from nothing, by the suite's measured rates."""
    counts = count_prompts(prompts)
    rates, rows = suite.rates, len(suite.rows)
    natives = sum(row in suite.weights or row in suite.train for row in suite.baselines)
    outside = len(suite.baselines) - natives
    scored = sum((p.keep or p.samples) * len(p.dimensions) for p in prompts)
    jobs = 3 + 2 * len(suite.train) + rows * (suite.sample.shards + 2 + len(suite.dimensions))
    seconds = (
        len(suite.train) * rates.train_s
        + natives * counts.clips * rates.clip_s
        + rows * scored * rates.score_clip_s
        + jobs * rates.job_s
    )
    unit = "core" if suite.device == "cpu" else "GPU"
    disk = rows * counts.clips * rates.clip_mb
    elsewhere = f", {outside} external or imported, whose own time is not counted below" if outside else ""
    return (
        f"Suite {suite.suite}: {counts}; {len(suite.baselines)} baselines ({len(suite.train)} trained here{elsewhere}) and {len(suite.controls)} controls, "
        f"{rows * counts.clips} clips, {len(suite.dimensions)} dimensions.\n"
        f"From nothing about {jobs} jobs, {_duration(seconds)} of one {unit} and {disk:,.0f} MB of disk; "
        "a run that continues does only what is left."
    )


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} hours" if seconds >= 5400 else f"{seconds / 60:.0f} minutes"
