"""What aggregation and report are told beside the results: names, kinds and settings of every row."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from baselines.foreign import ExternalBaseline, ResultsBaseline
from baselines.native import Baseline
from baselines.spec import AnyBaseline
from evaluation.files import load_json
from evaluation.records import CustomDimension, Protocol
from reports.scrubbing import scrub
from workflow.external.baseline import external_settings_in_use
from workflow.fetching.checksums import FETCHED_FOLDER
from workflow.planning.clip_length import stress_label
from workflow.planning.licences import licences_of
from workflow.planning.prompt_plan import protocol_note
from workflow.planning.row_plan import Baselines, clip_of_row, teachers_of
from workflow.planning.subset import Subset
from workflow.planning.suite import (
    CLIP_CONTROLS,
    CONTROLS,
    OFFICIAL_BENCHMARKS,
    Suite,
    clip_control,
    control_settings,
    settings_in_use,
)


def row_names(suite: Suite, baselines: Baselines) -> dict[str, dict[str, Any]]:
    """Label and kind of every line of the table, in its order; variants of a trained row say what they have
    otherwise.

    Raises ValueError for a row with the label of another.
    """
    endings = {
        "native": "",
        "external": " (external)",
        "import": " (imported)",
        "results": " (scores imported)",
    }
    names: dict[str, dict[str, Any]] = {}
    for row in suite.baselines:
        original = suite.original(row)
        title = suite.train[original].title if original in suite.train else None
        label = (title or baselines[row].title) + endings[baselines[row].kind]
        if title is None and (differing := suite.variant_name(original)):
            label = f"{label}, {differing}"
        if row in suite.variants:
            label = f"{label}, {suite.variants[row].label}"
        if (stress := _stress_of(suite, baselines[row])) is not None:
            label = f"{label} ({stress})"
        names[row] = {"label": label, "kind": baselines[row].kind}
        if row in teachers_of(suite, baselines):
            names[row]["kind"] = "teacher"
        if (samples := suite.row_samples.get(row)) is not None:
            names[row]["label"] += (
                f", first {'sample' if samples == 1 else f'{samples} samples'} of each prompt"
            )
    names |= {row: {"label": _control_label(row, names), "kind": "control"} for row in suite.controls}
    rows_of: dict[str, str] = {}
    for row, name in names.items():
        if (other := rows_of.setdefault(name["label"], row)) != row:
            where, mend = (
                (f"train.{row}", "give it `settings` that differ, or a `title` of its own")
                if row in suite.train
                else (row, f"give baselines/{row if row in baselines else other}.yaml another `title`")
            )
            raise ValueError(
                f"{where} would be called {name['label']!r} in the report, as {other} is; {mend}."
            )
    return names


def _stress_of(suite: Suite, baseline: AnyBaseline) -> str | None:
    return stress_label(suite, baseline) if isinstance(baseline, Baseline) else None


def _control_label(row: str, names: Mapping[str, Mapping[str, Any]]) -> str:
    made = clip_control(row)
    if made is None:
        return CONTROLS[row]
    of = names[made.source]["label"] if made.source in names else made.source  # a subset may leave it out
    return f"{of}, {CLIP_CONTROLS[made.kind]}"


def declared_protocol(baseline: AnyBaseline) -> Protocol:
    """What is known of a row's protocol before its prompts are: which text rendered and which one scores.

    Networks of ours are given the extended text, others what they declare; scorers here read the short one.
    """
    if isinstance(baseline, Baseline):
        return Protocol(prompts="extended", text="short")
    if isinstance(baseline, ResultsBaseline):
        return Protocol(**baseline.results.protocol.model_dump())
    return Protocol(prompts=baseline.declared.prompts, text="short")


def aggregate_settings(
    suite: Suite, baselines: Baselines, custom: Sequence[CustomDimension], subset: Subset | None
) -> dict[str, Any]:
    """Settings of the aggregation. suite: as far as this run goes."""
    rows = row_names(suite, baselines)
    for row, samples in suite.row_samples.items():
        if row in rows:
            rows[row]["samples"] = samples
    for row in suite.baselines:
        rows[row]["protocol"] = declared_protocol(baselines[row]).model_dump()
    for row in suite.controls:
        if (made := clip_control(row)) is not None and made.source in rows:
            rows[row]["of"] = made.source
    return {
        "bounds": suite.benchmark,
        "dimensions": suite.dimensions,
        "rows": rows,
        "custom": [one.model_dump() for one in custom],
        "subset": subset.note if subset else None,
        "totals": suite.whole and not (subset and subset.of_prompts),
        **suite.aggregate.model_dump(),
        **({"seconds_of": suite.clip.long_fps} if suite.clip.long_fps else {}),
    }


def held_slots(suite: Suite, baselines: Baselines) -> dict[str, int]:
    """Cores or GPUs of the jobs that may hold another number than one (reports.cost.measure_cost)."""
    on_cores = suite.device == "cpu"
    held = {f"train/{row}": plan.nodes * plan.gpus for row, plan in suite.train.items()}
    for row, baseline in baselines.items():
        if isinstance(baseline, ExternalBaseline):
            held[f"external/{row}"] = baseline.threads if on_cores else baseline.gpus
    if on_cores and suite.benchmark in OFFICIAL_BENCHMARKS:
        held["score"] = suite.scoring.threads
    return held


def _note_of(suite: Suite, baseline: Baseline, row: str) -> str | None:
    """What the audit says of a native row beside its settings."""
    notes = [baseline.note] if baseline.note else []
    if str(suite.weights.get(suite.original(row))).startswith(FETCHED_FOLDER) and not baseline.weights.sha256:
        notes.append("The project knows no sha256 of its file: what was fetched first is pinned")
    return ". ".join(notes) or None


def report_settings(suite: Suite, chosen: Suite, baselines: Baselines, root: Path) -> dict[str, Any]:
    """Settings of the report. chosen: the suite as far as this run goes; `suite` itself in a whole run."""
    rows = row_names(chosen, baselines)
    for row in chosen.baselines:
        baseline = baselines[row]
        rows[row] |= {"licence": baseline.licence, "citation": baseline.citation}
        if (stress := _stress_of(suite, baseline)) is not None:
            rows[row]["stress"] = stress
        if isinstance(baseline, Baseline):
            rows[row]["settings"] = settings_in_use(suite, baseline, row)
            rows[row]["note"] = _note_of(suite, baseline, row)
            if row in suite.train and (differing := suite.training_differences(row)):
                rows[row]["settings"]["training"] = differing
        else:
            rows[row]["settings"] = scrub(external_settings_in_use(suite, baseline, root), str(root))
    for row in chosen.controls:
        rows[row]["settings"] = {**control_settings(suite, row), "clip": clip_of_row(suite, baselines, row)}
    base = root / "models" / "embedded" / "base.json"
    sampled = [suite.weights_path(row) for row in suite.baselines if row in suite.weights]
    shown = str(base.relative_to(root).with_suffix(".safetensors")) in sampled
    native = any(isinstance(baseline, Baseline) for baseline in baselines.values())
    if suite.benchmark == "toybox" and base.is_file() and chosen is suite and native and not shown:
        rows["base"] = {
            "label": "Bidirectional base model",
            "kind": "shipped",
            "settings": {},
            "scores": load_json(base.read_bytes(), str(base))["suite_scores"],
            "scores_source": "models/embedded/base.json (same prompts, before mp4)",
        }
    notes = [
        note
        for note in (suite.report.note, *suite.report.notes, protocol_note(root, suite))
        if note is not None
    ]
    return {
        "suite": suite.suite,
        "label": suite.label,
        "bounds": suite.benchmark,
        "rows": rows,
        "config": scrub(suite.model_dump(mode="json"), str(root)),
        "slots": held_slots(suite, baselines),
        "licences": [line.model_dump() for line in licences_of(root, suite, baselines)],
        **suite.report.model_dump(exclude={"notes"}),
        "note": " ".join(notes) or None,
    }
