"""A small suite of long clips from its file to the report: windows, curves, controls, the label of stress."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from baselines.build import build_sampler
from baselines.spec import load_baseline
from evaluation.api import compare
from evaluation.chunks import ChunkTable
from evaluation.long_table import LongTable
from evaluation.records import Clip, DimensionResult, ScoresTable, read_json, read_jsonl
from models.checkpoints.open import open_model
from models.codec import LinearCodec
from models.noise import SampleKey
from models.text import ToyTextEncoder
from tests.workflow.project import copy_project, snakemake
from tests.workflow.test_results_rows import finished
from workflow.planning.suite_file import load_suite

ROOT = Path(__file__).parents[2]
EMBEDDED = ROOT / "models/embedded"

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


ROWS = load_suite(ROOT, [ROOT / "workflow/config/toybox_long.yaml"], {})


@pytest.mark.parametrize("row", ROWS.baselines)
def test_a_shipped_students_long_clip_begins_with_its_short_one(row: str) -> None:
    """Latents and pixels bit for bit, of the prompt, noise and codec of the suite; of a rolling row but for
    the last blocks of the short clip. RAVEN is trained in the run, and stands here for any full history.
    """
    baseline = load_baseline(ROOT / f"baselines/{row}.yaml")
    shipped = row in ROWS.weights
    wan = open_model(ROOT / ROWS.weights_path(row) if shipped else EMBEDDED / "causal_init.safetensors")
    codec = LinearCodec.load(EMBEDDED / "codec.safetensors")
    text = ToyTextEncoder.load(EMBEDDED / "text.safetensors").encode(
        ["this short clip shows one large bright blue person jumping up and down on the soft starry night"]
    )
    found = []
    for frames in (21, 63):
        sampler = build_sampler(
            baseline.at_length(frames), wan, latent_shape=(frames, 16, 8, 8), precision="float32"
        )
        noise = sampler.portable_noise(ROWS.noise_key or "", [SampleKey("action_01", 0)])
        with torch.inference_mode():
            stream, made = codec.stream(), []
            for chunk in sampler.sample(text, noise):
                made.append((chunk.latents, stream.push(chunk.latents)))
        found.append([torch.cat(parts, dim=1) for parts in zip(*made, strict=True)])
    short, long = found
    same = 9 if baseline.rollout.kind == "rolling" else 21
    assert torch.equal(long[0][:, :same], short[0][:, :same])
    assert torch.equal(long[1][:, : 4 * same - 3], short[1][:, : 4 * same - 3])
    if same < 21:
        assert not torch.equal(long[0][:, same : same + 3], short[0][:, same : same + 3])


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
    check_results_without_clips(project, results, tmp_path)


OTHERS = ("longlive", "self_forcing_window21")
ROW = """
name: theirs
kind: results
title: Theirs
results:
  path: %s
  row: self_forcing_window21
  scorer: checkers
  version: "1"
  protocol: {prompts: extended, text: short}
declared: {steps: null, noise: null, seeds: null, precision: null, encoder: null}
licence: MIT
citation: Theirs
"""


def check_results_without_clips(project: Path, results: Path, folder: Path) -> None:
    """The run.json of long clips as somebody's results: compared, reported and imported with the numbers of
    the run; beside short clips, or long ones of another length, one sentence.
    """
    own = read_json(ScoresTable, results / "aggregate/scores.json")
    expected = {
        pair.metric: pair.difference.mean for pair in own.pairs if (pair.a, pair.b) == OTHERS and pair.prompts
    }
    files = [f"{results / 'run.json'}:{row}" for row in OTHERS]
    found = compare(*files)
    assert dict(zip(found["metric"], found["difference"], strict=True)) == pytest.approx(expected)
    output = folder / "compared"
    finished(project, ["workflow.scripts.compare_results", *files, "--output", str(output), "--cores", "2"])
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "long clips" in page and "Self Forcing, window 21 (stress: made for 5.1 s)" in page
    shutil.copy(results / "run.json", folder / "run.json")
    (project / "baselines/theirs.yaml").write_text(ROW % (folder / "run.json"))
    for name, changed in {
        "long_mixed": CONFIG,
        "long_short": CONFIG.replace(f"pixel_frames: {FRAMES}", "pixel_frames: 81"),
        "long_other": CONFIG.replace(f"pixel_frames: {FRAMES}", "pixel_frames: 249"),
    }.items():
        made = changed.replace("suite: long_small", f"suite: {name}\nnoise_key: long_small")
        made = re.sub(r"baselines: \[.*\]", "baselines: [longlive, theirs]", made)
        made = made.replace("  self_forcing_window21: models/embedded/self_forcing.safetensors\n", "")
        made = made.replace("[longlive, self_forcing_window21]", "[longlive]")
        (project / f"workflow/config/{name}.yaml").write_text(made)
    done = snakemake(project, "long_mixed")
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    mixed = read_json(ScoresTable, project / "results/long_mixed/aggregate/scores.json")
    again = {p.metric: p.difference.mean for p in mixed.pairs if (p.a, p.b) == ("longlive", "theirs")}
    assert again == pytest.approx(expected)
    for name, said in (
        ("long_short", "row theirs of this suite are of two protocols (long clips, standard)"),
        ("long_other", "of clips of 11.1 s, row theirs of this suite of clips of 15.6 s"),
    ):
        done = snakemake(project, name)
        text = done.stdout + done.stderr
        assert done.returncode != 0 and said in text and "Traceback" not in text, text[-4000:]


@pytest.mark.slow
def test_without_stress_nothing_starts(tmp_path: Path) -> None:
    project = tmp_path / "project"
    copy_project(project, CONFIG.replace("stress: true\n", ""))
    done = snakemake(project, "long_small", "--dry-run")
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "self_forcing_window21 is made for 5.1 s" in said and "`stress: true`" in said, said
    assert "Traceback" not in said
