"""A stage that writes the same bytes again lets nothing behind it run."""

import re
from pathlib import Path

import pytest

from tests.workflow.project import copy_project, planned, replace_in, snakemake

CONFIG = """
suite: same
benchmark: toybox
label: "The same bytes"
device: cpu
baselines: [self_forcing]
controls: [truth]
dimensions: [color]
prompts: {seed: 0, per_dimension: 3, samples: 1, static_samples: 2, static_keep: 1}
clip: {pixel_frames: 81, height: 128, width: 128, fps: 16}
sample: {batch: 2, shards: 1, noise: portable, precision: float32}
model:
  codec: models/embedded/codec.safetensors
  text: models/embedded/text.safetensors
  latent_height: 8
  latent_width: 8
weights:
  self_forcing: models/embedded/self_forcing.safetensors
train: {}
raven: null
cm_grpo: null
aggregate: {draws: 2000, seed: 0}
report: {clips_budget_mb: 2, note: null}
rates: {train_s: 5, sample_s: 0.0198, score_s: 0.00395, job_s: 1.0, video_mb: 0.00198}
resources: []
"""
LAST = {"aggregate", "report"}
"""They follow several rows, so that Snakemake does not look at them again; they take seconds."""


def ran(project: Path) -> set[str]:
    """Rules whose jobs a run has started."""
    answer = snakemake(project, "same", "--printshellcmds")  # Snakemake's own output
    text = answer.stdout + answer.stderr
    assert answer.returncode == 0, text[-6000:]
    return set(re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):$", text, re.MULTILINE))


@pytest.mark.slow
def test_the_same_manifest_reruns_nothing_behind_check(tmp_path: Path) -> None:
    """Guards against scoring thousands of clips anew because one was remade, or shards were counted anew."""
    project = tmp_path / "project"
    copy_project(project, CONFIG)
    assert {"sample", "render", "check", "filter", "score"} <= ran(project)
    folder = project / "results/same/clips/self_forcing"
    manifest = (folder / "manifest.jsonl").read_bytes()
    min((folder / "mp4").iterdir()).unlink()
    assert ran(project) - LAST == {"sample", "check"}
    replace_in(project / "workflow/config/same.yaml", "shards: 1", "shards: 2")
    assert ran(project) - LAST == {"sample", "render", "check"}
    assert (folder / "manifest.jsonl").read_bytes() == manifest
    assert planned(project, "same") == set()
