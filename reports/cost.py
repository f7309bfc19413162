"""What a run cost, measured, beside what was estimated at its start: job time by stage and row, and disk.

Time is that of one job slot, a core or a GPU, as in the estimate: CPU seconds of a suite that runs on cores,
else wall seconds times GPUs.
"""

import csv
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(ge=0)]
Stage = Literal["train", "sample", "score", "rest"]
STAGES: dict[Stage, str] = {
    "train": "Training",
    "sample": "Sampling",
    "score": "Static filter and scoring",
    "rest": "All else",
}
"""Stages of the cost table, in its order, as it calls them."""
STAGE_OF: dict[str, Stage] = {
    "train": "train",
    "sample": "sample",
    "render": "sample",
    "external": "sample",
    "external_contract": "sample",
    "filter": "score",
    "score": "score",
}
"""Folders of benchmark files, which bear the names of rules, by stage; all others are the rest."""
ON_GPU = ("train", "sample", "external", "filter", "score")
"""Of these, where a suite runs on GPUs, training and every part or shard holds some; joining parts does not.
"""
_PART = re.compile(r"\d+-of-\d+\.tsv$")
FOLDERS = ("prompts", "embeddings", "train", "weights", "clips", "filter", "vbench", "scores", "aggregate")
"""Folders of a results folder that its disk is counted by: what stages made, without logs, benchmarks and
reports.
"""


class Estimate(BaseModel):
    """What a run from nothing was estimated to take when it was started. seconds: of one `unit`, by stage;
    start-up of jobs is the rest.

    disk_mb: of clips, MB of 10^6 bytes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    unit: Literal["core", "GPU"]
    jobs: int
    seconds: dict[Stage, Seconds]
    disk_mb: Seconds

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())


class Measured(BaseModel):
    """What a run has taken. rows: seconds by row and stage; disk_mb: by folder of the results, row_disk_mb:
    clips of a row; MB are 10^6 bytes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    unit: Literal["core", "GPU"]
    seconds: dict[Stage, Seconds]
    rows: dict[str, dict[Stage, Seconds]]
    disk_mb: dict[str, Seconds]
    row_disk_mb: dict[str, Seconds]

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())


class StageLine(NamedTuple):
    """A stage of the cost table, in seconds; None where it was not estimated or not measured."""

    title: str
    estimated: float | None
    measured: float | None


def optional_number(text: str | None) -> float | None:
    """A number of a benchmark file; Snakemake writes NA or - where it could not measure."""
    return None if text is None or text in ("", "-", "NA") else float(text)


def measure(
    results_dir: Path, rows: tuple[str, ...], config: Mapping[str, Any], gpus: Mapping[str, int]
) -> Measured:
    """Read benchmarks/**/*.tsv and the sizes of what lies in the results folder.

    config: the suite's, for its device; gpus: of jobs that hold another number than one, by "<rule>/<row>".
    """
    unit: Literal["core", "GPU"] = "core" if config["device"] == "cpu" else "GPU"
    stages: dict[Stage, float] = {}
    by_row: dict[str, dict[Stage, float]] = {}
    for path in sorted((results_dir / "benchmarks").rglob("*.tsv")):
        rule, *rest = path.relative_to(results_dir / "benchmarks").parts
        rule = rule.removesuffix(".tsv")
        row = rest[0].split(".")[0] if rest else ""
        if rule == "report":
            continue
        if unit == "core":
            seconds = sum(_core_seconds(line) for line in _lines(path))
        elif rule == "train" or (rule in ON_GPU and _PART.search(path.name)):
            seconds = gpus.get(f"{rule}/{row}", 1) * sum(float(line["s"]) for line in _lines(path))
        else:
            continue
        stage = STAGE_OF.get(rule, "rest")
        stages[stage] = stages.get(stage, 0.0) + seconds
        if row in rows:
            own = by_row.setdefault(row, {})
            own[stage] = own.get(stage, 0.0) + seconds
    return Measured(
        unit=unit,
        seconds=stages,
        rows=by_row,
        disk_mb={name: size_mb(path) for name in FOLDERS if (path := results_dir / name).is_dir()},
        row_disk_mb={row: size_mb(path) for row in rows if (path := results_dir / "clips" / row).is_dir()},
    )


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _core_seconds(line: Mapping[str, str]) -> float:
    """CPU seconds of a job, or its wall seconds where it was too short to be measured."""
    spent = optional_number(line.get("cpu_time"))
    return float(line["s"]) if spent is None else spent


def size_mb(folder: Path) -> float:
    """Bytes of all files below a folder, links not followed, in MB of 10^6."""
    total = 0
    for where, _, names in os.walk(folder):
        total += sum(os.lstat(os.path.join(where, name)).st_size for name in names)
    return round(total / 1e6, 3)


def stage_lines(estimate: Estimate | None, measured: Measured) -> list[StageLine]:
    """The cost table: a line for each stage that was estimated or measured, then their sum."""
    lines = []
    for stage, title in STAGES.items():
        expected = None if estimate is None else estimate.seconds.get(stage)
        found = measured.seconds.get(stage)
        if expected or found:
            lines.append(StageLine(title, expected, found))
    whole = None if estimate is None else estimate.total_s
    return [*lines, StageLine("In all", whole, measured.total_s if measured.seconds else None)]


def amount(seconds: float | None, unit: str) -> str:
    """`12 core-minutes` or `70.1 GPU-hours`; a dash for nothing."""
    if seconds is None:
        return "-"
    if seconds >= 5400:
        return f"{seconds / 3600:,.1f} {unit}-hours"
    return f"{seconds / 60:.1f} {unit}-minutes"


def size(mb: float) -> str:
    """`12.3 MB` or `1.2 GB`."""
    return f"{mb / 1000:,.1f} GB" if mb >= 1000 else f"{mb:.1f} MB"


def cost_line(estimate: Estimate | None, measured: Measured) -> str | None:
    """One sentence for the notes of the main table; None if nothing was measured."""
    if not measured.seconds:
        return None
    took = amount(measured.total_s, measured.unit)
    disk = (
        f"{size(sum(measured.disk_mb.values()))} of disk, {size(measured.disk_mb.get('clips', 0.0))} of it "
        "clips"
    )
    if estimate is None:
        return f"This run took {took} and {disk}; no estimate was noted when it was started."
    return (
        f"This run took {took} and {disk}; estimated at its start: "
        f"{amount(estimate.total_s, estimate.unit)} and {size(estimate.disk_mb)} of clips."
    )
