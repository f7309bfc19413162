"""Results as Every Eval Ever 0.3.0 takes them: an aggregate a row, and a line a clip and dimension beside it.

Source: the JSON schemas of the package every-eval-ever 0.3.0 (arXiv 2606.14516). Dimensions are VBench's raw
fractions, totals and custom dimensions in their own unit; intervals are ours. `is_correct`, which the schema
demands, says whether a score is the best that there can be. Controls are no models and are left out, as are
rows whose scores were imported, which others may have written down already.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from evaluation.aggregate import RANKED_KINDS
from evaluation.files import canonical_sha256
from evaluation.finished_run import FinishedRun
from evaluation.metrics import CUSTOM_GROUP, Metric, metrics
from evaluation.records import DimensionSummary, Interval, Prompt, RowSummary
from reports.run import Run
from reports.tables import TOTAL_NAMES

EVERY_EVAL_EVER = "0.3.0"
"""Version of the schema."""


class EvaluationFiles(NamedTuple):
    """One row's two files, by their place in the datastore."""

    path: str
    aggregate: str
    samples_path: str
    samples: str


def evaluation_files(run: Run, finished: FinishedRun, models: Mapping[str, str]) -> list[EvaluationFiles]:
    """The files of every ranked row that has scores. run: the record; finished: the scores of its clips.

    models: names on the hub by row, such as mvp-lab/RAVEN; others are called raven-bench/<row>. Raises
    ValueError for a name that is no `<organisation>/<model>`, or a row that is not there.
    """
    ranked = [row for row in run.table.rows if row.kind in RANKED_KINDS and row.dimensions]
    rows = [row for row in ranked if row.kind != "results"]
    if unknown := models.keys() - {row.row for row in rows}:
        raise ValueError(
            f"There is no ranked row {sorted(unknown)[0]!r} with scores; there are "
            f"{', '.join(row.row for row in rows)}."
        )
    for name in models.values():
        parts = name.split("/")
        if len(parts) != 2 or not all(part and part[0] not in "." and part.isascii() for part in parts):
            raise ValueError(f"{name!r} is no name of a model, expected <organisation>/<model>; correct it.")
    return [_row_files(run, finished, row, models.get(row.row, f"raven-bench/{row.row}")) for row in rows]


