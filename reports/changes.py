"""Two runs -> what changed in their inputs, and in their scores by paired tests on common prompts. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from evaluation.aggregate import TOTALS, total_estimates
from evaluation.dimensions import NAMES
from evaluation.estimates import Design, Estimate, make_design, mean_estimates
from evaluation.intervals import LEVEL, holm
from evaluation.metrics import Metric, metrics
from evaluation.records import Interval
from reports.clips import PromptScore
from reports.run import Run
from reports.sections.audit import flatten
from reports.tables import TOTAL_NAMES

NO_VALUE = "absent"
PARTS: dict[str, tuple[str, ...]] = {
    "Code": ("commit", "dirty", "made_by_commits"),
    "Environment": ("locks", "packages", "python"),
    "Prompts": ("prompts",),
    "Weights": ("weights", "own_weights", "trained", "model_files", "fetched", "weights_sha256"),
    "Scorer": ("scorer", "scorer_files"),
    "Settings": (
        "settings",
        "seeds",
        "bootstrap",
        "settings_sha256",
        "noise",
        "noise_key",
        "batch_size",
        "clips",
    ),
    "Machines": ("processor", "training_machines", "devices", "attention", "software"),
    "Other": (),
}
"""Parts of the inputs, by the keys of provenance that they hold; of clips, by the last word."""


class ChangedInput(NamedTuple):
    """A value of the provenance or of the settings that differs, as text."""

    part: str
    """A title of PARTS."""
    key: str
    before: str
    """NO_VALUE where the run has none. `after` likewise."""
    after: str


class ScoreChange(NamedTuple):
    """After minus before of one row and metric."""

    row: str
    metric: str
    difference: Interval
    """In normalised points, with the interval that goes with `holm`."""
    holm: float
    """P-value, corrected over the dimensions of the row (custom ones apart), or over the rows for a total."""
    prompts: int
    """Common ones."""
    moved: bool
    """Whether anything changed on any common prompt."""

    @property
    def differs(self) -> bool:
        """Whether it differs by the paired test after Holm's correction, 5 %."""
        return self.holm < LEVEL


class Changes(NamedTuple):
    """All that is not the same in two runs."""

    inputs: list[ChangedInput]
    scores: list[ScoreChange]
    """Of every row that both have, changed or not."""
    labels: dict[str, str]
    """Of rows."""
    total_name: str
    only_before: list[str]
    """Labels of rows that the run after lacks; `only_after` the other way round."""
    only_after: list[str]
    noise: str
    """One sentence: whether the runs share their noise."""

    @property
    def identical(self) -> int:
        """Scores that are the same on every common prompt."""
        return sum(not change.moved for change in self.scores)

    def chosen(self, *, differs: bool) -> list[ScoreChange]:
        """Scores that moved, those with a proven difference or the others."""
        return [change for change in self.scores if change.moved and change.differs == differs]

    def metric_title(self, change: ScoreChange) -> str:
        """`Total`, or a dimension in words."""
        return self.total_name if change.metric == "total" else change.metric.replace("_", " ")

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
        noise=_noise_sentence(before, after),
    )


def noise_key(run: Run) -> str:
    """What the run's portable noise is keyed by; its suite's name where the record is older than the key."""
    return str(run.provenance.get("noise_key", run.settings.suite))


def _noise_sentence(before: Run, after: Run) -> str:
    if any(run.settings.config["sample"]["noise"] != "portable" for run in (before, after)):
        return "Noise was drawn as each method's released code draws it in at least one of the runs."
    one, other = noise_key(before), noise_key(after)
    if one == other:
        return f"Both runs key their noise by {one!r}: a sample of a prompt starts from the same in both."
    return (
        f"The runs key their noise by {one!r} and {other!r}, so that no clip shares its noise with one of "
        "the other run, and differences hold that luck too."
    )


def changed_inputs(before: Run, after: Run) -> list[ChangedInput]:
    """Every value of provenance and settings that is not the same in both, by part, in the order of the keys.

    Results are left out: hashes of scores and manifests, and the listing of licences.
    """
    one, other = (
        flatten({
            **{key: value for key, value in run.provenance.items() if key not in ("scores_sha256", "suite")},
            "settings": run.settings.model_dump(mode="json", exclude={"licences"}),
        })
        for run in (before, after)
    )  # fmt: skip
    found = [
        ChangedInput(
            part=input_part(key), key=key, before=one.get(key, NO_VALUE), after=other.get(key, NO_VALUE)
        )
        for key in sorted(one.keys() | other.keys())
        if one.get(key) != other.get(key) and not key.endswith(".manifest_sha256")
    ]
    return sorted(found, key=lambda change: list(PARTS).index(change.part))


def input_part(key: str) -> str:
    """The part of the inputs that a key is of, a title of PARTS."""
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
                mean, clips = scores[name][prompt]
                sums[line, column], counts[line, column] = known[name].factor * mean * clips, clips
    ends = [known[name].ends for name in names]
    estimates = {
        name: raw.scaled(known[name].scale, known[name].low)
        for name, raw in zip(names, mean_estimates(sums, counts, design, ends), strict=True)
    }
    if all(name in estimates for name in NAMES):
        sixteen = {name: estimates[name] for name in NAMES}
        estimates |= total_estimates(sixteen, dict.fromkeys(TOTALS, len(design.prompts)), design)
    return estimates


def score_changes(before: Run, after: Run) -> list[ScoreChange]:
    """Paired changes of every row that both runs scored.

    Prompts count as common if id, text and extended text are the same. Raises ValueError if the runs are of
    different suites or scales, or if one holds no scores per prompt.
    """
    names = f"{before.table.suite} and {after.table.suite}"
    if before.settings.bounds != after.settings.bounds:
        raise ValueError(f"Runs of suites {names} have no common scale; compare runs of one suite.")
    if before.table.suite != after.table.suite and noise_key(before) != noise_key(after):
        raise ValueError(
            f"Runs of suites {names} key their noise by {noise_key(before)!r} and "
            f"{noise_key(after)!r}, so that pairs of them are no pairs; compare runs of one suite, or give "
            "both suites the same `noise_key` and run them again."
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
        found |= {(row, metric): new[metric].minus(old[metric]) for metric in new}
    families: dict[str, list[tuple[str, str]]] = {}
    for row, metric in found:
        family = f"row {row}{', custom' if metric not in NAMES else ''}"
        families.setdefault(metric if metric in TOTALS else family, []).append((row, metric))
    changes: dict[tuple[str, str], ScoreChange] = {}
    for keys in families.values():
        adjusted = holm([found[key].p_value(design) for key in keys])
        for key, p_value in zip(keys, adjusted, strict=True):
            interval = found[key].corrected(design, len(keys), p_value)
            moved = bool(found[key].mean or found[key].influence.any())
            changes[key] = ScoreChange(*key, interval, p_value, found[key].prompts, moved)
    return [changes[key] for key in found]
