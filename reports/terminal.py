"""What a terminal shows of a finished run: its verdict, what its controls warn of, the first rows of the main
table, what it cost.
"""

from evaluation.words import numbered
from reports.run import Run
from reports.sections.cost import cost_line, estimate_of
from reports.sections.header import warning
from reports.tables import MainLine, suite_kind
from reports.verdict import points_text, verdict_of
from reports.view import view_of
from reports.words import p_text

TOP_ROWS = 5


def terminal_text(run: Run) -> str:
    """A few lines of plain text."""
    view = view_of(run)
    main, warned = view.main, warning(view)
    shown = main.ranked[:TOP_ROWS]
    width = max((len(line.summary.label) for line in shown), default=0)
    more = len(main.ranked) - len(shown)
    lines = [
        f"Suite {run.settings.suite}, {suite_kind(run.table)}.",
        run.table.subset,
        *verdict_of(run.table).sentences,
        warned and f"Warning from the controls: {warned}.",
        *(_row(line, width) for line in shown),
        f"  and {more} more, {numbered(len(main.controls), 'control')} beside them" if more > 0 else None,
        cost_line(estimate_of(run), run.measured),
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _row(line: MainLine, width: int) -> str:
    assert line.summary.total is not None, "a ranked row has a total"
    gap = "" if line.versus is None else f"  {points_text(line.versus)}, {p_text(line.p_value or 0.0)}"
    return f"  rank {line.rank!s:8} {line.summary.label:{width}}  {line.summary.total.mean:.2f}{gap}"
