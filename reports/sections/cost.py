"""Time and memory: what the run cost beside what was estimated, sampling by row, jobs by rule."""

from typing import Any, NamedTuple

from evaluation.records import MOST_OTHERS
from reports.cost import COST_STAGES, CostEstimate, MeasuredCost, Stage, amount, size
from reports.drawing import MUTED, SvgFigure, panel_grid, plot_names, row_colour, styled, to_svg
from reports.run import Run
from reports.view import View


class StageLine(NamedTuple):
    """A stage of the cost table, in seconds; None where it was not estimated or not measured."""

    title: str
    estimated: float | None
    measured: float | None


class RowCostLine(NamedTuple):
    """Measured cost of one row."""

    label: str
    seconds: dict[Stage, float]
    disk_mb: float | None
    """Of its clips, None if they are not in the results folder."""


def estimate_of(run: Run) -> CostEstimate | None:
    """What the last start expected."""
    return run.starts[-1].estimate if run.starts else None


def stage_lines(estimate: CostEstimate | None, measured: MeasuredCost) -> list[StageLine]:
    """The cost table: a line for each stage that was estimated or measured, then their sum."""
    expected = {} if estimate is None else estimate.seconds
    lines = [
        StageLine(title, expected.get(stage), measured.seconds.get(stage))
        for stage, title in COST_STAGES.items()
        if expected.get(stage) or measured.seconds.get(stage)
    ]
    whole = None if estimate is None else estimate.total_s
    return [*lines, StageLine("In all", whole, measured.total_s if measured.seconds else None)]


def cost_line(estimate: CostEstimate | None, measured: MeasuredCost) -> str | None:
    """One sentence for the notes of the main table; None if nothing was measured."""
    if not measured.seconds:
        return None
    took = amount(measured.total_s, measured.unit)
    clips = size(measured.disk_mb.get("clips", 0.0))
    disk = f"{size(sum(measured.disk_mb.values()))} of disk, {clips} of it clips"
    if estimate is None:
        return f"This run took {took} and {disk}; no estimate was noted when it was started."
    return (
        f"This run took {took} and {disk}; estimated at its start: "
        f"{amount(estimate.total_s, estimate.unit)} and {size(estimate.disk_mb)} of clips."
    )


@styled
def cost_figure(view: View) -> SvgFigure | None:
    """Total with its interval against seconds per clip. None if fewer than two rows have both, if any row was
    timed beside other work on a CPU, or not all on the same device.
    """
    points = [
        (row, row.total, found.clip_s)
        for row in view.rows
        if row.total is not None and (found := view.run.speed.get(row.row)) and found.clip_s is not None
    ]
    if len(points) < 2 or not all(found.timed for found in view.run.speed.values()) or _device(view) is None:
        return None
    figure, (axes,) = panel_grid(1, 1, (8.0, 4.2))
    points = sorted(points, key=lambda point: -point[1].mean)
    names = plot_names([row.label for row, *_ in points])
    for number, (name, (row, total, seconds)) in enumerate(zip(names, points, strict=True), 1):
        colour = row_colour(row, list(view.run.curves))
        axes.plot([seconds, seconds], [total.low, total.high], color=colour, linewidth=1.6)
        axes.plot(seconds, total.mean, "o", markersize=5, markeredgecolor=colour, markerfacecolor=colour)
        axes.annotate(
            str(number), (seconds, total.mean), xytext=(6, -3), textcoords="offset points", fontsize=8.5
        )
        axes.plot([], [], " ", label=f"{number}  {name}")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=0, handletextpad=0)
    spent = [seconds for *_, seconds in points]
    axes.set_xlim(max(0.0, 0.9 * min(spent)), 1.08 * max(spent))
    axes.set_xlabel("seconds per clip, network and VAE", color=MUTED)
    axes.set_ylabel(view.total_name, color=MUTED)
    title = "Total with 95 percent interval against seconds per clip"
    return to_svg(figure, "cost", title, "numbers in the table")


def _device(view: View) -> str | None:
    """The one device that all models ran on."""
    devices = {device for found in view.run.speed.values() for device in found.devices}
    return devices.pop() if len(devices) == 1 else None


def cost_section(view: View) -> dict[str, Any]:
    """What cost.html.j2 shows."""
    run, measured = view.run, view.run.measured
    estimate = estimate_of(run)
    return {
        "inside": cost_line(estimate, measured) or "What this run cost is not known.",
        "estimate": estimate,
        "measured": measured,
        "cost_line": cost_line(estimate, measured),
        "stage_lines": stage_lines(estimate, measured),
        "row_lines": [
            RowCostLine(row.label, measured.rows.get(name, {}), measured.row_disk_mb.get(name))
            for name, row in run.settings.rows.items()
            if name in measured.rows or name in measured.row_disk_mb
        ],
        "costs": run.costs,
        "stages": run.stages,
        "most_others": MOST_OTHERS,
        "cost_device": _device(view),
        "cost_figure": cost_figure(view),
        "amount": amount,
        "size": size,
    }
