"""What a run cost, measured, beside what was estimated at its start: job time by stage and row, and disk.

Time is that of one job slot, a core or a GPU, as in the estimate: wall seconds of a job times the slots that
it held. Snakemake's benchmark files have processor time too, but as seen up to half a minute before a job's
end, which leaves out most of many a job. Disk is in MB of 10^6 bytes.
"""

import csv
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from evaluation.records import Record

Seconds = Annotated[float, Field(ge=0)]
Stage = Literal["train", "sample", "score", "rest"]
COST_STAGES: dict[Stage, str] = {
    "train": "Training",
    "sample": "Sampling",
    "score": "Static filter and scoring",
    "rest": "All else",
}
"""Stages of the cost table, in its order, as it calls them."""
STAGE_OF: dict[str, Stage] = {
    "train": "train",
    "score_heldout": "train",
    "sample": "sample",
    "render": "sample",
    "external": "sample",
    "external_contract": "sample",
    "filter": "score",
    "cut_pieces": "score",
    "between_pieces": "score",
    "score": "score",
}
"""Folders of benchmark files, which bear the names of rules, by stage. All others are the rest."""
ON_GPU = ("train", "sample", "external", "filter", "score")
"""Rules whose parts and shards hold GPUs where a suite runs on some. Joining parts holds none, but a core."""
WHOLE_ON_GPU = ("train", "score_heldout", "between_pieces")
"""Jobs of one row that hold GPUs."""
UNMEASURED = (None, "", "-", "NA")
LOOSE_FILES = "files beside these"
WRITTEN_LAST = (
    "report.html", "run.json", "table.csv", "pairs.csv", "chunks.csv", "table.md", "table.tex",
    "dimensions.tex", "methods.md", "methods.tex", "verdict.txt", "citations.bib",
)  # fmt: skip
"""By the report, which cannot know their sizes: what an earlier one left is not counted."""
_PART = re.compile(r"\d+-of-\d+\.tsv$")


class CostEstimate(Record):
    """What a run from nothing was estimated to take at its start, each stage with its jobs' start-up."""

    unit: Literal["core", "GPU"]
    jobs: int
    seconds: dict[Stage, Seconds]
    disk_mb: Seconds
    """Of clips alone."""

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())


class MeasuredCost(Record):
    """What a run has taken."""

    unit: Literal["core", "GPU"]
    seconds: dict[Stage, Seconds]
    rows: dict[str, dict[Stage, Seconds]]
    """Seconds by row and stage."""
    disk_mb: dict[str, Seconds]
    """By folder of the results, of LOOSE_FILES, and of the report that is written last about what it holds of
    clips.
    """
    row_disk_mb: dict[str, Seconds]
    """Clips of a row."""

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())


@dataclass(frozen=True, slots=True)
class StageCost:
    """All jobs of one rule. memory_mb: largest resident, MiB; None if no job was long enough to be seen."""

    rule: str
    jobs: int
    wall_s: float
    longest_s: float
    memory_mb: float | None


class _Benchmark(NamedTuple):
    """A benchmark file of Snakemake's: benchmarks/<rule>.tsv or benchmarks/<rule>/<row>/*.tsv."""

    path: Path
    rule: str
    row: str
    lines: list[dict[str, str]]

    @property
    def wall_s(self) -> list[float]:
        return [self._number(line.get("s")) for line in self.lines]

    @property
    def memory_mb(self) -> list[float]:
        """Without jobs that were too short to be measured, for which Snakemake writes NA or -."""
        texts = (line.get("max_rss") for line in self.lines)
        return [self._number(text) for text in texts if text not in UNMEASURED]

    def _number(self, text: str | None) -> float:
        if text is None or not re.fullmatch(r"[0-9]+(\.[0-9]+)?(e[-+]?[0-9]{1,2})?", text):
            raise ValueError(
                f"{self.path} has {text!r} where Snakemake writes a number: it was damaged; delete it, and "
                "the cost of its jobs is left out."
            )
        return float(text)


def _benchmarks(results_dir: Path) -> Iterator[_Benchmark]:
    """All but the report's own, which is that of an earlier report, or not there."""
    folder = results_dir / "benchmarks"
    for path in sorted(folder.rglob("*.tsv")):
        rule, *rest = path.relative_to(folder).parts
        rule = rule.removesuffix(".tsv")
        if rule != "report":
            with path.open(encoding="utf-8", newline="") as file:
                lines = list(csv.DictReader(file, delimiter="\t"))
            yield _Benchmark(path, rule, rest[0].split(".")[0] if rest else "", lines)


def read_stages(results_dir: Path) -> list[StageCost]:
    """Costs by rule, from the benchmark files."""
    found: dict[str, list[_Benchmark]] = {}
    for benchmark in _benchmarks(results_dir):
        found.setdefault(benchmark.rule, []).append(benchmark)
    stages = []
    for rule, files in sorted(found.items()):
        walls = [seconds for file in files for seconds in file.wall_s]
        memory = [most for file in files for most in file.memory_mb]
        if walls:
            stages.append(StageCost(rule, len(walls), sum(walls), max(walls), max(memory, default=None)))
    return stages


def measure_cost(
    results_dir: Path, rows: tuple[str, ...], config: Mapping[str, Any], slots: Mapping[str, int]
) -> MeasuredCost:
    """Sum the benchmark files and the sizes of what lies in the results folder.

    config: the suite's, for its device. slots: cores or GPUs of jobs that hold another number than one, by
    "<rule>/<row>", or "<rule>" for every row.
    """
    unit: Literal["core", "GPU"] = "core" if config["device"] == "cpu" else "GPU"
    stages: dict[Stage, float] = {}
    by_row: dict[str, dict[Stage, float]] = {}
    for file in _benchmarks(results_dir):
        if file.rule in WHOLE_ON_GPU or (file.rule in ON_GPU and _PART.search(file.path.name)):
            held = slots.get(f"{file.rule}/{file.row}", slots.get(file.rule, 1))
        elif unit == "core":
            held = 1
        else:
            continue
        seconds = held * sum(file.wall_s)
        stage = STAGE_OF.get(file.rule, "rest")
        for sums in (stages, *([by_row.setdefault(file.row, {})] if file.row in rows else [])):
            sums[stage] = sums.get(stage, 0.0) + seconds
    return MeasuredCost(
        unit=unit,
        seconds=stages,
        rows=by_row,
        disk_mb=_disk_mb(results_dir),
        row_disk_mb={row: size_mb(path) for row in rows if (path := results_dir / "clips" / row).is_dir()},
    )


def _disk_mb(results_dir: Path) -> dict[str, float]:
    """Sizes by folder, and of the files beside the folders."""
    entries = sorted(results_dir.iterdir())
    files = [path for path in entries if not path.is_dir() and path.name not in WRITTEN_LAST]
    found = {path.name: size_mb(path) for path in entries if path.is_dir()}
    return found | {LOOSE_FILES: round(sum(path.lstat().st_size for path in files) / 1e6, 3)}


def size_mb(folder: Path) -> float:
    """Size of all files below a folder, links not followed."""
    total = 0
    for where, _, names in os.walk(folder):
        total += sum(os.lstat(os.path.join(where, name)).st_size for name in names)
    return round(total / 1e6, 3)


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
