"""The main table, published totals beside it, and the figure of totals."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from evaluation.aggregate import TOTALS
from evaluation.intervals import LEVEL
from evaluation.protocol import protocol_tag
from evaluation.records import RowSummary
from evaluation.words import numbered
from reports.drawing import SvgFigure, forest, row_dot
from reports.published import PublishedLine, read_published
from reports.run import Run
from reports.sections.cost import cost_line, estimate_of
from reports.speed import Speed
from reports.tables import distilled, metric_marks, metric_value
from reports.view import View


class SpeedColumn(NamedTuple):
    """One number of a row's speed in the main table."""

    name: str
    title: str
    digits: int
    less_is_better: bool
    value: Callable[[Speed], float | None]


def _on_gpu(value: Callable[[Speed], float | None]) -> Callable[[Speed], float | None]:
    return lambda speed: value(speed) if speed.on_gpu else None


CALLS = SpeedColumn(
    "calls", "Network calls", 0, True, lambda speed: None if speed.whole else speed.network_calls
)
GPU_COLUMNS = (
    SpeedColumn("fps", "FPS, network only", 1, False, _on_gpu(lambda speed: speed.fps)),
    SpeedColumn("fps_decoded", "FPS with decoder", 1, False, _on_gpu(lambda speed: speed.fps_decoded)),
    SpeedColumn("first", "First chunk, s", 2, True, _on_gpu(lambda speed: speed.first_chunk_s)),
    SpeedColumn("memory", "Peak GPU memory, GiB", 1, True, _on_gpu(lambda speed: speed.peak_mb / 1024)),
    CALLS,
)  # fmt: skip
CPU_COLUMNS = (CALLS, SpeedColumn("cpu", "Processor s per clip", 2, True, lambda speed: speed.cpu_s))


def _most_others(run: Run) -> str:
    """`up to 7 other jobs of this program`."""
    most = max((cost.most_jobs for cost in run.costs), default=0)
    return f"up to {numbered(most, 'other job')} of this program" if most else "not of this program"


def totals_figures(rows: Sequence[RowSummary], trained: Sequence[str], total_name: str) -> list[SvgFigure]:
    """Total, Quality and Semantic with 95 % intervals, each on the scale of its models. trained: rows in the
    accent colour.
    """
    titles = dict(zip(TOTALS, (total_name, "Quality", "Semantic"), strict=True))
    return [
        forest(
            f"totals-{name}", title, rows, [row_dot(row, metric_value(row, name), trained) for row in rows]
        )
        for name, title in titles.items()
    ]


def _speed_columns(run: Run) -> tuple[SpeedColumn, ...]:
    """GPU columns if any row ran on one; what does not depend on the machine's load on CPUs."""
    if not run.speed:
        return ()
    return GPU_COLUMNS if any(found.on_gpu for found in run.speed.values()) else CPU_COLUMNS


def scores_section(view: View) -> dict[str, Any]:
    """What scores.html.j2 shows."""
    run = view.run
    complete = [row for row in view.rows if row.total is not None]
    tags = {row.row: protocol_tag(row.protocol) for row in view.ranked if row.protocol is not None}
    published: dict[str, list[PublishedLine]] = {}
    if run.settings.bounds == "vbench" and run.long is None:  # totals of five seconds
        published = read_published().totals
    return {
        "main": view.main,
        "distilled": distilled(view.main, view.pairs),
        "tags": tags,
        "moves_shown": run.protocol_moves is not None,
        "one_protocol": next(iter(tags.values())) if len({*tags.values()}) == 1 else None,
        "protocols": {row.row: row.protocol for row in view.rows},
        "shipped": view.shipped,
        "dimensions": list(view.known.values()),
        "level": LEVEL,
        "marks": metric_marks(run.table),
        "published": {row.row: published[row.row] for row in view.rows if row.row in published},
        "speed": run.speed,
        "on_gpu": any(found.on_gpu for found in run.speed.values()),
        "alone": all(found.alone for found in run.speed.values()),
        "most_others": _most_others(run),
        "speed_columns": _speed_columns(run),
        "cost_line": cost_line(estimate_of(run), run.measured),
        "totals_figures": totals_figures(complete, list(run.curves), view.total_name) if complete else [],
    }
