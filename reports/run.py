"""One results folder -> the record that its report is built from, run.json. Reads files, writes none."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from evaluation.aggregate import MODEL_KINDS, RANKED_KINDS
from evaluation.chunks import ChunkTable
from evaluation.dimensions import NAMES, BoundsName
from evaluation.files import file_sha256
from evaluation.finished_run import read_finished_run
from evaluation.long_table import LongTable
from evaluation.metrics import metrics
from evaluation.protocol_moves import ProtocolMoves
from evaluation.records import (
    UNKNOWN_NOISE,
    Clip,
    ClipTiming,
    DimensionResult,
    FilteredSet,
    Prompt,
    Record,
    RowKind,
    ScoresTable,
    TrainManifest,
    read_json,
    read_jsonl,
)
from evaluation.variance import VarianceTable
from evaluation.votes import VoteSummary, votes_of_run
from reports.clips import Gallery, PromptScore, embed, widest_prompts
from reports.cost import MeasuredCost, StageCost, measure_cost, read_stages
from reports.curves import CurveGroup, HeldOut, read_heldout, read_metrics
from reports.licences import Licence
from reports.provenance import run_record
from reports.replay import Replay, read_replay
from reports.speed import RowCost, Speed, row_cost, speed_of
from reports.starts import Start, read_starts
from reports.tables import best_first

Beside = TypeVar("Beside", VarianceTable, ChunkTable, LongTable, ProtocolMoves)


class ReportRow(Record):
    """A row as the report names it."""

    label: str
    kind: RowKind
    settings: dict[str, Any]
    """Its sampling settings, nested as the config has them."""
    scores: dict[str, float] | None = None
    """Raw fractions by dimension, of a shipped row that this run did not sample."""
    scores_source: str | None = None
    licence: str | None = None
    citation: str | None = None
    stress: str | None = None
    """Of a row whose clips are longer than what it is made for: that length, as its label says it too."""
    note: str | None = None
    """What a reader must know beside its settings."""


class AcceptedResults(Record):
    """Results of older code that a user kept (python -m workflow.scripts.accept)."""

    stage: str
    """Module of the stage's script."""
    results: int
    """How many there are."""
    changed: tuple[str, ...]
    """Files that have changed since they were made."""
    because: str
    """The user's reason."""
    accepted: str
    """When, in UTC."""
    commit: str
    """The commit that was checked out then."""


class ReportSettings(Record):
    """Settings of the report stage."""

    suite: str
    label: str
    """The suite's title."""
    bounds: BoundsName
    clips_budget_mb: Annotated[float, Field(ge=0)]
    """Of clips and posters, as base64."""
    rows: dict[str, ReportRow]
    config: dict[str, Any]
    """The suite's configuration as validated, with defaults filled in."""
    slots: dict[str, int] = Field(default={})
    """See reports.cost.measure_cost."""
    licences: list[Licence]
    """Of all that was used."""
    note: str | None = None
    """A banner on top of the page."""
    accepted: list[AcceptedResults] = Field(default=[])
    """Results of older code that this run kept."""


