"""What a terminal shows of a finished run: its verdict, the first rows of the main table, what it cost."""

from evaluation.records import Interval
from reports.run import Run
from reports.sections.cost import cost_line, estimate_of
from reports.tables import TOTAL_NAMES, MainLine, MainTable, main_table
from reports.words import and_joined

TOP_ROWS = 5


def lead_sentence(main: MainTable, total_name: str) -> str:
    """Who leads, as far as the paired tests say."""
    if not main.ranked:
        return "No row has a total, so that none leads."
    best = main.ranked[0].summary
    if len(main.ranked) == 1:
        return f"{best.label} alone has a {total_name}, so that it is above none."
    if main.ranked[0].mark == "best" and best.total is not None:
        total = best.total
        return (
            f"{best.label} is above every other ranked row: {total_name} {total.mean:.2f}, 95 % interval "
            f"{total.low:z.1f} to {total.high:z.1f}."
        )
    lead = [line.summary.label for line in main.ranked if line.rank is not None and line.rank.first == 1]
    if len(lead) > 1:
        return f"No row is above all others: {and_joined(lead)} can each be the first on {total_name}."
    return (
        f"No row is above all others: {best.label} has the highest {total_name}, but the tests do not part "
        "it from every other row."
    )


def terminal_text(run: Run) -> str:
    """A few lines of plain text."""
    main, total_name = main_table(run.table), TOTAL_NAMES[run.settings.bounds]
    shown = main.ranked[:TOP_ROWS]
    width = max((len(line.summary.label) for line in shown), default=0)
    more = len(main.ranked) - len(shown)
    lines = [
        run.table.subset,
        lead_sentence(main, total_name),
        *(_row(line, width) for line in shown),
        f"  and {more} more, {len(main.controls)} controls beside them" if more > 0 else None,
        cost_line(estimate_of(run), run.measured),
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _row(line: MainLine, width: int) -> str:
    assert line.summary.total is not None, "a ranked row has a total"
    return f"  rank {line.rank!s:8} {line.summary.label:{width}}  {_interval(line.summary.total)}"


def _interval(found: Interval) -> str:
    return f"{found.mean:.2f} [{found.low:z.1f}, {found.high:z.1f}]"
