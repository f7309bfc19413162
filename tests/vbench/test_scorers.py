"""The table of dimensions: every function in it exists, and a change to one dimension's code scores no
other.
"""

import json
from pathlib import Path

import pytest

from evaluation.dimensions import NAMES
from evaluation.vbench.scorers import OFFICIAL_SCORERS, WORKER
from evaluation.vbench.worker.runner import function_named
from workflow.planning.code_digest import imported_files
from workflow.planning.suite_file import read_suite

ROOT = Path(__file__).parents[2]
FOLDER = Path("evaluation/vbench/worker")
SHARED = {"guard.py", "job.py", "runner.py", "watch.py", "whole.py"}
"""What every dimension runs, so that a change there scores all of them again."""
CLIP = ("aesthetic_quality", "background_consistency", "appearance_style")
GRIT = ("object_class", "multiple_objects", "color", "spatial_relationship")
LOOSELY_LOADED = ("human_action", "scene")
USERS = {
    "early_stop.py": {"dynamic_degree"},
    "networks.py": set(LOOSELY_LOADED),
    "fast/amt.py": {"motion_smoothness"},
    "fast/clip.py": set(CLIP),
    "fast/dino.py": {"subject_consistency"},
    "fast/flicker.py": {"temporal_flickering"},
    "fast/frames.py": {*CLIP, "subject_consistency", "imaging_quality"},
    "fast/grit.py": set(GRIT),
    "fast/grit_text.py": set(GRIT),
    "fast/motion.py": {"dynamic_degree"},
    "fast/musiq.py": {"imaging_quality"},
    "fast/raft.py": {"dynamic_degree", "motion_smoothness"},
    "fast/tag2text.py": {"scene"},
    "fast/umt.py": {"human_action"},
    "fast/viclip.py": {"temporal_style", "overall_consistency"},
    "scorers/clip.py": {"aesthetic_quality", "background_consistency"},
    "scorers/dynamic_degree.py": {"dynamic_degree"},
    "scorers/object_class.py": {"object_class"},
    "scorers/scene.py": {"scene"},
    "scorers/subject_consistency.py": {"subject_consistency"},
}
"""The dimensions that a change to a file of the worker scores again."""


def files_of(dimension: str) -> set[str]:
    """Files of the worker that count for a dimension, seen from its folder."""
    modules = OFFICIAL_SCORERS[dimension].modules
    found = {path for module in modules for path in imported_files(ROOT, module)}
    inside = {path.relative_to(FOLDER).as_posix() for path in found if path.is_relative_to(FOLDER)}
    return {name for name in inside if not name.endswith("__init__.py")}


def test_a_change_to_one_scorer_scores_no_other_dimension() -> None:
    """Guards GPU-hours: a file that a dimension begins to use is a decision, and whatever only one uses
    counts for that one.
    """
    assert set(OFFICIAL_SCORERS) == set(NAMES)
    reached = {dimension: files_of(dimension) for dimension in NAMES}
    assert set.intersection(*reached.values()) == SHARED
    every = {file for files in reached.values() for file in files - SHARED}
    assert {file: {name for name in NAMES if file in reached[name]} for file in every} == USERS
    folders = {path.relative_to(ROOT / FOLDER).as_posix() for path in (ROOT / FOLDER).glob("*/[a-z]*.py")}
    of_second_scorings = {"scorers/given_text.py"}
    assert {file for file in USERS if "/" in file} == folders - of_second_scorings
    table = Path("evaluation/vbench/scorers.py")
    assert table not in imported_files(ROOT, "workflow.scripts.score_part"), (
        "its lines are parameters of the rule"
    )


@pytest.mark.parametrize("dimension", NAMES)
def test_the_worker_finds_what_the_table_names(dimension: str) -> None:
    """Guards against a name that is found out after the checkpoints were loaded on a GPU."""
    told = json.loads(json.dumps(OFFICIAL_SCORERS[dimension].as_job()))
    named = [told[key] for key in ("speed_up", "adapt", "around") if told[key] is not None]
    assert all(callable(function_named(name)) for name in named)
    assert {f"{WORKER}.{name.rpartition('.')[0]}" for name in named} < set(
        OFFICIAL_SCORERS[dimension].modules
    )


def test_the_former_name_of_the_backend_is_refused_with_the_new_one() -> None:
    """Guards suites written before against being scored by the default without a word."""
    config = ROOT / "workflow/config/vbench.yaml"
    assert read_suite(config, ROOT).scoring.backend == "fast"
    with pytest.raises(ValueError, match=r"'scoring\.path' is called 'backend' now; rename it"):
        read_suite(config, ROOT, {"scoring": {"path": "official"}})
