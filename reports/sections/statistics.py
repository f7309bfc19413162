"""How sure it is: what the tests can tell, and any two rows compared."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from evaluation.aggregate import TOTALS, row_groups
from evaluation.intervals import LEVEL, NEAR_END, SMALL
from evaluation.records import Needed
from evaluation.variance import VarianceTable
from reports.drawing import Dot, SvgFigure, forest, plot_names, row_colour
from reports.tables import power
from reports.view import View


class DeviationLine(NamedTuple):
    """Standard deviations of one dimension in normalised points, medians over ranked rows."""

    prompt_sd: float
    seed_sd: float | None
    """Between samples of one prompt. None where no prompt has two samples."""
    narrower: float | None
    """How much narrower intervals would be with endless seeds, 0..1. None as `seed_sd`."""


def deviations(variance: VarianceTable | None, rows: Sequence[str]) -> dict[str, DeviationLine]:
    """Standard deviations by dimension over the given rows."""
    cells = [cell for cell in variance.cells if cell.row in rows] if variance is not None else []
    lines = {}
    for name in dict.fromkeys(cell.dimension for cell in cells):
        found = [cell for cell in cells if cell.dimension == name]
        seeds = [cell.seed_sd for cell in found if cell.seed_sd is not None]
        shares = [cell.seed_share for cell in found if cell.seed_share is not None]
        lines[name] = DeviationLine(
            prompt_sd=statistics.median(cell.prompt_sd for cell in found),
            seed_sd=statistics.median(seeds) if seeds else None,
            narrower=1 - (1 - statistics.median(shares)) ** 0.5 if shares else None,
        )
    return lines


def paired_figures(view: View) -> list[SvgFigure]:
    """Every ranked row minus the highest, paired, by each total. None with fewer than two ranked rows.

    Filled: the two differ after Holm's correction; hollow: a tie.
    """
    if len(view.main.ranked) < 2:
        return []
    best, *others = (line.summary for line in view.main.ranked)
    titles = dict(zip(TOTALS, (view.total_name, "Quality", "Semantic"), strict=True))
    (best_name,) = plot_names([best.label])
    figures = []
    for metric, title in titles.items():
        dots = []
        for row in others:
            found = view.pairs.find(row.row, best.row, metric)
            colour = row_colour(row, list(view.run.curves))
            dots.append(found and Dot(found[0], colour, filled=found[1] < LEVEL))
        figures.append(
            forest(
                f"paired-{metric}", title, others, dots, zero=True, xlabel=f"row minus {best_name}",
                described="filled dots differ, hollow ones are ties; numbers in the table",
            )
        )  # fmt: skip
    return figures


class PowerLine(NamedTuple):
    """What the tests of one pair, or of the table, can find of the total, and what smaller ones need."""

    label: str
    detectable: float | None
    needed: tuple[Needed, ...]


def power_lines(view: View) -> list[PowerLine]:
    """The table, then each ranked row beside the highest. Empty where nothing can be told."""
    found = view.run.table.power
    if found is None:
        return []
    names = [line.summary.row for line in view.main.ranked]
    pairs = {frozenset((pair.a, pair.b)): pair for pair in view.run.table.pairs if pair.metric == "total"}
    beside = [(row, pairs[frozenset((row, names[0]))]) for row in names[1:]]
    lines = [PowerLine(f"any two models, median of {found.tests} pairs", found.detectable, found.needed)]
    label = view.run.label
    lines += [
        PowerLine(f"{label(row)} and {label(names[0])}", pair.detectable, pair.needed) for row, pair in beside
    ]
    return lines if found.tests > 1 else lines[1:]


def compared_pairs(view: View) -> dict[str, Any]:
    """What tables.js compares two rows by."""
    titles = {"total": view.total_name, "quality": "Quality", "semantic": "Semantic"}
    return {
        "metrics": titles | {name: metric.title for name, metric in view.known.items()},
        "pairs": [
            [
                p.a, p.b, p.metric,
                *(round(x, 3) for x in (p.corrected.mean, p.corrected.low, p.corrected.high)),
                float(f"{p.holm:.3g}"), p.prompts, p.detectable and round(p.detectable, 3),
            ]
            for p in view.run.table.pairs
        ],
        "needed": {
            f"{p.a} {p.b}": [(found.points, found.prompts, found.samples) for found in p.needed]
            for p in view.run.table.pairs
            if p.needed
        },
    }  # fmt: skip


def detectable(view: View) -> dict[str, float]:
    """The smallest difference that is found with 80 %, by metric: the median over pairs of ranked rows."""
    ranked = set(row_groups(view.run.table.rows)[0])
    found: dict[str, list[float]] = {}
    for pair in view.run.table.pairs:
        if pair.detectable is not None and {pair.a, pair.b} <= ranked:
            found.setdefault(pair.metric, []).append(pair.detectable)
    return {metric: statistics.median(values) for metric, values in found.items()}


def statistics_section(view: View) -> dict[str, Any]:
    """What statistics.html.j2 shows."""
    run = view.run
    fewest = {
        name: min((row.dimensions[name].prompts for row in view.ranked if name in row.dimensions), default=0)
        for name in view.known
    }
    return {
        "main": view.main,
        "pairs": view.pairs,
        "level": LEVEL,
        "dimensions": list(view.known.values()),
        "power": {name: power(run.table, name) for name in (*TOTALS, *view.known)},
        "found": run.table.power,
        "power_lines": power_lines(view),
        "detectable": detectable(view),
        "deviations": deviations(run.variance, [row.row for row in view.ranked]),
        "fewest": fewest,
        "small": SMALL,
        "small_totals": any(0 < count < SMALL for count in fewest.values()),
        "near_end": NEAR_END,
        "compared_rows": [row for row in (*view.ranked, *view.controls) if row.dimensions],
        "paired_figures": paired_figures(view),
    }