def _row_files(run: Run, finished: FinishedRun, row: RowSummary, model: str) -> EvaluationFiles:
    table, known = run.table, metrics(run.table.benchmark, run.table.custom)
    facts = {"deployment_type": "self_deployed", "model_availability": "open_weights"}
    hashes = run.provenance.get("clips", {}).get(row.row, {}).get("weights_sha256", [])
    facts |= {"row": row.row, "kind": row.kind, "weights_sha256": ", ".join(hashes) or "unknown"}
    when = str(int(datetime.fromisoformat(run.starts[-1].started).timestamp())) if run.starts else "0"
    identity = f"raven-bench-{table.suite}/{model}/{when}"
    name = _uuid4(f"{identity} {run.provenance.get('scores_sha256')} {row.row}")
    folder = f"data/raven-bench-{table.suite}/{model}"
    samples = _samples(finished, row, identity, model, known)
    commit = str(run.provenance.get("commit"))
    aggregate = {
        "schema_version": EVERY_EVAL_EVER,
        "evaluation_id": identity,
        "retrieved_timestamp": when,
        "source_metadata": {
            "source_name": f"raven-bench, suite {table.suite}",
            "source_type": "evaluation_run",
            "source_organization_name": "raven-bench",
            "evaluator_relationship": "third_party",
            "additional_details": {
                "suite": run.settings.label,
                "subset": table.subset or "none",
                "note": run.settings.note or "none",
                "incomplete": row.incomplete or "no",
            },
        },
        "eval_library": {"name": "raven-bench", "version": commit},
        "model_info": {"name": row.label, "id": model, "additional_details": facts},
        "evaluation_results": [
            *(_total(run, row, name, found) for name, found in row.totals.items()),
            *(_dimension(run, row, known[name], found) for name, found in row.dimensions.items()),
        ],
        "detailed_evaluation_results": {
            "format": "jsonl",
            "file_path": f"{folder}/{name}_samples.jsonl",
            "hash_algorithm": "sha256",
            "checksum": hashlib.sha256(samples.encode()).hexdigest(),
            "total_rows": samples.count("\n"),
        },
    }
    text = json.dumps(aggregate, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return EvaluationFiles(f"{folder}/{name}.json", text, f"{folder}/{name}_samples.jsonl", samples)


def _uuid4(text: str) -> str:
    """A UUID of version 4, as file names must have it, that is the same for the same text."""
    digits = hashlib.sha256(text.encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"


def _result(run: Run, row: RowSummary, name: str, title: str, **more: Any) -> dict[str, Any]:
    source = {
        "dataset_name": "VBench" if run.table.benchmark == "vbench" else "raven-bench embedded world",
        "source_type": "other",
        "additional_details": {"suite": run.table.suite, "prompts_sha256": run.table.inputs.prompts},
    }
    return {
        "evaluation_result_id": f"{row.row}:{name}", "evaluation_name": title, "source_data": source, **more
    }  # fmt: skip


def _score(run: Run, found: Interval, scale: float, details: dict[str, str], **counts: int) -> dict[str, Any]:
    interval = {
        "lower": scale * found.low,
        "upper": scale * found.high,
        "confidence_level": 0.95,
        "method": "bootstrap over prompts, or Student's t and Wilson or Jeffreys where prompts are few",
    }
    return {
        "score": scale * found.mean,
        "details": details,
        "uncertainty": {
            "confidence_interval": interval, "num_bootstrap_samples": run.table.draws, **counts
        },
    }  # fmt: skip


def _total(run: Run, row: RowSummary, name: str, found: Interval) -> dict[str, Any]:
    title = TOTAL_NAMES[run.table.benchmark] if name == "total" else name.capitalize()
    metric = {
        "metric_id": f"{_namespace(run)}.{name}", "metric_name": title, "metric_kind": "weighted_mean",
        "metric_unit": "percent", "lower_is_better": False, "score_type": "continuous",
        "min_score": "-Infinity", "max_score": "Infinity",
    }  # fmt: skip
    details = {"formula": "(4 Quality + Semantic) / 5 of normalised dimensions"}
    return _result(
        run, row, name, title, metric_config=metric, score_details=_score(run, found, 1.0, details)
    )


def _dimension(run: Run, row: RowSummary, metric: Metric, found: DimensionSummary) -> dict[str, Any]:
    config = {
        "metric_id": f"{_namespace(run)}.{metric.name}",
        "metric_name": metric.title,
        "metric_kind": "custom" if metric.group == CUSTOM_GROUP else "mean_over_clips",
        "metric_unit": metric.unit if metric.group == CUSTOM_GROUP else "proportion",
        "lower_is_better": metric.scale < 0,
        "score_type": "continuous",
        "min_score": min(metric.lowest, found.raw.mean / metric.factor),
        "max_score": max(metric.highest, found.raw.mean / metric.factor),
    }
    details = {
        "normalised_percent": repr(found.normalised.mean), "scorer": found.kind, "group": metric.group,
        "prompts": str(found.prompts), "left_out": str(found.left_out),
    }  # fmt: skip
    score = _score(run, found.raw, 1.0 / metric.factor, details, num_samples=found.clips)
    return _result(run, row, metric.name, metric.title, metric_config=config, score_details=score)


def _namespace(run: Run) -> str:
    return "vbench" if run.table.benchmark == "vbench" else "raven_bench_toybox"


def _samples(
    finished: FinishedRun, row: RowSummary, identity: str, model: str, known: Mapping[str, Metric]
) -> str:
    """One line a clip and dimension, in the order of dimensions and prompts."""
    prompts = {prompt.id: prompt for prompt in finished.prompts}
    place = {name: number for number, name in enumerate(prompts)}
    clips = {clip.clip_id: clip for clip in finished.manifests[row.row]}
    lines = []
    for name in row.dimensions:
        metric = known[name]
        best = metric.highest if metric.scale > 0 else metric.lowest
        scores = finished.results[row.row][name].clips
        for score in sorted(scores, key=lambda score: (place[score.prompt_id], score.sample)):
            prompt, clip = prompts[score.prompt_id], clips[score.clip_id]
            lines.append({
                "schema_version": EVERY_EVAL_EVER,
                "evaluation_id": identity,
                "model_id": model,
                "evaluation_name": metric.title,
                "evaluation_result_id": f"{row.row}:{name}",
                "sample_id": score.clip_id,
                "sample_hash": canonical_sha256([prompt.prompt, *_reference(prompt)]),
                "interaction_type": "single_turn",
                "input": {
                    "raw": prompt.prompt, "formatted": prompt.extended, "reference": _reference(prompt)
                },
                "output": {"raw": [f"sha256:{clip.sha256}"]},
                "answer_attribution": [],
                "evaluation": {"score": score.value, "is_correct": score.value == best},
                "metadata": {
                    "prompt": prompt.id, "sample": str(score.sample), "video": clip.file,
                    "size": f"{clip.width}x{clip.height}, {clip.pixel_frames} frames, {clip.fps} a second",
                },
            })  # fmt: skip
    return "".join(
        json.dumps(line, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n" for line in lines
    )


def _reference(prompt: Prompt) -> Sequence[str]:
    """What a prompt's clips are checked against, as JSON; empty where nothing but the text is known."""
    facts = {key: value for key, value in prompt.facts.items() if key != "lines"}
    return [json.dumps(facts, sort_keys=True, ensure_ascii=False)] if facts else []
