"""What the page says about the run itself: cost, methods, licences, comparability, exports. Pure; every fact
is one of the record.
"""

from dataclasses import dataclass
from typing import NamedTuple

from reports.citations import bibtex
from reports.cost import Estimate, Stage, StageLine, cost_line, stage_lines
from reports.licences import TITLES, Licence
from reports.replay import ReplayedRow
from reports.run import Run
from reports.sections.limits import not_comparable
from reports.sections.methods import (
    Paragraph,
    methods,
    methods_keys,
    methods_latex,
    methods_markdown,
    own_citations,
)


class RowCostLine(NamedTuple):
    """Measured cost of one row: seconds by stage, and MB of its clips, None if they are not in the results
    folder.
    """

    label: str
    seconds: dict[Stage, float]
    disk_mb: float | None


class ReplayLine(NamedTuple):
    """What a replay found of one row. stale: the row's clips were made again since."""

    label: str
    found: ReplayedRow
    stale: bool


class Export(NamedTuple):
    """A file beside the report, and what it holds."""

    name: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Sections of the page that say where its numbers come from, and the texts of the files beside it."""

    estimate: Estimate | None
    cost_line: str | None
    cost_lines: list[StageLine]
    cost_rows: list[RowCostLine]
    methods: list[Paragraph]
    methods_markdown: str
    methods_latex: str
    bibtex: str
    licences: dict[str, list[Licence]]
    not_comparable: list[str]
    exports: list[Export]
    replay: list[ReplayLine]


EXPORTS = (
    Export(
        "run.json",
        "the whole record of this page, with a versioned schema; the page can be built again from it alone",
    ),
    Export("table.csv", "every row and dimension, raw and normalised, with intervals"),
    Export("pairs.csv", "every two rows and measure: difference, interval, p raw and after Holm, prompts"),
    Export("table.md", "the main table as Markdown"),
    Export("table.tex", "the main table for LaTeX (booktabs), with marks, intervals and tie groups"),
    Export("dimensions.tex", "all dimensions for LaTeX (booktabs)"),
    Export("methods.md", "the methods text as Pandoc Markdown"),
    Export("methods.tex", "the methods text for LaTeX (natbib)"),
    Export("citations.bib", "BibTeX of everything that this run used"),
)
"""Files that are written with every report."""
CHUNKS = Export("chunks.csv", "quality by latent chunk, every row and dimension that has it")


def trust_of(run: Run) -> Trust:
    """Everything of a run's record that these sections show."""
    estimate = run.starts[-1].estimate if run.starts else None
    measured, text = run.measured, methods(run)
    by_part: dict[str, list[Licence]] = {}
    for part, title in TITLES.items():
        if found := [line for line in run.settings.licences if line.part == part]:
            by_part[title] = found
    return Trust(
        estimate=estimate,
        cost_line=cost_line(estimate, measured),
        cost_lines=stage_lines(estimate, measured),
        cost_rows=[
            RowCostLine(row.label, measured.rows.get(name, {}), measured.row_disk_mb.get(name))
            for name, row in run.settings.rows.items()
            if name in measured.rows or name in measured.row_disk_mb
        ],
        methods=text,
        methods_markdown=methods_markdown(text),
        methods_latex=methods_latex(text),
        bibtex=bibtex(methods_keys(text), own_citations(run)),
        licences=by_part,
        not_comparable=not_comparable(run, published=run.settings.bounds == "vbench"),
        replay=[
            ReplayLine(
                run.settings.rows[row.row].label if row.row in run.settings.rows else row.row,
                row,
                run.provenance["clips"].get(row.row, {}).get("manifest_sha256") != row.manifest_sha256,
            )
            for row in (run.replay.rows if run.replay is not None else ())
        ],
        exports=[*EXPORTS, *([CHUNKS] if run.chunks is not None else []), *_leaderboard(run)],
    )


def _leaderboard(run: Run) -> list[Export]:
    """The leaderboard's zips, which a rule of their own packs from official scores of complete rows."""
    complete = [row.row for row in run.table.rows if row.total is not None and row.kind != "control"]
    if run.settings.bounds != "vbench" or not complete:
        return []
    names = ", ".join(complete)
    return [
        Export(
            "leaderboard/<row>.zip",
            "official results for VBench's leaderboard, packed and checked by the rule leaderboard "
            f"(snakemake leaderboard); complete rows: {names}",
        )
    ]
