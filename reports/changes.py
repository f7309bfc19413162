"""Two runs -> what changed in their inputs, and in their scores, with paired tests on the prompts that both
scored. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.aggregate import TOTALS, total_estimates
from evaluation.dimensions import NAMES
from evaluation.estimates import Design, Estimate, make_design, mean_estimates
from evaluation.intervals import holm
from evaluation.metrics import Metric, metrics
from evaluation.records import Interval
from reports.clips import PromptScore
from reports.run import Run
from reports.tables import LEVEL, TOTAL_NAMES

ABSENT = "absent"
PARTS: dict[str, tuple[str, ...]] = {
    "Code": ("commit", "dirty", "made_by_commits"),
    "Environment": ("locks", "packages", "python"),
    "Prompts": ("prompts",),
    "Weights": ("weights", "trained", "model_files", "fetched", "weights_sha256"),
    "Scorer": ("scorer", "scorer_files"),
    "Settings": ("settings", "seeds", "bootstrap", "settings_sha256", "noise", "batch_size", "clips"),
    "Machines": ("processor", "training_machines", "devices", "attention", "software"),
    "Other": (),
}
"""Parts of the inputs, by the keys of provenance that they hold; of clips, by the last word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedInput:
    """A value of the provenance or of the settings that differs, as text; ABSENT where a run has none. part:
    a title of PARTS.
    """

    part: str
    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreChange:
    """After minus before of one row and measure, normalised points, on `prompts` common prompts.

    holm: over the dimensions of the row, its own ones apart, or, for each of Total, Quality and Semantic,
    over the rows.
    """

    row: str
    measure: str
    difference: Interval
    holm: float
    prompts: int

    @property
    def differs(self) -> bool:
        """By the paired test after Holm's correction, 5 %."""
        return self.holm < LEVEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """All that is not the same in two runs. scores: of every row that both have, changed or not; only_before,
    only_after: labels of other rows.
    """

    inputs: list[ChangedInput]
    scores: list[ScoreChange]
    labels: dict[str, str]
    total_name: str
    only_before: list[str]
    only_after: list[str]

    @property
    def identical(self) -> int:
        """Scores that are the same on every common prompt."""
        return sum(
            (c.difference.mean, c.difference.low, c.difference.high) == (0.0, 0.0, 0.0) for c in self.scores
        )

    def chosen(self, *, differs: bool) -> list[ScoreChange]:
        """Scores that moved, those with a proven difference or the others."""
        moved = [
            c
            for c in self.scores
            if (c.difference.mean, c.difference.low, c.difference.high) != (0.0, 0.0, 0.0)
        ]
        return [change for change in moved if change.differs == differs]

    def measure_title(self, change: ScoreChange) -> str:
        """`Total`, or a dimension in words."""
        return self.total_name if change.measure == "total" else change.measure.replace("_", " ")

    @property
    def summary(self) -> str:
        """One sentence: how many inputs of which parts, and how many scores, differ."""
        parts = list(dict.fromkeys(change.part.lower() for change in self.inputs))
        differ = sum(change.differs for change in self.scores)
        count = "1 input differs" if len(self.inputs) == 1 else f"{len(self.inputs)} inputs differ"
        inputs = f"{count} ({', '.join(parts)})" if parts else "No input differs"
        text = (
            f"{inputs}; {differ} of {len(self.scores)} scores differ by the paired test (Holm's "
            "correction, 5 %)."
        )
        moved = [change for change in self.scores if change.difference.mean != 0.0]
        if not parts and moved:
            return f"{text} Scores moved although no input did: look at the machines, or replay both runs."
        return text


def changes_of(before: Run, after: Run) -> Changes:
    """Compare two runs. Raises ValueError as score_changes does."""
    labels = {row: found.label for run in (before, after) for row, found in run.settings.rows.items()}
    return Changes(
        inputs=changed_inputs(before, after),
        scores=score_changes(before, after),
        labels=labels,
        total_name=TOTAL_NAMES[after.settings.bounds],
        only_before=[labels[row] for row in before.scores if row not in after.scores],
        only_after=[labels[row] for row in after.scores if row not in before.scores],
    )


def leaves(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested JSON as dotted keys and text values; a list is one value."""
    if isinstance(value, list | tuple):
        return {prefix: ", ".join(map(str, value)) or "none"}
    if not isinstance(value, Mapping):
        return {prefix: str(value)}
    found: dict[str, str] = {}
    for key, inner in value.items():
        found |= leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    return found


def changed_inputs(before: Run, after: Run) -> list[ChangedInput]:
    """Every leaf of provenance and of the settings that is not the same in both, by part, in the order of the
    keys.

    Results are left out: hashes of scores and manifests, and the listing of licences.
    """
    one, other = (
        leaves({
            **{key: value for key, value in run.provenance.items() if key not in ("scores_sha256", "suite")},
            "settings": run.settings.model_dump(mode="json", exclude={"licences"}),
        })
        for run in (before, after)
    )  # fmt: skip
    found = [
        ChangedInput(part=part_of(key), key=key, before=one.get(key, ABSENT), after=other.get(key, ABSENT))
        for key in sorted(one.keys() | other.keys())
        if one.get(key) != other.get(key) and not key.endswith(".manifest_sha256")
    ]
    return sorted(found, key=lambda change: list(PARTS).index(change.part))


def part_of(key: str) -> str:
    """Which part of the inputs a key is of, a title of PARTS."""
    words = key.split(".")
    name = words[-1] if words[0] == "clips" else words[0]
    if words[0] == "clips" and words[2:3] == ["scorer"]:
        name = "scorer"
    return next((part for part, names in PARTS.items() if name in names), "Other")


def _estimates(
    scores: Mapping[str, Mapping[str, PromptScore]],
    chosen: Mapping[str, set[str]],
    design: Design,
    known: Mapping[str, Metric],
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
    """Paired changes of every row that both runs scored. Prompts count as common if id, text and extended
    text are the same.

    Raises ValueError if the runs are of different suites or scales, or if one holds no scores per prompt.
    """
    if (before.table.suite, before.settings.bounds) != (after.table.suite, after.settings.bounds):
        raise ValueError(
            f"Runs of suites {before.table.suite} and {after.table.suite} have no common scale; compare "
            "runs of one suite."
        )
    for which, run in (("before", before), ("after", after)):
        if not any(run.scores.values()):
            raise ValueError(
                f"The run `{which}` holds no scores per prompt; build its report again from a folder with "
                "scores/."
            )
    texts = [{p.id: (p.prompt, p.extended) for p in run.prompts} for run in (before, after)]
    common = {key for key in texts[0].keys() & texts[1].keys() if texts[0][key] == texts[1][key]}
    strata = {
        p.id: (tuple(sorted(p.dimensions)), p.keep) for p in after.prompts if p.id in common and p.dimensions
    }
    if not strata:
        raise ValueError("The two runs have no prompt in common; nothing can be compared.")
    design = make_design(strata, after.table.draws, after.table.seed)
    custom = [one for one in after.table.custom if one in before.table.custom]
    known = metrics(after.settings.bounds, custom)
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
        group = f"row {row}{', custom' if measure not in NAMES else ''}"
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
