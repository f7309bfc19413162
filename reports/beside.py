"""The files that stand beside a report: what each holds, and how it is made."""

from collections.abc import Callable
from typing import NamedTuple

from evaluation.records import with_checksum
from evaluation.results import chunks_frame, csv_text, pairs_frame, table_frame
from reports.exports import dimensions_latex, latex, markdown
from reports.run import Run
from reports.sections.methods import methods_bibtex, methods_latex, methods_markdown
from reports.terminal import terminal_text


class Export(NamedTuple):
    """A file beside the report."""

    name: str
    what: str
    """What the page says that it holds."""
    text: Callable[[Run], str] | None
    """Its content. None for files that another rule makes."""


EXPORTS = (
    Export(
        "run.json",
        "the whole record of this page, with a versioned schema; the page can be built again from it alone",
        lambda run: with_checksum(run.model_dump_json() + "\n"),
    ),
    Export(
        "table.csv",
        "every row and dimension, raw and normalised, with intervals",
        lambda run: csv_text(table_frame(run.table), run.table.subset),
    ),
    Export(
        "pairs.csv",
        "every two rows and metric: difference, interval, p raw and after Holm, prompts",
        lambda run: csv_text(pairs_frame(run.table), run.table.subset),
    ),
    Export("table.md", "the main table as Markdown", lambda run: markdown(run.table, run.settings.bounds)),
    Export(
        "table.tex",
        "the main table for LaTeX (booktabs), with marks, intervals and rank ranges",
        lambda run: latex(run.table, run.settings.bounds),
    ),
    Export("dimensions.tex", "all dimensions for LaTeX (booktabs)", lambda run: dimensions_latex(run.table)),
    Export("methods.md", "the methods text as Pandoc Markdown", methods_markdown),
    Export("methods.tex", "the methods text for LaTeX (natbib)", methods_latex),
    Export("verdict.txt", "verdict, first rows and cost, as the command line shows them", terminal_text),
    Export("citations.bib", "BibTeX of everything that this run used", methods_bibtex),
)
"""Files that are written with every report."""


def exports_of(run: Run) -> list[Export]:
    """All files of a run, those of other rules included."""
    exports = list(EXPORTS)
    if (chunks := run.chunks) is not None:
        what = "quality by latent chunk, every row and dimension that has it"
        exports.append(Export("chunks.csv", what, lambda _: csv_text(chunks_frame(chunks), chunks.subset)))
    complete = [row.row for row in run.table.rows if row.total is not None and row.kind != "control"]
    if run.settings.bounds == "vbench" and complete:
        what = (
            "official results for VBench's leaderboard, packed and checked by the rule leaderboard "
            f"(raven-bench leaderboard); complete rows: {', '.join(complete)}"
        )
        exports.append(Export("leaderboard/<row>.zip", what, None))
    return exports
