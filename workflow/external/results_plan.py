"""Results of others -> a suite whose rows are these results alone: its file, rows and list of prompts."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.compared_results import DRAWS, SEED, CommonPrompts, NamedRows
from evaluation.imported_results import ForeignResults
from evaluation.protocol import unstated
from evaluation.records import Protocol
from workflow.external.score_plan import ScorePlan, as_plain_yaml, planned_suite, suite_name

NOT_DECLARED = "not declared"


def plan_results(rows: NamedRows, common: CommonPrompts, output: Path) -> ScorePlan:
    """The suite of these rows. rows: as `named_rows` has them; common: the prompts that all have."""
    first = next(found for _, found in rows.values())
    listed = output / "prompts.jsonl"
    files = {
        output / "rows" / f"{row}.yaml": as_plain_yaml(_row_file(row, label, found, common.protocol))
        for row, (label, found) in rows.items()
    }
    files[listed] = "".join(
        json.dumps(_line(prompt.model_dump(mode="json")), ensure_ascii=False) + "\n"
        for prompt in common.prompts
    )
    said = []
    if lacking := unstated(common.protocol):
        said.append(
            f"No file states the {' or the '.join(lacking)}; compare these rows only if they agree in that."
        )
    if not common.whole:
        counts = ", ".join(
            f"{label} {count}" for (label, _), count in zip(rows.values(), common.passed, strict=True)
        )
        said.append(
            f"Scores of prompts or samples that not every row has were left out ({counts}); no totals."
        )
    suite = suite_name(output)
    prompts = {
        "list": str(listed),
        "per_dimension": None,
        "scored_only": True,
        "imported": "all" if common.whole else "common",
    }
    values = planned_suite(suite, first.benchmark, list(rows), common.dimensions, prompts, output) | {
        "label": f"Results of others ({', '.join(rows)[:200]}), imported by raven-bench compare.",
        "aggregate": {"draws": DRAWS, "seed": SEED},
        "report": {"clips_budget_mb": 0, "note": None, "notes": said},
    }
    files[output / "suite.yaml"] = f"# Written by raven-bench compare.\n{as_plain_yaml(values)}"
    return ScorePlan(suite, files, tuple(said))


def _line(prompt: Mapping[str, Any]) -> dict[str, Any]:
    """A prompt as a line of a list; without facts, which nothing here needs."""
    kept = {key: prompt[key] for key in ("id", "prompt", "extended", "samples", "dimensions")}
    return kept | ({} if prompt["keep"] is None else {"keep": prompt["keep"]})


def _row_file(row: str, label: str, found: ForeignResults, protocol: Protocol) -> dict[str, Any]:
    return {
        "name": row,
        "kind": "results",
        "title": label,
        "results": {
            "path": str(Path(found.path).resolve()),
            "row": found.row,
            "sha256": found.sha256,
            "scorer": "VBench" if found.benchmark == "vbench" else "the toybox's checkers",
            "version": NOT_DECLARED,
            "protocol": protocol.model_dump(exclude_none=True),
        },
        "declared": dict.fromkeys(("steps", "noise", "seeds", "precision", "encoder")),
        "licence": "not stated",
        "citation": "results given to raven-bench compare",
    }
