"""One results folder -> the record that its report is built from, run.json. Reads files, writes none."""

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from evaluation.aggregate import RANKED_KINDS
from evaluation.chunks import ChunkTable
from evaluation.dimensions import BoundsName
from evaluation.metrics import metrics
from evaluation.records import (
    Clip,
    ClipTiming,
    DimensionResult,
    FilteredSet,
    Prompt,
    ScoresTable,
    read_json,
    read_jsonl,
)
from evaluation.variance import VarianceTable
from reports.clips import Gallery, PromptScore, embed
from reports.cost import Measured, measure, optional_number
from reports.curves import CurveGroup, HeldOut, read_heldout, read_metrics
from reports.licences import Licence
from reports.provenance import run_record
from reports.replay import Replay, read_replay
from reports.speed import Speed, speed_of
from reports.starts import Start, read_starts


class ReportRow(BaseModel):
    """A row as the report names it. settings: its sampling settings, nested as the config has them.

    scores: only for shipped rows that this run did not sample: raw fractions by dimension, and where they
    come from.
    licence, citation: as the row's file gives them; controls have none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    kind: Literal["native", "external", "import", "control", "shipped"]
    settings: dict[str, Any]
    scores: dict[str, float] | None = None
    scores_source: str | None = None
    licence: str | None = None
    citation: str | None = None


class ReportSettings(BaseModel):
    """Settings of the report stage. label: the suite's title; clips_budget_mb: of clips and posters, as
    base64; note: a banner.

    config: the suite's configuration as validated, defaults filled in; gpus: see reports.cost.measure;
    licences: of all that was used.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: str
    label: str
    bounds: BoundsName
    clips_budget_mb: Annotated[float, Field(ge=0)]
    rows: dict[str, ReportRow]
    config: dict[str, Any]
    gpus: dict[str, int] = {}
    licences: list[Licence]
    note: str | None = None


@dataclass(frozen=True, slots=True)
class StageCost:
    """All jobs of one rule: wall seconds in sum and of the longest, CPU seconds, largest resident memory in
    MiB.
    """

    rule: str
    jobs: int
    wall_s: float
    longest_s: float
    cpu_s: float | None
    memory_mb: float | None


@dataclass(frozen=True, slots=True)
class RowCost:
    """Sampling cost of one row: mean seconds per clip, network calls per clip, peak memory in MiB, devices.

    whole: another program's time, which is one number for all it did.
    """

    label: str
    whole: bool
    clips: int
    sample_s: float
    decode_s: float
    write_s: float
    network_calls: float
    peak_mb: float
    devices: tuple[str, ...]


class Run(BaseModel):
    """run.json: everything that the page shows, so that it can be built again anywhere, and compared with
    another run.

    provenance: commit, packages, hashes, see reports.provenance; starts: oldest first; measured: what the run
    cost; replay: the last one; noises: of the ranked rows' clips; scores: row -> dimension -> prompt; the
    rest as the sections of the page. A changed meaning gets a new schema_version.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: Literal[3] = 3
    provenance: dict[str, Any]
    starts: list[Start]
    measured: Measured
    replay: Replay | None = None
    settings: ReportSettings
    table: ScoresTable
    prompts: list[Prompt]
    filters: list[FilteredSet]
    noises: tuple[str, ...]
    costs: list[RowCost]
    scores: dict[str, dict[str, dict[str, PromptScore]]]
    curves: dict[str, list[CurveGroup]]
    heldout: HeldOut | None
    stages: list[StageCost]
    variance: VarianceTable | None
    chunks: ChunkTable | None = None
    speed: dict[str, Speed]
    gallery: Gallery


def prompt_scores(folder: Path, names: Sequence[str]) -> dict[str, dict[str, PromptScore]]:
    """Scores of a row by dimension and prompt, from its <dimension>.result.json files; empty where there are
    none.
    """
    found: dict[str, dict[str, PromptScore]] = {}
    for name in names:
        path = folder / f"{name}.result.json"
        if path.is_file():
            values: dict[str, list[float]] = {}
            for clip in read_json(DimensionResult, path).clips:
                values.setdefault(clip.prompt_id, []).append(clip.value)
            found[name] = {
                key: PromptScore(statistics.fmean(each), len(each)) for key, each in sorted(values.items())
            }
    return found


def read_stages(folder: Path) -> list[StageCost]:
    """Costs by rule from benchmarks/<rule>.tsv and benchmarks/<rule>/**/*.tsv, Snakemake's benchmark files.

    The report's own file is left out: it is that of an earlier report, or not there.
    """
    found: dict[str, list[dict[str, str]]] = {}
    for path in sorted(folder.rglob("*.tsv")):
        rule = path.relative_to(folder).parts[0].removesuffix(".tsv")
        if rule != "report":
            with path.open(encoding="utf-8", newline="") as file:
                found.setdefault(rule, []).extend(csv.DictReader(file, delimiter="\t"))
    stages = []
    for rule, lines in sorted(found.items()):
        walls = [float(line["s"]) for line in lines]
        cpu = [value for line in lines if (value := optional_number(line.get("cpu_time"))) is not None]
        memory = [value for line in lines if (value := optional_number(line.get("max_rss"))) is not None]
        if walls:
            spent = sum(cpu) if cpu else None
            stages.append(
                StageCost(rule, len(walls), sum(walls), max(walls), spent, max(memory, default=None))
            )
    return stages


def row_costs(settings: ReportSettings, timings: Mapping[str, Sequence[ClipTiming]]) -> list[RowCost]:
    """Sampling cost of every row that has timings, in the run's order."""
    costs = []
    for row, found in timings.items():
        n = len(found)
        if n:
            costs.append(
                RowCost(
                    label=settings.rows[row].label,
                    whole=settings.rows[row].kind == "external",
                    clips=n,
                    sample_s=sum(t.sample_s for t in found) / n,
                    decode_s=sum(t.decode_s for t in found) / n,
                    write_s=sum(t.write_s for t in found) / n,
                    network_calls=sum(t.network_calls for t in found) / n,
                    peak_mb=max(t.peak_mb for t in found),
                    devices=tuple(sorted({device_line(t) for t in found})),
                )
            )
    return costs


