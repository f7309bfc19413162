"""The report: the record of a run -> one HTML text. Pure, but for reading its own templates.

The page loads nothing: style, script, pictures and clips are inside, and its Content-Security-Policy says so.
"""

import base64
import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from evaluation.aggregate import RANKED_KINDS
from evaluation.dimensions import NAMES, BoundsName
from evaluation.intervals import NEAR_END, SMALL
from evaluation.metrics import metrics
from evaluation.prompts import count_prompts, unrendered_lines
from evaluation.records import (
    RowSummary,
    ScoresTable,
)
from evaluation.variance import VarianceTable
from reports.clips import OVERSIZE_PROMPTS, WORST
from reports.cost import amount, size
from reports.curves import HeldOutLine, compare_heldout
from reports.drawing import Picture
from reports.figures import (
    cost_figure,
    curves_figure,
    dimensions_figure,
    filter_figure,
    heldout_figure,
    paired_figure,
    totals_figure,
)
from reports.published import PublishedLine, read_published
from reports.replay import MEANING
from reports.report_facts import trust_of
from reports.run import ReportSettings, Run
from reports.sections.dimensions import left_out_reasons
from reports.sections.over_time import over_time
from reports.sections.watch import browser_blocks, browser_index
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
        "Toybox suite: procedural 32 x 32 videos of 81 frames, tiny models (about 1 M parameters), "
        "{trained}; scores come from exact checkers and classical image processing, not from VBench "
        "networks. They show that the pipeline works and how the training recipes behave in a small world. "
        "They say nothing about the published models."
    ),
    "vbench": (
        "VBench protocol: clips were sampled and scored in one run under the settings listed below. Clips "
        "last 81 frames at 16 fps (5.06 s), just over the length from which VBench advises its long-video "
        "variant; as in all papers of this family, the standard suite is used. Only rows of this table may "
        "be compared with each other."
    ),
}
LIMITS: dict[BoundsName, tuple[str, ...]] = {
    "toybox": (
        "The models have about a million parameters and see a world of coloured shapes; an order found "
        "here does not carry over to the published checkpoints of the same names.",
        "Normalisation bounds are constants of this repository; a Toybox-Total is not on the scale of a "
        "VBench total.",
        "Stand-in dimensions have no exact answer in this world and are marked wherever they appear.",
    ),
    "vbench": ("Scores of other papers used other prompts, seeds or filters; they are context, not rivals.",),
}


class AuditLine(NamedTuple):
    """One setting over the ranked rows; differs: not all rows have the same value."""

    key: str
    values: tuple[str, ...]
    differs: bool


class SpreadLine(NamedTuple):
    """Spread of one dimension, medians over ranked rows, normalised points. seed_share: of the error that is
    due to seeds, 0..1.

    narrower: how much narrower intervals would be with endless seeds, 0..1. None where no prompt has two
    samples.
    """

    prompt_sd: float
    seed_sd: float | None
    seed_share: float | None
    narrower: float | None


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


def spread_lines(variance: VarianceTable | None, rows: Sequence[str]) -> dict[str, SpreadLine]:
    """Spread by dimension over the given rows."""
    lines = {}
    for name in dict.fromkeys(cell.dimension for cell in variance.cells) if variance else ():
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


def warnings(run: Run) -> list[str]:
    """Sentences that a reader needs before any number: subsets, missing rows, dimensions on few prompts."""
    found = [sentence for sentence in (run.table.subset, run.settings.note) if sentence]
    table, known = run.table, metrics(run.settings.bounds, run.table.custom)
    if len(table.dimensions) < len(NAMES) and table.subset is None:
        found.append(
            f"Subset run: {len(table.dimensions)} of {len(NAMES)} dimensions were asked for, so no row has "
            "a total."
        )
    whole = len(table.dimensions) == len(NAMES) and table.subset is None
    short = [row.label for row in table.rows if row.incomplete and whole]
    if short:
        found.append(f"Incomplete rows have no total and no rank: {', '.join(short)}.")
    counts: dict[str, int] = {}
    for row in table.rows:
        if row.kind in RANKED_KINDS:
            for name, cell in row.dimensions.items():
                counts[name] = min(counts.get(name, cell.prompts), cell.prompts)
    few = [f"{known[name].title} ({count})" for name, count in counts.items() if count < FEW_PROMPTS]
    if few:
        found.append(
            f"Fewer than {FEW_PROMPTS} prompts, so that intervals and tests say little: {', '.join(few)}."
        )
    return found


def _trained(run: Run) -> str:
    """Which rows this run trained, for the label."""
    names = [run.settings.rows[row].label for row in run.curves]
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
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "media-src data:; base-uri 'none'; form-action 'none'"
    )


