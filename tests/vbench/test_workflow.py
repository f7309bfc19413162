"""The vbench world from imported clips to the table, as Snakemake runs it: filter and three dimensions by the
official package.
"""

import json
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from evaluation.clips import write_clip
from evaluation.records import DimensionResult, FilteredSet, read_json
from evaluation.vbench.weights import AMT_FILE, RAFT_ZIP
from tests.vbench import tiny
from tests.vbench.stand_in import lay_as_fetched, unpin
from tests.workflow.project import LEFT_OUT, planned
from workflow.scoring.vbench_process import VENV, environment_hash

SUITE = """\
suite: mini
benchmark: vbench
label: "Official VBench with random weights on tiny clips: proves the path and nothing else."
device: cpu
baselines: [folder]
controls: []
dimensions: [temporal_flickering, background_consistency, motion_smoothness]
prompts: {list: mini.csv, per_dimension: null}
clip: {pixel_frames: 9, height: 32, width: 64, fps: 16}
sample: {batch: 1, shards: 1, noise: portable, precision: float32}
model: {codec: none, text: none, latent_height: 1, latent_width: 1}
weights: {}
train: {}
raven: null
cm_grpo: null
scoring: {resources: [scorer], detectron2: null, parts: {background_consistency: 2},
  filter_parts: 1, threads: 1}
aggregate: {draws: 2000, seed: 0}
report: {clips_budget_mb: 2, note: null}
rates: {train_s: 5, sample_s: 0.0198, score_s: 0.00395, job_s: 1.0, video_mb: 0.00198}
resources: []
"""

PROMPTS = """\
id,prompt,samples,dimensions,keep
still,"a still vase, on a table",3,temporal_flickering,2
bird,a red bird,2,background_consistency;motion_smoothness,
cat,a person's cat,1,background_consistency;motion_smoothness,
"""

IMPORT = """\
name: folder
kind: import
title: Theirs
clips: {path: elsewhere, shape: {pixel_frames: 7, height: 128, width: 160, fps: 8}}
declared: {steps: null, noise: null, seeds: null, prompts: extended, precision: null, encoder: null}
licence: CC BY 4.0
citation: "B. Author, Theirs, 2026"
"""

FILES = ("clip_model/ViT-B-32.pt", AMT_FILE, RAFT_ZIP)
"""What is fetched, below weights/vbench."""


def make_project(folder: Path, cache: Path) -> None:
    """A copy of the project with the suite `mini`, six clips under VBench's names, of another shape than the
    suite's, and random checkpoints where `make fetch` would put them.
    """
    ignored = shutil.ignore_patterns(*LEFT_OUT)
    shutil.copytree(tiny.ROOT, folder, symlinks=True, ignore=ignored)
    (folder / "workflow/config/mini.yaml").write_text(SUITE)
    (folder / "mini.csv").write_text(PROMPTS)
    (folder / "baselines/folder.yaml").write_text(IMPORT)
    frozen = tiny.drifting(1, 1, 128, 160).repeat(7, axis=0)
    for name, frames in {
        "a still vase, on a table-0": frozen,
        "a still vase, on a table-1": tiny.drifting(2, 7, 128, 160),
        "a still vase, on a table-2": tiny.drifting(3, 1, 128, 160).repeat(7, axis=0),
        "a red bird-0": tiny.drifting(4, 7, 128, 160),
        "a red bird-1": tiny.drifting(5, 7, 128, 160),
        "a person's cat-0": tiny.drifting(6, 7, 128, 160),
    }.items():
        frames[3, :8, :8] = 255 - frames[3, :8, :8] // 2  # no two frames alike
        write_clip(folder / f"elsewhere/{name}.mp4", frames, fps=8)
    listed = (folder / "workflow/resources.yaml").read_text()
    entries = re.split(r"^(?=- path: )", listed, flags=re.MULTILINE)
    wanted = [e for e in entries if any(f"weights/vbench/{name}\n" in e for name in FILES)]
    assert len(wanted) == len(FILES)
    (folder / "workflow/resources.yaml").write_text("".join(wanted))
    unpin(folder)
    lay_as_fetched(cache, folder / "resources", FILES)
    (folder / ".venvs").mkdir()
    (folder / ".venvs/vbench").symlink_to(tiny.PYTHON.parents[1])