class Run(Record):
    """run.json: everything that the page shows, so that it can be built again and compared with another run.

    A changed meaning gets a new schema_version.
    """

    schema_version: Literal[6] = 6
    provenance: dict[str, Any]
    """Commit, packages and hashes, see reports.provenance."""
    starts: list[Start]
    """Oldest first."""
    measured: MeasuredCost
    replay: Replay | None = None
    """The last one."""
    settings: ReportSettings
    table: ScoresTable
    prompts: list[Prompt]
    filters: list[FilteredSet]
    noises: tuple[str, ...]
    """How the noise of the ranked rows' clips was drawn."""
    costs: list[RowCost]
    scores: dict[str, dict[str, dict[str, PromptScore]]]
    """By row, dimension and prompt."""
    clip_values: dict[str, dict[str, dict[str, tuple[float | None, ...]]]] = Field(default={})
    """By row, dimension and prompt: the values of its scored samples (FilteredSet.kept), None of one that the
    scorer does not count. Custom dimensions are left out. Empty of records of earlier versions.
    """
    curves: dict[str, list[CurveGroup]]
    """Training curves by row."""
    heldout: tuple[HeldOut, ...]
    """One of each row that CM-GRPO trained."""
    stages: list[StageCost]
    variance: VarianceTable | None
    chunks: ChunkTable | None = None
    long: LongTable | None = None
    """Of suites of long clips."""
    protocol_moves: ProtocolMoves | None = None
    """None of records of earlier versions."""
    speed: dict[str, Speed]
    gallery: Gallery
    votes: VoteSummary | None = None
    """What people prefer; None if no votes were given."""

    def label(self, row: str) -> str:
        """A row's label, or its name if the report does not show the row."""
        return self.settings.rows[row].label if row in self.settings.rows else row


def prompt_scores(result: DimensionResult) -> dict[str, PromptScore]:
    """A result's scores by prompt."""
    values: dict[str, list[float]] = {}
    for clip in result.clips:
        values.setdefault(clip.prompt_id, []).append(clip.value)
    return {key: PromptScore(statistics.fmean(each), len(each)) for key, each in sorted(values.items())}