def beside_clips(page: str) -> str:
    """The page for a results folder: it also plays clips/<row>/mp4/<clip>.mp4 below its own folder, and loads
    nothing else.

    page: as `render` makes it. file: is there because 'self' means nothing to some browsers when a page is
    opened as a file.
    """
    strict, html = "media-src data:;", '<html lang="en">'
    assert strict in page, "the page has no policy to change"
    assert html in page, "the page has no root element to change"
    page = page.replace(html, '<html lang="en" data-clips="clips">', 1)
    return page.replace(strict, "media-src data: 'self' file:;", 1)


def _inside_script(value: Any) -> str:
    """JSON that cannot end the <script> element it stands in."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")


def render(run: Run) -> str:
    """The page of a run. Deterministic; every text from outside is escaped."""
    settings, table = run.settings, run.table
    rows, known = _ordered(table), metrics(settings.bounds, table.custom)
    complete = [row for row in rows if row.total is not None]
    trained = list(run.curves)
    shipped: list[ShippedLine] = [
        shipped_line(name, row.label, row.scores, settings.bounds)
        for name, row in settings.rows.items()
        if row.scores is not None
    ]
    heldout: list[HeldOutLine] = compare_heldout(run.heldout) if run.heldout is not None else []
    curves: dict[str, Picture] = {
        row: curves_figure(row, settings.rows[row].label, groups)
        for row, groups in run.curves.items()
        if groups
    }
    ranked = [row.row for row in rows if row.kind in RANKED_KINDS]
    clips = browser_index(run.prompts, rows, known, run.gallery, run.scores)
    names = [
        "page.js",
        "tables.js",
        "copy.js",
        *(["clips.js", "players.js", "browse.js"] if run.gallery.clips or clips["scores"] else []),
    ]
    compared = {
        "measures": {**{"total": TOTAL_NAMES[settings.bounds], "quality": "Quality", "semantic": "Semantic"},
                     **{name: measure.title for name, measure in known.items()}},
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
        for name in known
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
        honest_label=HONEST_LABELS[settings.bounds].format(trained=_trained(run)),
        limits=LIMITS[settings.bounds],
        warnings=warnings(run),
        shipped=shipped,
        dimensions=list(known.values()),
        reasons=left_out_reasons(settings.bounds, table.dimensions, settings.config, table.subset),
        marks=dimension_marks(table),
        power={name: power(table, name) for name in ("total", "quality", "semantic", *known)},
        spread=spread_lines(run.variance, ranked),
        over_time=over_time(run.chunks, rows, known, run.gallery.fps),
        fewest=fewest,
        small_totals=any(0 < count < SMALL for count in fewest.values()),
        compared_rows=[row for row in rows if row.kind in RANKED_KINDS and row.dimensions],
        by_name={row.row: row for row in rows},
        small=SMALL,
        near_end=NEAR_END,
        speed=run.speed,
        published={row.row: published[row.row] for row in rows if row.row in published},
        kinds={
            name: sorted({r.dimensions[name].kind for r in rows if name in r.dimensions}) for name in known
        },
        formula=formula(settings.bounds),
        totals_figure=totals_figure(complete, trained, settings.bounds) if complete else None,
        paired_figure=paired_figure(main_table(table), Pairs(table.pairs), trained, settings.bounds),
        dimensions_figure=dimensions_figure(rows, trained, list(known.values())),
        whole_scale=any(row.kind == "control" for row in rows),
        cost_figure=cost_figure(complete, run.speed, trained, settings.bounds),
        filter_figure=filter_figure(run.filters, {name: row.label for name, row in settings.rows.items()}),
        curves=curves,
        heldout=heldout,
        heldout_record=run.heldout,
        heldout_figure=heldout_figure(heldout) if heldout else None,
        gallery=run.gallery,
        oversize_prompts=OVERSIZE_PROMPTS,
        worst=WORST,
        clip_rows=[row for row in rows if run.scores.get(row.row)],
        clip_counts={name: len(found["prompts"]) for name, found in clips["scores"].items()},
        shared_noise=len(run.noises) == 1 and run.noises[0].startswith("portable:"),
        clips_json=_inside_script(clips),
        clip_blocks=[(n, _inside_script(block)) for n, block in browser_blocks(run.prompts, run.gallery)],
        pairs_json=_inside_script(compared),
        counts=count_prompts(run.prompts),
        unrendered=unrendered_lines(run.prompts),
        filters=run.filters,
        stages=run.stages,
        costs=run.costs,
        audit=audit(settings),
        audited=[row for row in settings.rows.values() if row.kind in RANKED_KINDS],
        run=run.provenance,
        trust=trust_of(run),
        run_cost=run.measured,
        amount=amount,
        size=size,
        starts=run.starts,
        replayed=run.replay,
        replay_meaning=MEANING,
        noises=run.noises,
        config_json=json.dumps(settings.config, indent=1, ensure_ascii=False),
        provenance_json=json.dumps(run.provenance, indent=1, ensure_ascii=False),
    )
