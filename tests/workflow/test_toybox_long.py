"""A small suite of long clips from its file to the report: windows, curves, controls, the label of stress."""

import json
from pathlib import Path

import pytest

from evaluation.chunks import ChunkTable
from evaluation.long_table import LongTable
from evaluation.records import Clip, DimensionResult, read_json, read_jsonl
from tests.workflow.project import copy_project, snakemake

FRAMES = 177
"""45 latent frames, 11 s: two windows."""
CONFIG = f"""
suite: long_small
benchmark: toybox
label: "Small long clips of random students: proves that the pipeline runs."
device: cpu
stress: true
baselines: [longlive, self_forcing_window21]
controls: [truth, chunk_flicker]
dimensions: [temporal_flickering, multiple_objects, human_action, spatial_relationship, appearance_style,
  temporal_style, overall_consistency]
prompts: {{list: workflow/config/toybox_long.jsonl, per_dimension: 1, samples: 1}}
clip: {{pixel_frames: {FRAMES}, height: 64, width: 64, fps: 16}}
sample: {{batch: 2, shards: 1, noise: portable, precision: float32}}
model:
  codec: models/embedded/codec.safetensors
  text: models/embedded/text.safetensors
  latent_height: 8
  latent_width: 8
weights:
  longlive: {{path: models/embedded/self_forcing.safetensors}}
  self_forcing_window21: models/embedded/self_forcing.safetensors
train: {{}}
raven: null
cm_grpo: null
aggregate: {{draws: 4000, seed: 0}}
report: {{clips_budget_mb: 2, note: null}}
rates: {{train_s: 5, sample_s: 0.0198, score_s: 0.00395, job_s: 1.0, video_mb: 0.00198}}
resources: []
allow_degenerate: [longlive, self_forcing_window21]
"""


@pytest.mark.slow
def test_long_clips_from_suite_to_report(tmp_path: Path) -> None:
    """Guards against a stage that knows 81 frames only, a lost label, a curve that ends too early."""
    project = tmp_path / "project"
    copy_project(project, CONFIG)
    done = snakemake(project, "long_small")
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    results = project / "results/long_small"
    clips = read_jsonl(Clip, results / "clips/longlive/manifest.jsonl")
    assert {clip.pixel_frames for clip in clips} == {FRAMES}
    truth = read_json(DimensionResult, results / "scores/truth/multiple_objects.result.json")
    assert truth.mean == 1.0
    table = read_json(ChunkTable, results / "aggregate/chunks.json")
    assert table.pixel_frames == FRAMES
    (flat,) = (c for c in table.curves if (c.row, c.metric) == ("truth", "human_action"))
    assert flat.drift is not None and flat.drift.mean == 0.0
    assert table.seconds_of == 16
    assert [one is not None for one in flat.chunks] == [True] * 10 + [False] * 2  # two windows end at 10.1 s
    measured = read_json(LongTable, results / "aggregate/long.json")
    jumps = {one.row: one.value.mean for one in measured.cells if one.measure == "border_jump"}
    assert jumps["chunk_flicker"] > 2 * jumps["truth"]
    label = "Self Forcing, window 21 (stress: made for 5.1 s)"
    record = json.loads((results / "run.json").read_text())
    assert record["settings"]["rows"]["self_forcing_window21"]["label"] == label
    page = (results / "report.html").read_text()
    assert label in page and "Not made for this length" in page
    assert 'id="long-clips"' in page and "After 11 seconds" in page
    exported = [path.read_text() for path in results.glob("*.csv")] + [done.stdout + done.stderr]
    assert any(label in text for text in exported)
    assert "LongLive 1.0 (stress" not in page


@pytest.mark.slow
def test_without_stress_nothing_starts(tmp_path: Path) -> None:
    project = tmp_path / "project"
    copy_project(project, CONFIG.replace("stress: true\n", ""))
    done = snakemake(project, "long_small", "--dry-run")
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "self_forcing_window21 is made for 5.1 s" in said and "`stress: true`" in said, said
    assert "Traceback" not in said
