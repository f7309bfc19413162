"""Results of others -> a suite whose rows are these results alone: its file, rows and list of prompts."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.compared_results import DRAWS, SEED, CommonPrompts
from evaluation.imported_results import ForeignResults
from workflow.external.clip_names import id_of
from workflow.external.score_plan import ScorePlan, as_plain_yaml, planned_suite, suite_name

NOT_DECLARED = "not declared"


def named_rows(found: Sequence[ForeignResults]) -> dict[str, tuple[str, ForeignResults]]:
    """Label and results by the name of a row: the file's, with what tells it from others of the same name."""
    titles = [_title(Path(one.path)) if one.row is None else one.label or one.row for one in found]
    if len(set(titles)) < len(titles):
        titles = [str(Path(one.path).resolve()) + (f":{one.row}" if one.row else "") for one in found]
    doubled = Counter(titles)
    titles = [f"{t}, {n}" if doubled[t] > 1 else t for n, t in enumerate(titles, 1)]
    names = [id_of(title)[:50] or "row" for title in titles]
    if len(set(names)) < len(names):
        names = [f"row_{number}" for number in range(1, len(names) + 1)]
    return dict(zip(names, zip(titles, found, strict=True), strict=True))


def _title(path: Path) -> str:
    name = path.resolve().name if path.is_dir() else path.stem
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())[:100] or "row"


def plan_results(
    rows: Mapping[str, tuple[str, ForeignResults]], common: CommonPrompts, output: Path
) -> ScorePlan:
    """The suite of these rows. rows: as `named_rows` has them; common: the prompts that all have."""
    first = next(found for _, found in rows.values())
    listed = output / "prompts.jsonl"
    files = {
        output / "rows" / f"{row}.yaml": as_plain_yaml(_row_file(row, label, found))
        for row, (label, found) in rows.items()
    }
    files[listed] = "".join(
        json.dumps(_line(prompt.model_dump(mode="json")), ensure_ascii=False) + "\n"
        for prompt in common.prompts
    )
    said = [
        "Protocols were not declared; compare these rows only if prompts, texts, samples and filter agree."
    ]
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


def _row_file(row: str, label: str, found: ForeignResults) -> dict[str, Any]:
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
            "protocol": NOT_DECLARED,
        },
        "declared": dict.fromkeys(("steps", "noise", "seeds", "prompts", "precision", "encoder")),
        "licence": "not stated",
        "citation": "results given to raven-bench compare",
    }
