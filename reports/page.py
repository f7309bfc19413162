"""The report: scores, curves, clips, costs and provenance -> one HTML text. Reads the files of one results folder.

The page loads nothing: style, script, pictures and clips are inside, and its Content-Security-Policy says so.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jinja2
from pydantic import BaseModel, ConfigDict, Field

from evaluation.aggregate import RANKED_KINDS
from evaluation.dimensions import BY_NAME, DIMENSIONS, NAMES, BoundsName
from evaluation.intervals import NEAR_END, SMALL
from evaluation.prompts import count_prompts, unrendered_lines
from evaluation.records import (
    Clip,
    ClipTiming,
    FilteredSet,
    Prompt,
    RowSummary,
    ScoresTable,
    read_json,
    read_jsonl,
)
from evaluation.variance import VarianceTable
from reports.clips import OVERSIZE_PROMPTS, Gallery, embed
from reports.curves import CurveGroup, HeldOut, HeldOutLine, compare_heldout, read_heldout, read_metrics
from reports.figures import (
    Picture,
    cost_figure,
    curves_figure,
    dimensions_figure,
    filter_figure,
    heldout_figure,
    totals_figure,
)
from reports.published import PublishedLine, read_published
from reports.speed import Speed, speed_of
from reports.tables import (
    LEVEL,
    TOTAL_NAMES,
    Pairs,
    ShippedLine,
    dimension_marks,
    formula,
    main_table,
    power,
    shipped_line,
)

TEMPLATES = Path(__file__).parent / "templates"
FEW_PROMPTS = 8

HONEST_LABELS: dict[BoundsName, str] = {
    "toybox": (
        "Toybox suite: procedural 32 x 32 videos of 81 frames, tiny models (about 1 M parameters), {trained}; scores come from exact checkers and classical image processing, not "
        "from VBench networks. They show that the pipeline works and how the training recipes behave in a small world. "
        "They say nothing about the published models."
    ),
    "vbench": (
        "VBench protocol: clips were sampled and scored in one run under the settings listed below. Clips last 81 frames at "
        "16 fps (5.06 s), just over the length from which VBench advises its long-video variant; as in all papers of this "
        "family, the standard suite is used. Only rows of this table may be compared with each other."
    ),
}
LIMITS: dict[BoundsName, tuple[str, ...]] = {
    "toybox": (
        "The models have about a million parameters and see a world of coloured shapes; an order found here does not carry "
        "over to the published checkpoints of the same names.",
        "Normalisation bounds are constants of this repository; a Toybox-Total is not on the scale of a VBench total.",
        "Stand-in dimensions have no exact answer in this world and are marked wherever they appear.",
    ),
    "vbench": ("Scores of other papers used other prompts, seeds or filters; they are context, not rivals.",),
}


class ReportRow(BaseModel):
    """A row as the report names it. settings: its sampling settings, nested as the config has them.

    scores: only for shipped rows that this run did not sample: raw fractions by dimension, and where they come from.
    licence, citation: of rows that others made.
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
    """Settings of the report stage. label: the suite's title; clips_budget_mb: of base64; note: a banner, or none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: str
    label: str
    bounds: BoundsName
    clips_budget_mb: Annotated[float, Field(ge=0)]
    rows: dict[str, ReportRow]
    note: str | None = None


class StageCost(NamedTuple):
    """All jobs of one rule: wall seconds in sum and of the longest, CPU seconds, largest resident memory in MiB."""

    rule: str
    jobs: int
    wall_s: float
    longest_s: float
    cpu_s: float | None
    memory_mb: float | None


class RowCost(NamedTuple):
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


class AuditLine(NamedTuple):
    """One setting over the ranked rows; differs: not all rows have the same value."""

    key: str
    values: tuple[str, ...]
    differs: bool


class SpreadLine(NamedTuple):
    """Spread of one dimension, medians over ranked rows, normalised points. seed_share: of the error that is due to seeds, 0..1.

    narrower: how much narrower intervals would be with endless seeds, 0..1. None where no prompt has two samples.
    """

    prompt_sd: float
    seed_sd: float | None
    seed_share: float | None
    narrower: float | None


class Inputs(NamedTuple):
    """Everything the page shows, read from files."""

    settings: ReportSettings
    table: ScoresTable
    prompts: list[Prompt]
    filters: list[FilteredSet]
    manifests: dict[str, list[Clip]]
    timings: dict[str, list[ClipTiming]]
    curves: dict[str, list[CurveGroup]]
    heldout: HeldOut | None
    stages: list[StageCost]
    variance: VarianceTable | None
    speed: dict[str, Speed]
    gallery: Gallery


def _optional(text: str | None) -> float | None:
    """A number of a benchmark file; Snakemake writes NA or - where it could not measure."""
    return None if text is None or text in ("", "-", "NA") else float(text)


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
        cpu = [value for line in lines if (value := _optional(line.get("cpu_time"))) is not None]
        memory = [value for line in lines if (value := _optional(line.get("max_rss"))) is not None]
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


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted keys and text values."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        elif isinstance(value, list | tuple):
            flat[f"{prefix}{key}"] = ", ".join(str(item) for item in value)
        else:
            flat[f"{prefix}{key}"] = "none" if value is None else str(value)
    return flat


def audit(settings: ReportSettings) -> list[AuditLine]:
    """The same-settings audit over ranked rows: a setting that a row does not have is a dash."""
    rows = [flatten(row.settings) for row in settings.rows.values() if row.kind in RANKED_KINDS]
    keys = list(dict.fromkeys(key for row in rows for key in row))
    values = [(key, tuple(row.get(key, "-") for row in rows)) for key in keys]
    return [AuditLine(key, found, len(set(found)) > 1) for key, found in values]


def read_inputs(scores: Path, results_dir: Path, settings: ReportSettings) -> Inputs:
    """Read and check everything. Raises ValueError or FileNotFoundError naming the file that is wrong or missing.

    Missing curves, filters, benchmarks or clips leave their section out with a sentence; manifests of rows that the
    table scores must be there.
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
    manifests = {row: read_jsonl(Clip, results_dir / "clips" / row / "manifest.jsonl") for row in scored}
    timed = {row: results_dir / "clips" / row / "timings.jsonl" for row in scored}
    metrics = {row: results_dir / "train" / row / "metrics.jsonl" for row in settings.rows}
    filtered = {row: results_dir / "filter" / f"{row}.json" for row in settings.rows}
    heldout = results_dir / "train" / "cm_grpo" / "heldout.json"
    variance = scores.with_name("variance.json")
    timings = {row: read_jsonl(ClipTiming, path) for row, path in timed.items() if path.is_file()}
    speed = {
        row: speed_of(manifests[row], found, whole=settings.rows[row].kind == "external")
        for row, found in timings.items()
        if settings.rows[row].kind in RANKED_KINDS
    }
    return Inputs(
        settings=settings,
        table=table,
        prompts=prompts,
        filters=[read_json(FilteredSet, path) for path in filtered.values() if path.is_file()],
        manifests=manifests,
        timings=timings,
        curves={row: read_metrics(path) for row, path in metrics.items() if path.is_file()},
        heldout=read_heldout(heldout) if heldout.is_file() else None,
        stages=read_stages(results_dir / "benchmarks"),
        variance=read_json(VarianceTable, variance) if variance.is_file() else None,
        speed={row: found for row, found in speed.items() if found is not None},
        gallery=embed(results_dir, prompts, manifests, round(settings.clips_budget_mb * 1e6)),
    )


