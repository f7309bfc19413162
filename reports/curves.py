"""Training curves and the paired check of CM-GRPO: metrics.jsonl and heldout.json -> plain numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import model_validator

from evaluation.estimates import Design, Estimate, make_design, mean_estimates
from evaluation.files import load_json
from evaluation.intervals import holm
from evaluation.records import Interval, PlainText, Record, VersionedRecord, read_json

NO_CURVES = ("iteration", "elapsed_s")  # the second for people who look at a running job
DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric over training: steps and values, both of length n."""

    name: str
    steps: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CurveGroup:
    """Curves that share a panel."""

    name: str
    curves: tuple[Curve, ...]


def group_name(key: str) -> str:
    """Panel of a metric: metrics of one unit share one, anything else stands alone.

    `fake_grad_norm` -> `grad_norm`, `student_lr` -> `lr`, `reward_color` -> `reward`.
    """
    suffix = next((suffix for suffix in ("grad_norm", "lr") if key.endswith(f"_{suffix}")), None)
    return suffix or ("reward" if key.startswith("reward_") else key)


def read_metrics(path: Path) -> list[CurveGroup]:
    """The curves of a metrics.jsonl: flat objects of "iteration" and numbers.

    A metric may be absent on some lines. Raises ValueError naming the line for anything that is not a finite
    number.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for line_number, line in enumerate(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"), 1):
        where = f"{path} line {line_number}"
        values = load_json(line, where)
        if not isinstance(values, dict) or "iteration" not in values:
            raise ValueError(f"{where} has no iteration, which every line of training's metrics has.")
        for key, value in values.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"{where} has {key} = {value!r}; a metric is a finite number.")
            if key not in NO_CURVES:
                found.setdefault(key, []).append((float(values["iteration"]), float(value)))
    groups: dict[str, list[Curve]] = {}
    for key, points in found.items():
        curve = Curve(key, tuple(step for step, _ in points), tuple(value for _, value in points))
        groups.setdefault(group_name(key), []).append(curve)
    return [CurveGroup(name, tuple(curves)) for name, curves in groups.items()]


class HeldOutMetric(Record):
    """A metric per held-out prompt, with the same noise before and after."""

    name: PlainText
    trained: bool
    """Whether it is part of the reward."""
    before: tuple[float | None, ...]
    """In the order of the prompts, None where it does not apply to one. `after` likewise."""
    after: tuple[float | None, ...]


class HeldOut(VersionedRecord):
    """train/<row>/heldout.json: the paired check on prompts that no training saw."""

    before: PlainText
    """A row as `after` is, or the file that training started from."""
    after: PlainText
    prompts: tuple[PlainText, ...]
    """Ids."""
    measures: tuple[HeldOutMetric, ...]
    """The reward and each checker."""

    @model_validator(mode="after")
    def _aligned(self) -> HeldOut:
        for metric in self.measures:
            if not len(metric.before) == len(metric.after) == len(self.prompts):
                raise ValueError(
                    f"{metric.name} needs one value per prompt ({len(self.prompts)}), before and after"
                )
        return self


class HeldOutLine(NamedTuple):
    """One metric: means before and after, and their paired difference by the rules of the score table."""

    name: str
    trained: bool
    before: float
    after: float
    difference: Interval
    """With the interval that goes with `holm`, see PairedDifference.corrected."""
    holm: float
    """P-value after Holm's correction over the metrics of the check."""
    prompts: int


def read_heldout(path: Path) -> HeldOut:
    """The record, strictly. Raises ValueError naming file and keys."""
    return read_json(HeldOut, path)


def compare_heldout(record: HeldOut, seed: int = 0) -> list[HeldOutLine]:
    """One line per metric: what was trained on first, then what was held out, each in the record's order."""
    found: list[tuple[HeldOutMetric, Estimate, Estimate, Design]] = []
    for metric in record.measures:
        both = {
            prompt: (before, after)
            for prompt, before, after in zip(record.prompts, metric.before, metric.after, strict=True)
            if before is not None and after is not None
        }
        if both:
            design = make_design(dict.fromkeys(both, 0), DRAWS, seed)
            values = np.array([both[prompt] for prompt in design.prompts]).T
            before, after = mean_estimates(values, np.ones(values.shape), design)
            found.append((metric, before, after, design))
    changes = [after.minus(before) for _, before, after, _ in found]
    adjusted = holm([change.p_value(design) for change, (*_, design) in zip(changes, found, strict=True)])
    lines = [
        HeldOutLine(
            name=metric.name,
            trained=metric.trained,
            before=before.mean,
            after=after.mean,
            difference=change.corrected(design, len(found), p_value),
            holm=p_value,
            prompts=change.prompts,
        )
        for (metric, before, after, design), change, p_value in zip(found, changes, adjusted, strict=True)
    ]
    return sorted(lines, key=lambda line: not line.trained)