def clip_values(result: DimensionResult, kept: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Run.clip_values of a result. kept: samples by prompt id."""
    values = {(clip.prompt_id, clip.sample): clip.value for clip in result.clips}
    listed = dict.fromkeys(clip.rpartition("-")[0] for clip in result.left_out)
    return {
        prompt: tuple(values.get((prompt, sample)) for sample in kept[prompt])
        for prompt in dict.fromkeys([*(prompt for prompt, _ in values), *listed])
    }


def read_timings(path: Path, clips: Sequence[Clip]) -> list[ClipTiming]:
    """What each clip of a row cost, in the order of its manifest; nothing of imported clips, which nobody
    timed. Raises ValueError naming the file if it is of other clips.
    """
    timings = read_jsonl(ClipTiming, path)
    expected = [(clip.row, clip.clip_id) for clip in clips if clip.noise != UNKNOWN_NOISE]
    if [(timing.row, timing.clip_id) for timing in timings] != expected:
        raise ValueError(f"{path} is not of the {len(expected)} clips of the row's manifest; check again.")
    return timings


def curves_of(folder: Path) -> list[CurveGroup] | None:
    """The curves of a finished training; None of a row that was not trained here. Raises ValueError naming
    the file if training has written another one.
    """
    path, record = folder / "metrics.jsonl", folder / "train.json"
    if not path.is_file():
        return None
    said = read_json(TrainManifest, record).metrics_sha256 if record.is_file() else None
    if said is not None and said != file_sha256(path):
        raise ValueError(
            f"{path} is not the file that {record} is of: it was edited or damaged since training ended; put "
            "it back, or remove it, and the report leaves the curves out."
        )
    return read_metrics(path)


def _beside(kind: type[Beside], path: Path, table: ScoresTable) -> Beside | None:
    """A table that was computed with the table of scores; None if it is not there."""
    found = read_json(kind, path) if path.is_file() else None
    if found is not None and (found.suite, found.inputs) != (table.suite, table.inputs):
        raise ValueError(f"{path} was computed from other files than the scores beside it; aggregate again.")
    return found


def read_run(
    scores: Path,
    results_dir: Path,
    settings: ReportSettings,
    root: Path,
    *,
    votes: Sequence[Path] = (),
    threads: int = 1,
) -> Run:
    """Read and check everything. Raises ValueError or FileNotFoundError naming the file that is wrong.

    All that the table was computed from must be there (evaluation/finished_run.py). Where curves, benchmarks
    or clips are missing, their section says so. root: the repository; votes: files of voters; threads: for
    posters and previews.
    """
    run = read_finished_run(results_dir, scores)
    table, prompts, manifests = run.table, run.prompts, run.manifests
    if table.suite != settings.suite:
        raise ValueError(
            f"{scores.name} is of suite {table.suite}, the report's settings of {settings.suite}; use one."
        )
    absent = [row.row for row in table.rows if row.row not in settings.rows]
    if absent:
        raise ValueError(
            f"The report's settings name no row {', '.join(absent)}, which the scores hold; add it to rows."
        )
    order = [row for row in settings.rows if row in {row.row for row in table.rows}]
    if order != [row.row for row in table.rows]:
        raise ValueError(
            f"{scores.name} has its rows in the order {', '.join(row.row for row in table.rows)}, expected "
            f"{', '.join(order)}; aggregate again."
        )
    scored = [row.row for row in table.rows if row.dimensions]
    external = {row for row, found in settings.rows.items() if found.kind == "external"}
    known = metrics(settings.bounds, table.custom)
    timed = {row: results_dir / "clips" / row / "timings.jsonl" for row in scored}
    timings = {row: read_timings(path, manifests[row]) for row, path in timed.items() if path.is_file()}
    curves = {row: curves_of(results_dir / "train" / row) for row in settings.rows}
    heldout = [results_dir / "train" / row / "heldout.json" for row in settings.rows]
    variance = _beside(VarianceTable, scores.with_name("variance.json"), table)
    chunks = _beside(ChunkTable, scores.with_name("chunks.json"), table)
    ranked = [row.row for row in table.rows if row.kind in RANKED_KINDS]
    models = {row.row for row in table.rows if row.kind in MODEL_KINDS}
    speed = {
        row: speed_of(manifests[row], timings[row], whole=row in external) for row in timings if row in models
    }
    by_prompt = {
        row: {name: prompt_scores(run.results[row][name]) for name in known if name in run.results[row]}
        for row in scored
    }
    falling = [name for name, metric in known.items() if metric.scale < 0]
    budget = round(settings.clips_budget_mb * 1e6)
    gallery = embed(
        results_dir, prompts, manifests, by_prompt, budget, less_is_better=falling,
        widest=widest_prompts(best_first(table, "total") or ranked, by_prompt, known), threads=threads,
    )  # fmt: skip
    measured = measure_cost(results_dir, tuple(settings.rows), settings.config, settings.slots)
    own_mb = 2 * (gallery.size + gallery.posters_size) / 1e6  # in report.html and in run.json
    return Run(
        provenance=run_record(
            root=root, results_dir=results_dir, scores_path=scores, run=run, timings=timings,
            config=settings.config,
        ),
        starts=read_starts(results_dir),
        replay=read_replay(results_dir),
        measured=measured.model_copy(update={"disk_mb": measured.disk_mb | {"report": round(own_mb, 3)}}),
        settings=settings,
        table=table,
        prompts=prompts,
        filters=[run.filtered[row] for row in settings.rows if row in run.filtered],
        noises=tuple(sorted({clip.noise for row in ranked for clip in manifests.get(row, ())})),
        costs=[
            row_cost(settings.rows[row].label, found, whole=row in external)
            for row, found in timings.items()
            if found
        ],
        scores=by_prompt,
        clip_values={
            row: {
                name: clip_values(result, run.filtered[row].kept)
                for name, result in run.results[row].items()
                if name in NAMES
            }
            for row in scored
        },
        curves={row: found for row, found in curves.items() if found is not None},
        heldout=tuple(read_heldout(path) for path in heldout if path.is_file()),
        stages=read_stages(results_dir),
        variance=variance,
        chunks=chunks,
        protocol_moves=_beside(ProtocolMoves, scores.with_name("protocol_moves.json"), table),
        long=_beside(LongTable, scores.with_name("long.json"), table),
        speed={row: found for row, found in speed.items() if found is not None},
        gallery=gallery,
        votes=votes_of_run(results_dir, votes) if votes else None,
    )  # fmt: skip