def spread_lines(variance: VarianceTable | None, rows: Sequence[str]) -> dict[str, SpreadLine]:
    """Spread by dimension over the given rows."""
    lines = {}
    for name in NAMES:
        cells = [c for c in variance.cells if c.dimension == name and c.row in rows] if variance else []
        if not cells:
            continue
        seeds = [cell.seed_sd for cell in cells if cell.seed_sd is not None]
        shares = [cell.seed_share for cell in cells if cell.seed_share is not None]
        share = statistics.median(shares) if shares else None
        lines[name] = SpreadLine(
            prompt_sd=statistics.median(cell.prompt_sd for cell in cells),
            seed_sd=statistics.median(seeds) if seeds else None,
            seed_share=share,
            narrower=None if share is None else 1 - (1 - share) ** 0.5,
        )
    return lines


def warnings(inputs: Inputs) -> list[str]:
    """Sentences that a reader needs before any number: subsets, missing rows, dimensions on few prompts."""
    found = [inputs.settings.note] if inputs.settings.note else []
    table = inputs.table
    if len(table.dimensions) < len(NAMES):
        found.append(
            f"Subset run: {len(table.dimensions)} of {len(NAMES)} dimensions were asked for, so no row has a total."
        )
    short = [row.label for row in table.rows if row.incomplete and len(table.dimensions) == len(NAMES)]
    if short:
        found.append(f"Incomplete rows have no total and no rank: {', '.join(short)}.")
    counts: dict[str, int] = {}
    for row in table.rows:
        if row.kind in RANKED_KINDS:
            for name, cell in row.dimensions.items():
                counts[name] = min(counts.get(name, cell.prompts), cell.prompts)
    few = [f"{BY_NAME[name].title} ({count})" for name, count in counts.items() if count < FEW_PROMPTS]
    if few:
        found.append(
            f"Fewer than {FEW_PROMPTS} prompts, so that intervals and tests say little: {', '.join(few)}."
        )
    return found


def _trained(inputs: Inputs) -> str:
    """Which rows this run trained, for the label."""
    names = [inputs.settings.rows[row].label for row in inputs.curves]
    return (
        f"{' and '.join(names)} trained in this run within minutes"
        if names
        else "none of them trained in this run"
    )


def _ordered(table: ScoresTable) -> list[RowSummary]:
    """Rows in the order of the main table."""
    main = main_table(table)
    place = {line.row: index for index, line in enumerate([*main.ranked, *main.incomplete, *main.controls])}
    return sorted(table.rows, key=lambda row: place[row.row])


