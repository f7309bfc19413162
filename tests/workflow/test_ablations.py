"""Several trained rows of one recipe, from nothing to one report (random models, an iteration or two)."""

import json
from pathlib import Path

import pytest

from evaluation.records import Clip, ScoresTable, TrainManifest, WeightsManifest, read_json, read_jsonl
from reports.run import Run
from tests.workflow.project import Job, copy_project, planned, replace_in, snakemake

pytestmark = pytest.mark.slow

VARIANTS = ("equal", "rollouts")
ROWS = ("raven", *VARIANTS, "cm_grpo", "flow")
CONFIG = """
suite: ablated
benchmark: toybox
label: "Variants of two recipes"
device: cpu
baselines: [raven, equal, rollouts, cm_grpo, flow]
controls: []
dimensions: [color]
prompts: {seed: 0, per_dimension: 3, samples: 1, static_samples: 2, static_keep: 1}
clip: {pixel_frames: 81, height: 128, width: 128, fps: 16}
sample: {batch: 2, shards: 1, noise: portable, precision: float32}
noise_key: shared
model:
  codec: models/embedded/codec.safetensors
  text: models/embedded/text.safetensors
  latent_height: 8
  latent_width: 8
weights: {}
train:
  raven: &raven
    recipe: raven
    init: models/embedded/causal_init.safetensors
    teacher: models/embedded/base.safetensors
    flavour: full
  equal: {<<: *raven, baseline: raven, settings: {chunk_weighting: null}}
  rollouts:
    <<: *raven
    baseline: raven
    settings: {forcing: diffusion_forcing_self_rollout}
    title: RAVEN (DF)
  cm_grpo: &cm_grpo {recipe: cm_grpo, init: equal, teacher: models/embedded/base.safetensors, flavour: merged}
  flow: {<<: *cm_grpo, baseline: cm_grpo, settings: {flow_grpo: {noise_level: 0.4}}}
raven: {iterations: 2, batch: 2, seed: 1, student: {lr: 1e-3}, fake: {lr: 1e-4}}
cm_grpo:
  iterations: 1
  prompts: 1
  group: 2
  seed: 2
  heldout: 2
  lora_rank: 4
  optimizer: {lr: 1e-2}
  rewards: {color: 1.0}
aggregate: {draws: 2000, seed: 0}
report: {clips_budget_mb: 2, note: null}
rates: {train_s: 5, sample_s: 0.0198, score_s: 0.00395, job_s: 1.0, video_mb: 0.00198}
resources: []
"""


def test_rows_of_one_recipe_stand_in_one_report(tmp_path: Path) -> None:
    """Guards against rows that share settings, weights, a folder, a label or a held-out check, and against a
    variant's settings that train another row anew.
    """
    project = tmp_path / "project"
    copy_project(project, CONFIG)
    answer = snakemake(project, "ablated")
    assert answer.returncode == 0, (answer.stdout + answer.stderr)[-6000:]
    results = project / "results/ablated"

    trained = {row: read_json(TrainManifest, results / "train" / row / "train.json") for row in ROWS}
    assert len({one.settings_sha256 for one in trained.values()}) == len(ROWS)
    assert len({one.tensors_sha256 for one in trained.values()}) == len(ROWS)
    full = read_json(WeightsManifest, results / "weights/equal/full.json")
    assert trained["flow"].init_sha256 == trained["cm_grpo"].init_sha256 == full.sha256
    clips = {row: read_jsonl(Clip, results / "clips" / row / "manifest.jsonl") for row in ROWS}
    assert {clip.noise for row in ROWS for clip in clips[row]} == {"portable:shared"}
    assert len({clip.settings_sha256 for row in ROWS for clip in clips[row]}) == 1
    assert len({clip.weights_sha256 for row in ROWS for clip in clips[row]}) == len(ROWS)

    labels = {row.row: row.label for row in read_json(ScoresTable, results / "aggregate/scores.json").rows}
    assert labels == {
        "raven": "RAVEN",
        "equal": "RAVEN, chunk_weighting none",
        "rollouts": "RAVEN (DF)",
        "cm_grpo": "RAVEN + CM-GRPO",
        "flow": "RAVEN + CM-GRPO, flow_grpo.noise_level 0.4",
    }
    run = read_json(Run, results / "run.json")
    assert list(run.curves) == list(ROWS) and set(run.measured.rows) == set(ROWS)
    assert all(run.measured.rows[row]["train"] > 0 for row in ROWS)
    assert [(check.before, check.after) for check in run.heldout] == [("equal", "cm_grpo"), ("equal", "flow")]
    assert run.provenance["noise_key"] == "shared"
    page = (results / "report.html").read_text(encoding="utf-8")
    for said in (
        "What differs between the rows of recipe raven", "What differs between the rows of recipe cm_grpo",
        "training.forcing", "diffusion_forcing_self_rollout", "noise key shared",
        "was trained as RAVEN was, but for chunk_weighting none.",
    ):  # fmt: skip
        assert said in page, said

    assert planned(project, "ablated") == set()
    replace_in(project / "workflow/config/ablated.yaml", "noise_level: 0.4", "noise_level: 0.8")
    jobs: set[Job] = {(rule, "flow") for rule in ("train", "convert_cm_grpo", "score_heldout", "sample")}
    jobs |= {("check", "flow"), ("filter", "flow"), ("score", "flow", "color"), ("aggregate",), ("report",)}
    assert planned(project, "ablated") == jobs
    runs = json.loads((results / "train/raven/checkpoint/progress.json").read_text())["identity"][:12]
    assert (results / "train/raven/runs" / runs).is_dir()
