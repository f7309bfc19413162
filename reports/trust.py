"""What the page says about the run itself: cost, provenance, licences, methods, exports. Pure; every fact is one of the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from reports.cost import Estimate, Stage, StageLine, cost_line, stage_lines
from reports.run import Run


class RowCostLine(NamedTuple):
    """Measured cost of one row: seconds by stage, and MB of its clips, None if they are not in the results folder."""

    label: str
    seconds: dict[Stage, float]
    disk_mb: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Sections of the page that say where its numbers come from."""

    estimate: Estimate | None
    cost_line: str | None
    cost_lines: list[StageLine]
    cost_rows: list[RowCostLine]


def trust_of(run: Run) -> Trust:
    """Everything of a run's record that these sections show."""
    estimate = run.starts[-1].estimate if run.starts else None
    measured = run.measured
    return Trust(
        estimate=estimate,
        cost_line=cost_line(estimate, measured),
        cost_lines=stage_lines(estimate, measured),
        cost_rows=[
            RowCostLine(row.label, measured.rows.get(name, {}), measured.row_disk_mb.get(name))
            for name, row in run.settings.rows.items()
            if name in measured.rows or name in measured.row_disk_mb
        ],
    )