def run(folder: Path, *arguments: str) -> str:
    """Run the suite `mini` on two cores; what Snakemake printed. Fails if it does."""
    command = [sys.executable, "-m", "snakemake", "reports/table.html", "--profile", "local", "--cores", "2"]
    command += ["--configfile", "workflow/config/mini.yaml", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=tiny.environment(), capture_output=True, text=True, check=False, timeout=580
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return done.stdout + done.stderr


@pytest.mark.vbench
@tiny.needs_environment()
def test_imported_clips_are_filtered_and_scored_by_the_official_package(tmp_path: Path) -> None:
    """Guards the whole path: environment, checkpoints, filter, parts, join, table; and what reruns when the
    environment changes.
    """
    tiny.make_cache(tmp_path, "clip_b32", "amt", "raft")
    folder = tmp_path / "project"
    make_project(folder, tmp_path / "cache")
    run(folder)
    results = folder / "results/mini"
    filtered = read_json(FilteredSet, results / "filter/folder.json")
    assert filtered.filtered[0].motion and len(filtered.filtered[0].motion) == 3
    assert filtered.kept["still"] == tuple(i for i, s in enumerate(filtered.filtered[0].static) if s)[:2]
    for dimension, count in {"background_consistency": 3, "motion_smoothness": 3}.items():
        result = read_json(DimensionResult, results / f"scores/folder/{dimension}.result.json")
        score, rows = json.loads((results / f"scores/folder/{dimension}.json").read_text())[dimension]
        assert (result.kind, len(result.clips), len(rows), result.mean) == ("official", count, count, score)
    assert json.loads((results / "aggregate/scores.json").read_text())["rows"][0]["incomplete"]
    page = unescape((folder / "reports/table.html").read_text())
    assert "its clips have 7 frames of 160x128 pixels at 8 per second, the suite's 9 frames of 64x32" in page
    assert planned(folder, "mini") == set()
    lock = folder / "envs/vbench/requirements.lock"
    lock.write_text(lock.read_text() + "# changed\n")
    rules = {job[0] for job in planned(folder, "mini")}
    assert {"vbench_environment", "filter_part", "score_part"} <= rules
    assert not rules & {"prompts", "import_clips", "check"}


@pytest.mark.slow
def test_an_environment_without_detectron2_is_completed_before_its_dimensions(tmp_path: Path) -> None:
    """Guards a machine on which `make test-vbench` built the environment first: color is not begun there, but
    nothing else waits.
    """
    folder = tmp_path / "project"
    shutil.copytree(tiny.ROOT, folder, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    listed = {
        "id": "bird",
        "prompt": "a red bird",
        "samples": 1,
        "dimensions": ["temporal_flickering", "color"],
    }
    (folder / "mini.jsonl").write_text(json.dumps(listed | {"facts": {"color": {"color": "red"}}}) + "\n")
    dimensions = "[temporal_flickering, background_consistency, motion_smoothness]"
    suite = SUITE.replace("mini.csv", "mini.jsonl").replace(dimensions, "[temporal_flickering, color]")
    (folder / "workflow/config/mini.yaml").write_text(suite)
    (folder / "baselines/folder.yaml").write_text(IMPORT)
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere/bird-0.mp4").touch()
    entries = re.split(r"^(?=- path: )", (folder / "workflow/resources.yaml").read_text(), flags=re.MULTILINE)
    (entry,) = [e for e in entries if "weights/vbench/amt_model/amt-s.pth\n" in e]
    (folder / "workflow/resources.yaml").write_text(entry)
    (folder / "resources/weights/vbench/amt_model").mkdir(parents=True)
    (folder / "resources/weights/vbench/amt_model/amt-s.pth").touch()
    built = folder / VENV / f"built-{environment_hash(folder)[:12]}"
    built.parent.mkdir(parents=True)
    built.touch()
    waiting = {job[0] for job in planned(folder, "mini")}
    assert {"vbench_environment", "score_part"} <= waiting
    built.with_name(f"{built.name}-detectron2").touch()
    assert {job[0] for job in planned(folder, "mini")} == waiting - {"vbench_environment"}
