"""Two runs -> what changed in their inputs, and in their scores, with paired tests on the prompts that both scored. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.aggregate import TOTALS, total_estimates
from evaluation.dimensions import NAMES
from evaluation.estimates import Design, Estimate, make_design, mean_estimates
from evaluation.intervals import holm
from evaluation.measures import Measure, measures
from evaluation.records import Interval
from reports.clips import PromptScore
from reports.run import Run
from reports.tables import LEVEL, TOTAL_NAMES

ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedInput:
    """A value of the provenance or of the settings that differs, as text; ABSENT where a run has none."""

    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreChange:
    """After minus before of one row and measure, normalised points, on `prompts` common prompts.

    holm: over the dimensions of the row, its own ones apart, or, for each of Total, Quality and Semantic, over the rows.
    """

    row: str
    measure: str
    difference: Interval
    holm: float
    prompts: int


def leaves(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested JSON as dotted keys and text values; a list is one value."""
    if not isinstance(value, Mapping):
        return {prefix: str(value)}
    found: dict[str, str] = {}
    for key, inner in value.items():
        found |= leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    return found


def changed_inputs(before: Run, after: Run) -> list[ChangedInput]:
    """Every leaf of provenance and of the settings that is not the same in both, in the order of the keys.

    The hash of the scores is left out: it is a result.
    """
    one, other = (
        leaves({**run.provenance, "settings": run.settings.model_dump(mode="json")})
        for run in (before, after)
    )
    keys = sorted((one.keys() | other.keys()) - {"scores_sha256"})
    return [
        ChangedInput(key=key, before=one.get(key, ABSENT), after=other.get(key, ABSENT))
        for key in keys
        if one.get(key) != other.get(key)
    ]


def _estimates(
    scores: Mapping[str, Mapping[str, PromptScore]],
    chosen: Mapping[str, set[str]],
    design: Design,
    known: Mapping[str, Measure],
) -> dict[str, Estimate]:
    """Normalised dimensions of one run's row on the chosen prompts, and totals if all sixteen are there."""
    names = [name for name in known if chosen.get(name)]
    sums, counts = np.zeros((2, len(names), len(design.prompts)))
    for line, name in enumerate(names):
        for column, prompt in enumerate(design.prompts):
            if prompt in chosen[name]:
                found = scores[name][prompt]
                sums[line, column], counts[line, column] = (
                    known[name].factor * found.mean * found.clips,
                    found.clips,
                )
    ends = [known[name].ends for name in names]
    estimates = {}
    for name, raw in zip(names, mean_estimates(sums, counts, design, ends), strict=True):
        estimates[name] = raw.scaled(known[name].scale, known[name].low)
    if all(name in estimates for name in NAMES):
        estimates |= total_estimates(
            {name: estimates[name] for name in NAMES}, dict.fromkeys(TOTALS, len(design.prompts))
        )
    return estimates


def score_changes(before: Run, after: Run) -> list[ScoreChange]:
    """Paired changes of every row that both runs scored. Prompts count as common if id, text and extended text are the same.

    Raises ValueError if the runs are of different suites or scales, or if one holds no scores per prompt.
    """
    if (before.table.suite, before.settings.bounds) != (after.table.suite, after.settings.bounds):
        raise ValueError(
            f"Runs of suites {before.table.suite} and {after.table.suite} have no common scale; compare runs of one suite."
        )
    for which, run in (("before", before), ("after", after)):
        if not any(run.scores.values()):
            raise ValueError(
                f"The run `{which}` holds no scores per prompt; build its report again from a folder with scores/."
            )
    texts = [{p.id: (p.prompt, p.extended) for p in run.prompts} for run in (before, after)]
    common = {key for key in texts[0].keys() & texts[1].keys() if texts[0][key] == texts[1][key]}
    strata = {
        p.id: (tuple(sorted(p.dimensions)), p.keep) for p in after.prompts if p.id in common and p.dimensions
    }
    if not strata:
        raise ValueError("The two runs have no prompt in common; nothing can be compared.")
    design = make_design(strata, after.table.draws, after.table.seed)
    own = [one for one in after.table.own if one in before.table.own]
    known = measures(after.settings.bounds, own)
    found: dict[tuple[str, str], Estimate] = {}
    for row in (row for row in after.scores if row in before.scores):
        one, other = before.scores[row], after.scores[row]
        chosen = {
            name: one[name].keys() & other[name].keys() & strata.keys()
            for name in known
            if name in one and name in other
        }
        old, new = (_estimates(scores, chosen, design, known) for scores in (one, other))
        found |= {(row, measure): new[measure].minus(old[measure])._replace(ends=None) for measure in new}
    families: dict[str, list[tuple[str, str]]] = {}
    for row, measure in found:
        group = f"row {row}{', own' if measure not in NAMES else ''}"
        families.setdefault(measure if measure in TOTALS else group, []).append((row, measure))
    adjusted: dict[tuple[str, str], float] = {}
    for family in families.values():
        adjusted |= dict(zip(family, holm([found[key].p_value(design) for key in family]), strict=True))
    return [
        ScoreChange(
            row=row, measure=measure, difference=change.interval(design), holm=adjusted[row, measure], prompts=change.prompts
        )
        for (row, measure), change in found.items()
    ]  # fmt: skip


def _cell(text: str, most: int = 80) -> str:
    """Text inside one Markdown cell, cut in the middle if it is long."""
    text = " ".join(text.replace("|", "\\|").split())
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"


def changes_markdown(before: Run, after: Run) -> str:
    """What changed, inputs first; scores that differ by the paired test are marked, and rows of one run only are named."""
    inputs, scores = changed_inputs(before, after), score_changes(before, after)
    lines = [f"# What changed: {_cell(after.settings.label)}", "", f"## Inputs: {len(inputs)} differ", ""]
    if inputs:
        lines += ["| input | before | after |", "| --- | --- | --- |"]
        lines += [f"| {_cell(i.key)} | {_cell(i.before)} | {_cell(i.after)} |" for i in inputs]
        lines.append("")
    differ = sum(change.holm < LEVEL for change in scores)
    lines += [f"## Scores: {differ} of {len(scores)} differ", ""]
    for which, run, other in (("before", before, after), ("after", after, before)):
        if alone := [row for row in run.scores if row not in other.scores]:
            lines += [f"Only in the run {which}: {', '.join(alone)}.", ""]
    lines += [
        "| row | measure | after minus before | 95 % interval | p (Holm) | prompts | |",
        "| --- " * 7 + "|",
    ]
    for change in scores:
        d, name = change.difference, TOTAL_NAMES[after.settings.bounds]
        title = name if change.measure == "total" else change.measure.replace("_", " ")
        lines.append(
            f"| {change.row} | {title} | {d.mean:+.2f} | {d.low:+.2f} to {d.high:+.2f} | {change.holm:.3g} | {change.prompts} "
            f"| {'differs' if change.holm < LEVEL else ''} |"
        )
    lines += [
        "",
        "Normalised points, paired on prompts that both runs scored. Holm over the dimensions of a row, and over rows for totals.",
    ]
    return "\n".join(lines) + "\n"