def device_line(timing: ClipTiming) -> str:
    """Where a clip was made; on a GPU with the attention kernel, on which its last bits depend."""
    if timing.device == "cpu" or timing.attention is None:
        return timing.device
    return f"{timing.device}, attention {timing.attention}"


def read_run(
    scores: Path, results_dir: Path, settings: ReportSettings, root: Path, *, threads: int = 1
) -> Run:
    """Read and check everything. Raises ValueError or FileNotFoundError naming the file that is wrong or
    missing.

    root: the repository, for provenance; its path and home folders are scrubbed from all that the settings
    say.
    threads: for posters and small copies of clips.
    Missing curves, filters, benchmarks or clips leave their section out with a sentence; manifests of rows
    that the table scores must be there.
    """
    table = read_json(ScoresTable, scores)
    if table.suite != settings.suite:
        raise ValueError(
            f"{scores.name} is of suite {table.suite}, the report's settings of {settings.suite}; use one."
        )
    absent = [row.row for row in table.rows if row.row not in settings.rows]
    if absent:
        raise ValueError(
            f"The report's settings name no row {', '.join(absent)}, which the scores hold; add it to rows."
        )
    prompts = read_jsonl(Prompt, results_dir / "prompts" / "prompts.jsonl")
    scored = [row.row for row in table.rows if row.dimensions]
    measured = metrics(settings.bounds, table.custom)
    manifests = {row: read_jsonl(Clip, results_dir / "clips" / row / "manifest.jsonl") for row in scored}
    timed = {row: results_dir / "clips" / row / "timings.jsonl" for row in scored}
    curves = {row: results_dir / "train" / row / "metrics.jsonl" for row in settings.rows}
    filtered = {row: results_dir / "filter" / f"{row}.json" for row in settings.rows}
    heldout = results_dir / "train" / "cm_grpo" / "heldout.json"
    variance, chunks = (scores.with_name(name) for name in ("variance.json", "chunks.json"))
    timings = {row: read_jsonl(ClipTiming, path) for row, path in timed.items() if path.is_file()}
    speed = {
        row: speed_of(manifests[row], found, whole=settings.rows[row].kind == "external")
        for row, found in timings.items()
        if settings.rows[row].kind in RANKED_KINDS
    }
    ranked = [row.row for row in table.rows if row.kind in RANKED_KINDS]
    provenance = run_record(
        root=root, results_dir=results_dir, scores_path=scores, table=table, prompts=prompts, manifests=manifests,
        timings=timings, config=settings.config,
    )  # fmt: skip
    by_prompt = {row: prompt_scores(results_dir / "scores" / row, list(measured)) for row in scored}
    falling = [name for name, described in measured.items() if described.scale < 0]
    budget = round(settings.clips_budget_mb * 1e6)
    return Run(
        provenance=provenance,
        starts=read_starts(results_dir),
        replay=read_replay(results_dir),
        measured=measure(results_dir, tuple(settings.rows), settings.config, settings.gpus),
        settings=settings,
        table=table,
        prompts=prompts,
        filters=[read_json(FilteredSet, path) for path in filtered.values() if path.is_file()],
        noises=tuple(sorted({clip.noise for row in ranked for clip in manifests.get(row, ())})),
        costs=row_costs(settings, timings),
        scores=by_prompt,
        curves={row: read_metrics(path) for row, path in curves.items() if path.is_file()},
        heldout=read_heldout(heldout) if heldout.is_file() else None,
        stages=read_stages(results_dir / "benchmarks"),
        variance=read_json(VarianceTable, variance) if variance.is_file() else None,
        chunks=read_json(ChunkTable, chunks) if chunks.is_file() else None,
        speed={row: found for row, found in speed.items() if found is not None},
        gallery=embed(
            results_dir, prompts, manifests, by_prompt, budget, less_is_better=falling, threads=threads
        ),
    )
