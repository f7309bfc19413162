"""Rows from results alone: through the DAG with their own row's numbers to the last digit, and what is refused."""

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluation.api import read_results
from evaluation.compared_results import compare_results, named_rows
from evaluation.dimensions import NAMES
from evaluation.finished_run import read_finished_run
from evaluation.imported_results import read_foreign_results
from evaluation.records import DimensionResult, FilteredSet, ImportedSource, ScoresTable, read_json, write_jsonl
from tests.evaluation import standard_results as made
from tests.evaluation.test_compared_results import few
from tests.evaluation.test_imported_results import own_row
from tests.workflow.project import copy_project, planned, replace_in, snakemake
from evaluation.clips import upscale, write_clip
from evaluation.shards import samples_to_render
from evaluation.toybox.render import render
from workflow.planning.banner import planned_prompts
from workflow.planning.suite_file import read_suite, suite_from
from workflow.scripts import bundle, compare_results as compare_script, doctor, import_results, verify

ROOT = Path(__file__).parents[2]

SUITE = """\
suite: own
benchmark: toybox
label: "Two rows"
device: cpu
baselines: [bright, dark]
controls: []
dimensions: [temporal_flickering, aesthetic_quality, color]
prompts: {seed: 20260701, per_dimension: 4, samples: 2, static_samples: 6, static_keep: 2}
clip: {pixel_frames: 81, height: 64, width: 64, fps: 16}
sample: {batch: 4, shards: 1, noise: portable, precision: float32}
model:
  codec: models/embedded/codec.safetensors
  text: models/embedded/text.safetensors
  latent_height: 8
  latent_width: 8
weights: {}
train: {}
raven: null
cm_grpo: null
aggregate: {draws: 2000, seed: 0}
report: {clips_budget_mb: 1, note: null}
rates: {train_s: 20, clip_s: 0.25, score_clip_s: 0.02, job_s: 1.0, clip_mb: 0.04}
resources: []
"""
DECLARED = """\
declared: {steps: null, noise: null, seeds: null, prompts: extended, precision: null, encoder: null}
licence: CC BY 4.0
citation: "B. Author, Theirs"
"""
CLIPS = "name: %s\nkind: import\ntitle: Clips, %s\nclips: {path: elsewhere/%s}\n" + DECLARED
ROW = (
    """\
name: %s
kind: results
title: %s
results:
  path: %s
  row: %s
  scorer: the toybox's checkers
  version: "1"
  protocol: toybox prompts, static filter on
"""
    + DECLARED
)


def write_clips(project: Path) -> None:
    """Two rows of rendered clips, the second of which lacks a part of every picture."""
    for row in ("bright", "dark"):
        (project / "elsewhere" / row).mkdir(parents=True)
        (project / f"baselines/{row}.yaml").write_text(CLIPS % (row, row, row))
    prompts = planned_prompts(read_suite(project / "workflow/config/own.yaml", project), project)
    for row in ("bright", "dark"):
        for sample in samples_to_render(prompts):
            frames = upscale(render(sample.prompt.facts, sample.index), height=64, width=64)
            if row == "dark":
                frames[:, : 8 * (1 + len(sample.clip_id) % 4)] //= 4
            write_clip(project / f"elsewhere/{row}/{sample.clip_id}.mp4", frames, fps=16)


def numbers(table: ScoresTable, names: dict[str, str]) -> tuple[Any, ...]:
    """All that a table says in numbers, with its rows called otherwise."""
    rows = [
        (names[r.row], r.dimensions, r.total, r.quality, r.semantic, r.incomplete, r.ranks) for r in table.rows
    ]
    pairs = [pair.model_copy(update={"a": names[pair.a], "b": names[pair.b]}) for pair in table.pairs]
    return rows, pairs, table.power, table.draws


@pytest.mark.slow
def test_a_run_json_comes_back_through_the_dag_with_every_number_of_its_run(tmp_path: Path) -> None:
    """Guards the bar: scores, intervals and tests of our own rows, imported as results, are the rows' own to
    the last digit; without a clip; reported, bundled and verified; and nothing that was made runs again.
    """
    project = tmp_path / "project"
    copy_project(project, SUITE)
    write_clips(project)
    first = snakemake(project, "own")
    assert first.returncode == 0, first.stderr[-3000:]
    shutil.copy(project / "results/own/run.json", tmp_path / "run.json")
    for row, of in (("ours", "bright"), ("theirs", "dark")):
        (project / f"baselines/{row}.yaml").write_text(ROW % (row, row.title(), tmp_path / "run.json", of))
    again = SUITE.replace("suite: own", "suite: again").replace("[bright, dark]", "[ours, theirs]")
    (project / "workflow/config/again.yaml").write_text(again)
    jobs = planned(project, "again")
    assert {job[0] for job in jobs} == {
        "prompts", "import_results_ours", "import_results_theirs", "aggregate", "report"
    }  # fmt: skip
    second = snakemake(project, "again")
    assert second.returncode == 0, second.stderr[-3000:]
    assert "2 of scores alone" in second.stderr and "0 clips" in second.stderr, second.stderr[-2000:]
    own, imported = (read_finished_run(project / f"results/{name}") for name in ("own", "again"))
    names = {"bright": "ours", "dark": "theirs"}
    assert numbers(own.table, names) == numbers(imported.table, {name: name for name in names.values()})
    assert any(pair.holm < 1 for pair in own.table.pairs), "rows differ, so that tests say something"
    assert [row.kind for row in imported.table.rows] == ["results", "results"]
    kept = own.filtered["dark"].kept
    assert imported.filtered["theirs"].kept == kept and imported.filtered["theirs"].threshold is None
    assert imported.imported["theirs"].of == "dark"
    page = (project / "results/again/report.html").read_text(encoding="utf-8")
    assert "Theirs (scores imported)" in page and "recipe (toy)" not in page
    assert "as declared, unchecked (toybox prompts, static filter on)" in page
    assert not planned(project, "again")
    # a subset of prompts has the scores of its clips; a file that was changed is taken in again
    some = sorted({prompt.id for prompt in own.prompts})[0]
    subset = snakemake(project, "again", "--config", f"only=prompts={some} samples=0")
    assert subset.returncode == 0, subset.stderr[-3000:]
    (part,) = (project / "results/again/subsets").glob("*/imported/ours.json")
    clips = [
        c for p in part.parents[1].glob("scores/ours/*.json") for c in read_json(DimensionResult, p).clips
    ]
    assert clips and {clip.prompt_id for clip in clips} == {some}
    command = [sys.executable, "-m", "workflow.scripts.bundle", "results/again", "--output", "again.zip"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with zipfile.ZipFile(project / "again.zip") as archive:
        assert "again/imported/ours.json" in archive.namelist()
    assert verify.main([str(project / "again.zip")]) == 0
    (tmp_path / "run.json").write_text((tmp_path / "run.json").read_text().replace("toybox", "toybax", 1))
    changed = snakemake(project, "again")
    assert changed.returncode != 0 and "is not what its checksum says" in changed.stdout + changed.stderr
    assert read_json(ScoresTable, project / "results/again/aggregate/scores.json") == imported.table
