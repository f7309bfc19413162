"""A finished run as the sections of its page look at it."""

from dataclasses import dataclass

from evaluation.aggregate import RANKED_KINDS
from evaluation.metrics import Metric, metrics
from evaluation.records import RowSummary
from reports.run import Run
from reports.tables import TOTAL_NAMES, MainTable, Pairs, ShippedLine, main_table, shipped_line


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A run, and what several sections make of its tables."""

    run: Run
    known: dict[str, Metric]
    """The dimensions by name, the user's own behind the sixteen."""
    main: MainTable
    pairs: Pairs
    rows: list[RowSummary]
    """In the order of the main table."""
    ranked: list[RowSummary]
    """Those of `rows` that are compared, controls left out."""
    shipped: list[ShippedLine]
    total_name: str

    @property
    def controls(self) -> list[RowSummary]:
        return [row for row in self.rows if row.kind == "control"]


def view_of(run: Run) -> View:
    """Make the tables of a run."""
    settings, table = run.settings, run.table
    main = main_table(table)
    rows = [line.summary for line in main.lines]
    known = metrics(settings.bounds, table.custom)
    return View(
        run=run,
        known=known,
        main=main,
        pairs=Pairs(table.pairs),
        rows=rows,
        ranked=[row for row in rows if row.kind in RANKED_KINDS],
        shipped=[
            shipped_line(name, row.label, row.scores, known)
            for name, row in settings.rows.items()
            if row.scores is not None
        ],
        total_name=TOTAL_NAMES[settings.bounds],
    )