def content_policy(script: str) -> str:
    """The page's Content-Security-Policy: nothing from anywhere, our one script by its hash."""
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _inside_script(value: Any) -> str:
    """JSON that cannot end the <script> element it stands in."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")


def render(inputs: Inputs, run: Mapping[str, Any]) -> str:
    """The page. run: the record of run.json, shown as provenance. Deterministic; every text from outside is escaped."""
    settings, table = inputs.settings, inputs.table
    rows = _ordered(table)
    complete = [row for row in rows if row.total is not None]
    trained = list(inputs.curves)
    shipped: list[ShippedLine] = [
        shipped_line(name, row.label, row.scores, settings.bounds)
        for name, row in settings.rows.items()
        if row.scores is not None
    ]
    heldout: list[HeldOutLine] = compare_heldout(inputs.heldout) if inputs.heldout is not None else []
    curves: dict[str, Picture] = {
        row: curves_figure(row, settings.rows[row].label, groups)
        for row, groups in inputs.curves.items()
        if groups
    }
    ranked = [row.row for row in rows if row.kind in RANKED_KINDS]
    noises = {clip.noise for row in ranked for clip in inputs.manifests.get(row, ())}
    gallery = {
        "fps": inputs.gallery.fps,
        "rows": [{"row": row.row, "label": row.label} for row in rows],
        "prompts": [
            {
                "id": entry.prompt.id,
                "prompt": entry.prompt.prompt,
                "extended": entry.prompt.extended,
                "clips": entry.clips,
            }
            for entry in inputs.gallery.embedded
        ],
    }
    names = ["tables.js", *(["players.js"] if inputs.gallery.embedded else [])]
    compared = {
        "measures": {**{"total": TOTAL_NAMES[settings.bounds], "quality": "Quality", "semantic": "Semantic"},
                     **{dimension.name: dimension.title for dimension in DIMENSIONS}},
        "pairs": [
            [p.a, p.b, p.measure, *(round(x, 3) for x in (p.difference.mean, p.difference.low, p.difference.high)),
             float(f"{p.holm:.3g}"), p.prompts]
            for p in table.pairs
        ],
    }  # fmt: skip
    script = "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)
    published: dict[str, list[PublishedLine]] = read_published() if settings.bounds == "vbench" else {}
    fewest = {
        name: min(
            (
                row.dimensions[name].prompts
                for row in rows
                if row.kind in RANKED_KINDS and name in row.dimensions
            ),
            default=0,
        )
        for name in NAMES
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template("report.html.j2").render(
        policy=content_policy(script),
        style=(TEMPLATES / "style.css").read_text(encoding="utf-8"),
        script=script,
        settings=settings,
        table=table,
        rows=rows,
        main=main_table(table),
        pairs=Pairs(table.pairs),
        level=LEVEL,
        total_name=TOTAL_NAMES[settings.bounds],
        honest_label=HONEST_LABELS[settings.bounds].format(trained=_trained(inputs)),
        limits=LIMITS[settings.bounds],
        warnings=warnings(inputs),
        shipped=shipped,
        dimensions=DIMENSIONS,
        marks=dimension_marks(table),
        power={name: power(table, name) for name in ("total", "quality", "semantic", *NAMES)},
        spread=spread_lines(inputs.variance, ranked),
        fewest=fewest,
        small_totals=any(0 < count < SMALL for count in fewest.values()),
        compared_rows=[row for row in rows if row.kind in RANKED_KINDS and row.dimensions],
        by_name={row.row: row for row in rows},
        small=SMALL,
        near_end=NEAR_END,
        speed=inputs.speed,
        published={row.row: published[row.row] for row in rows if row.row in published},
        kinds={
            name: sorted({r.dimensions[name].kind for r in rows if name in r.dimensions}) for name in NAMES
        },
        formula=formula(settings.bounds),
        totals_figure=totals_figure(complete, trained, settings.bounds) if complete else None,
        dimensions_figure=dimensions_figure(rows, trained),
        whole_scale=any(row.kind == "control" for row in rows),
        cost_figure=cost_figure(complete, inputs.speed, trained, settings.bounds),
        filter_figure=filter_figure(inputs.filters, {name: row.label for name, row in settings.rows.items()}),
        curves=curves,
        heldout=heldout,
        heldout_record=inputs.heldout,
        heldout_figure=heldout_figure(heldout) if heldout else None,
        gallery=inputs.gallery,
        oversize_prompts=OVERSIZE_PROMPTS,
        shared_noise=len(noises) == 1 and all(noise.startswith("portable:") for noise in noises),
        gallery_json=_inside_script(gallery),
        pairs_json=_inside_script(compared),
        counts=count_prompts(inputs.prompts),
        unrendered=unrendered_lines(inputs.prompts),
        filters=inputs.filters,
        stages=inputs.stages,
        costs=row_costs(settings, inputs.timings),
        audit=audit(settings),
        audited=[row for row in settings.rows.values() if row.kind in RANKED_KINDS],
        run=run,
        run_json=json.dumps(run, indent=1, ensure_ascii=False),
    )
