"""The list of files that each stage reaches, so that a new import is a decision.

After a deliberate change: python -m tests.workflow.test_stage_files,
then read the difference: every file in it
makes the stage run again when its meaning changes.
"""

import json
from pathlib import Path

import pytest

from workflow.planning.code_digest import imported_files

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/stage_files.json"
STAGES = (
    "workflow.scripts.prompts",
    "workflow.scripts.train_raven",
    "workflow.scripts.train_cm_grpo",
    "workflow.scripts.convert",
    "workflow.scripts.sample",
    "workflow.scripts.render",
    "workflow.scripts.control_clips",
    "workflow.scripts.external",
    "workflow.scripts.import_clips",
    "workflow.scripts.import_results",
    "workflow.scripts.check",
    "workflow.scripts.filter",
    "evaluation.toybox.score",
    "workflow.scripts.score_custom",
    "workflow.scripts.filter_part",
    "workflow.scripts.filter_join",
    "workflow.scripts.cut_pieces",
    "workflow.scripts.between_pieces",
    "workflow.scripts.score_part",
    "workflow.scripts.score_join",
    "evaluation.vbench.worker.runner",
    "evaluation.vbench.worker.reward_worker",
    "workflow.scripts.measure_long",
    "workflow.scripts.long_table",
    "workflow.scripts.aggregate",
    "workflow.scripts.report",
)


def reached(stage: str) -> list[str]:
    """Paths of the files that decide a stage, but for empty ones that make a folder a package."""
    paths = [path.as_posix() for path in imported_files(ROOT, stage)]
    return [path for path in paths if (ROOT / path).stat().st_size]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_reaches_the_files_that_it_is_known_to_reach(stage: str) -> None:
    """Guards against an import that makes every edit of a neighbour cost GPU-hours."""
    assert reached(stage) == json.loads(GOLDEN.read_text(encoding="utf-8"))[stage]


def test_the_dearest_stages_reach_nothing_that_only_names_things() -> None:
    """Guards against resampling for a sentence of the start, a figure, a scorer or another stage."""
    for stage in (
        "workflow.scripts.sample",
        "workflow.scripts.train_raven",
        "workflow.scripts.train_cm_grpo",
    ):
        cheap = ("reports/", "workflow/planning/", "evaluation/toybox/scorers/", "evaluation/vbench/")
        assert not [path for path in reached(stage) if path.startswith(cheap)], stage


if __name__ == "__main__":
    GOLDEN.write_text(
        json.dumps({stage: reached(stage) for stage in STAGES}, indent=1) + "\n", encoding="utf-8"
    )
