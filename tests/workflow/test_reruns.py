"""Surgical reruns, on the DAG of a run that really finished (small random models, one training iteration).

Each case edits one thing and compares the exact set of jobs that `snakemake -n` would run.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluation.records import Clip, ScoresTable, read_json, read_jsonl
from tests.workflow.project import Job, copy_project, jobs_in, planned, replace_in, snakemake

pytestmark = pytest.mark.slow

NATIVE = ("raven", "cm_grpo", "self_forcing")
CONTROLS = ("truth",)
ROWS = NATIVE + CONTROLS
DIMENSIONS = ("temporal_flickering", "color")
CONFIG = """
suite: matrix
benchmark: toybox
label: "The rerun tests"
device: cpu
baselines: [raven, cm_grpo, self_forcing]
controls: [truth]
dimensions: [temporal_flickering, color]
custom_dimensions:
  colour_drift: {file: evaluation/custom/colour_drift.py, prompts: color}
prompts: {seed: 0, per_dimension: 5, samples: 1, static_samples: 2, static_keep: 1}
clip: {pixel_frames: 81, height: 128, width: 128, fps: 16}
sample: {batch: 4, shards: 1, noise: portable, precision: float32}
model:
  codec: models/embedded/codec.safetensors
  text: models/embedded/text.safetensors
  latent_height: 8
  latent_width: 8
weights:
  self_forcing: models/embedded/self_forcing.safetensors
train:
  raven:
    recipe: raven
    init: models/embedded/causal_init.safetensors
    teacher: models/embedded/base.safetensors
    flavour: full
  cm_grpo: {recipe: cm_grpo, init: raven, teacher: models/embedded/base.safetensors, flavour: merged}
raven: {iterations: 1, batch: 2, seed: 1, student: {lr: 1e-4}, fake: {lr: 1e-4}}
cm_grpo:
  iterations: 1
  prompts: 1
  group: 2
  seed: 2
  heldout: 2
  lora_rank: 4
  optimizer: {lr: 1e-3}
  rewards: {color: 1.0}
aggregate: {draws: 2000, seed: 0}
report: {clips_budget_mb: 2, note: null}
rates: {train_s: 5, sample_s: 0.0198, score_s: 0.00395, job_s: 1.0, video_mb: 0.00198}
resources: []
"""
LAST: set[Job] = {("aggregate",), ("report",)}


def made(*rows: str) -> set[Job]:
    """Jobs that make, prove, filter and score the clips of rows."""
    jobs: set[Job] = {("render" if row in CONTROLS else "sample", row) for row in rows}
    jobs |= {(rule, row) for rule in ("check", "filter", "score_custom") for row in rows}
    return jobs | {("score", row, dimension) for row in rows for dimension in DIMENSIONS}


TRAIN_RAVEN: set[Job] = {("train", "raven"), ("convert_raven", "raven")}
HELDOUT: Job = ("score_heldout", "cm_grpo")
TRAIN_CM_GRPO: set[Job] = {("train", "cm_grpo"), ("convert_cm_grpo", "cm_grpo"), HELDOUT}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("matrix") / "project"
    copy_project(folder, CONFIG)
    answer = snakemake(folder, "matrix")
    said = answer.stdout + answer.stderr
    assert answer.returncode == 0, said[-6000:]
    assert "Suite matrix: 10 lines" in said, "what will be done is said first"
    assert said.index("Suite matrix: 10 lines") < said.index("prompts done"), said[-6000:]
    assert "reports/table.html" in said.splitlines()[-1], said[-2000:]
    assert (folder / "reports/table.html").stat().st_size > 10_000
    said = answer.stderr.splitlines()
    assert len(said) <= 60, "without a terminal a run is told in a screen or two"
    assert any(" score done: " in line for line in said)
    page = "Report: reports/table.html; every clip plays in results/matrix/report.html"
    assert said[-1] == page, "it ends with the answer"
    return folder


@pytest.fixture
def project(finished: Path) -> Iterator[Path]:
    """The finished run; whatever a test edits is put back, with other modification times."""
    kept = {path: path.read_bytes() for path in sources(finished)}
    yield finished
    for path in sources(finished):
        if path not in kept:
            path.unlink()
    for path, content in kept.items():
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def edit(path: Path) -> None:
    """Change what a Python file means."""
    with path.open("a") as stream:
        stream.write("EDITED = True\n")


def sources(folder: Path) -> list[Path]:
    tops = ("workflow", "models", "baselines", "evaluation", "reports", "results/matrix/prompts")
    found = [path for top in tops for path in (folder / top).rglob("*") if path.is_file()]
    return [path for path in found if path.suffix in (".py", ".yaml", ".smk", ".jsonl", ".j2", ".css", ".js")]


def test_a_second_run_has_nothing_to_do_however_files_were_touched(project: Path) -> None:
    """Guards against reruns after a fresh checkout, a touch, or a copy to another machine."""
    assert planned(project, "matrix") == set()
    rng = random.Random(0)
    for path in project.rglob("*"):
        if path.is_file() and ".snakemake" not in path.parts:
            os.utime(path, times=(time.time() - rng.uniform(0, 1e6),) * 2)
    assert planned(project, "matrix") == set()


def test_a_copy_has_nothing_to_do(project: Path, tmp_path: Path) -> None:
    """Guards against metadata that holds absolute paths, hosts or times."""
    shutil.copytree(project, tmp_path / "copy", symlinks=True, copy_function=shutil.copy)
    assert planned(tmp_path / "copy", "matrix") == set()


def test_another_suite_is_not_up_to_date_because_a_report_lies_there(project: Path) -> None:
    """Guards against `make report SUITE=ci` and then `make report`, which has nothing to do and leaves the
    first suite's table.
    """
    other = project / "workflow/config/other.yaml"
    other.write_text(CONFIG.replace("suite: matrix", "suite: other"))
    everything = made(*ROWS) | TRAIN_RAVEN | TRAIN_CM_GRPO | LAST | {("prompts",)}
    assert planned(project, "other") == everything
    assert planned(project, "matrix") == set()


def test_one_baseline(project: Path) -> None:
    replace_in(project / "baselines/self_forcing.yaml", "sink: 0", "sink: 3")
    replace_in(project / "baselines/self_forcing.yaml", "window: null", "window: 12")
    assert planned(project, "matrix") == made("self_forcing") | LAST


def test_a_citation(project: Path) -> None:
    """Guards against resampling for a corrected citation."""
    replace_in(project / "baselines/self_forcing.yaml", 'citation: "', 'citation: "corrected, ')
    assert planned(project, "matrix") <= {("report",)}


def test_the_report_template(project: Path) -> None:
    with (project / "reports/templates/style.css").open("a") as stream:
        stream.write("/* edited */\n")
    assert planned(project, "matrix") == {("report",)}


def test_one_prompt(project: Path) -> None:
    """A prompt edited in the list: every row is made again from sampling on (the sampler remakes only its
    clips), no training.
    """
    prompts = project / "results/matrix/prompts/prompts.jsonl"
    lines = prompts.read_text().splitlines()
    lines[-1] = lines[-1].replace('"extended":"', '"extended":"a ', 1)
    prompts.write_text("\n".join(lines) + "\n")
    assert planned(project, "matrix") == made(*ROWS) | LAST


def test_the_prompts_of_the_suite(project: Path) -> None:
    """The suite's prompts are made again, and every row with them; training prompts are another file, so
    nothing retrains.
    """
    edit(project / "evaluation/toybox/suite.py")
    assert planned(project, "matrix") == {("prompts",)} | made(*ROWS) | LAST


def test_the_code_of_controls_and_of_the_filter(project: Path) -> None:
    """The renderer's code makes controls again and no other row; the filter's, filters and scores."""
    edit(project / "workflow/scripts/render.py")
    edit(project / "evaluation/static_filter.py")
    scored = {("score", row, dimension) for row in ROWS for dimension in DIMENSIONS} | {
        ("score_custom", row) for row in ROWS
    }
    assert planned(project, "matrix") == made(*CONTROLS) | {("filter", row) for row in ROWS} | scored | LAST


def test_one_scorer(project: Path) -> None:
    """CM-GRPO is rewarded by color here, so that it depends on that scorer; RAVEN and the fifteen other
    dimensions do not. A scorer that is no reward scores held-out prompts again, and retrains nothing.
    """
    edit(project / "evaluation/toybox/scorers/temporal_flickering.py")
    expected = {("score", row, "temporal_flickering") for row in ROWS} | {HELDOUT} | LAST
    assert planned(project, "matrix") == expected
    edit(project / "evaluation/toybox/scorers/color.py")
    expected |= {("score", row, "color") for row in ROWS} | TRAIN_CM_GRPO | made("cm_grpo")
    assert planned(project, "matrix") == expected


def test_the_rollout(project: Path) -> None:
    edit(project / "models/rollout.py")
    assert planned(project, "matrix") == made(*NATIVE) | TRAIN_RAVEN | TRAIN_CM_GRPO | LAST


def test_the_training_code(project: Path) -> None:
    """RAVEN's training code retrains RAVEN and what starts from it; shipped rows and controls stay."""
    edit(project / "models/training/raven.py")
    assert planned(project, "matrix") == TRAIN_RAVEN | TRAIN_CM_GRPO | made("raven", "cm_grpo") | LAST


def test_another_baseline_is_one_file_and_one_line(project: Path) -> None:
    text = (project / "baselines/self_forcing.yaml").read_text()
    (project / "baselines/dummy_forcing.yaml").write_text(
        text.replace("name: self_forcing", "name: dummy_forcing").replace("title: ", "title: Dummy ")
    )
    config = project / "workflow/config/matrix.yaml"
    replace_in(
        config,
        "baselines: [raven, cm_grpo, self_forcing]",
        "baselines: [raven, cm_grpo, self_forcing, dummy_forcing]",
    )
    replace_in(config, "weights:\n", "weights:\n  dummy_forcing: models/embedded/self_forcing.safetensors\n")
    assert planned(project, "matrix") == made("dummy_forcing") | LAST


def test_a_deleted_clip_is_made_again_and_only_it(project: Path) -> None:
    """Guards against a clip that was deleted by hand and is silently missing; every other clip keeps its
    bytes.
    """
    folder = project / "results/matrix/clips/self_forcing/mp4"
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    name = sorted(before)[0]
    (folder / name).unlink()
    assert planned(project, "matrix") == made("self_forcing") | LAST
    answer = snakemake(project, "matrix")
    assert answer.returncode == 0, (answer.stdout + answer.stderr)[-3000:]
    after = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    assert {n: content for n, (_, content) in after.items()} == {
        n: content for n, (_, content) in before.items()
    }
    assert [n for n in after if after[n][0] != before[n][0]] == [name]
    assert planned(project, "matrix") == set()


SCORED_ANEW: set[Job] = {("score_custom", "self_forcing")} | {
    ("score", "self_forcing", dimension) for dimension in DIMENSIONS
}
TRAINED_ROWS: set[Job] = TRAIN_RAVEN | TRAIN_CM_GRPO | made("raven", "cm_grpo")
DELETIONS: dict[str, set[Job]] = {
    "results/matrix": {("prompts",)} | TRAIN_RAVEN | TRAIN_CM_GRPO | made(*ROWS) | LAST,
    "results/matrix/prompts/prompts.jsonl": {("prompts",)} | made(*ROWS) | LAST,
    "results/matrix/train/raven": TRAINED_ROWS | LAST,
    "results/matrix/weights/raven": (TRAINED_ROWS - {("train", "raven")}) | LAST,
    "results/matrix/weights/cm_grpo": {("convert_cm_grpo", "cm_grpo")} | made("cm_grpo") | LAST,
    "results/matrix/clips/self_forcing": made("self_forcing") | LAST,
    "results/matrix/clips/self_forcing/shards": made("self_forcing") | LAST,
    "results/matrix/filter/self_forcing.json": {("filter", "self_forcing")} | SCORED_ANEW | LAST,
    "results/matrix/scores/self_forcing": SCORED_ANEW | LAST,
    "results/matrix/aggregate": LAST,
    "results/matrix/report.html": {("report",)},
}
"""What a dry run lists after a file or folder was deleted, reports/table.html being there. Of weights and
clips a run does less: what comes out with the same bytes lets nothing behind it run.
"""


@pytest.mark.parametrize("deleted", DELETIONS)
def test_deleted_results_are_noticed(project: Path, deleted: str) -> None:
    """Guards against "Nothing to be done" while what the report was made from is gone."""
    kept = project / "deleted.tmp"
    (project / deleted).rename(kept)
    try:
        assert planned(project, "matrix") == DELETIONS[deleted]
    finally:
        shutil.rmtree(project / deleted, ignore_errors=True)  # where notes were written
        kept.rename(project / deleted)
        for note in (project / "results").rglob("*.gone"):
            note.unlink()
    assert planned(project, "matrix") == set()


def test_a_page_alone_stands_for_no_run(project: Path) -> None:
    """Guards against "Nothing to be done" where results and Snakemake's records were deleted together."""
    kept = project / "kept.tmp"
    kept.mkdir()
    for name in ("results", ".snakemake"):
        (project / name).rename(kept / name)
    try:
        assert planned(project, "matrix") >= made(*ROWS) | LAST
    finally:
        for name in ("results", ".snakemake"):
            shutil.rmtree(project / name)
            (kept / name).rename(project / name)
    assert planned(project, "matrix") == set()


def test_deleted_results_come_back_with_their_bytes_and_nothing_else_runs(project: Path) -> None:
    """Guards against weeks of training, and scoring anew, because weights or clips were deleted."""
    results = project / "results/matrix"
    deleted = [results / name for name in ("weights/raven", "clips/truth", "scores/self_forcing")]
    before = {
        path: path.read_bytes()
        for top in deleted
        for path in top.rglob("*.*")
        if path.is_file() and "journal" not in path.parts and "timings" not in path.name
    }
    for path in deleted:
        shutil.rmtree(path)
    (results / "report.html").unlink()
    answer = snakemake(project, "matrix", "-p")  # Snakemake's own output, which lists jobs
    said = answer.stdout + answer.stderr
    assert answer.returncode == 0, said[-3000:]
    assert "Behind results/matrix/aggregate/scores.json 3 files are gone (results/matrix/scores/" in said
    # Snakemake does not look again at these, which find their clips finished and write the same manifests.
    looked_at = LAST | {("check", "raven"), ("check", "cm_grpo"), ("sample", "cm_grpo")}
    made_again: set[Job] = {("convert_raven", "raven"), ("render", "truth"), ("check", "truth")} | SCORED_ANEW
    assert jobs_in(said) - looked_at == made_again
    assert (results / "report.html").is_file()
    assert {path: path.read_bytes() for path in before} == before
    assert planned(project, "matrix") == set()


def test_a_custom_dimension(project: Path) -> None:
    """Editing its file scores it again in every row, and nothing else."""
    edit(project / "evaluation/custom/colour_drift.py")
    assert planned(project, "matrix") == {("score_custom", row) for row in ROWS} | LAST


def test_a_subset_of_rows_and_dimensions_makes_only_a_table(project: Path) -> None:
    """Rows and dimensions of a finished run are there; a wrong name is answered before anything runs."""
    only = "only=rows=raven,truth dimensions=color"
    assert planned(project, "matrix", "--config", only) == LAST
    answer = snakemake(project, "matrix", "-n", "--config", "only=rows=ravn")
    assert answer.returncode != 0
    assert "'ravn', which this suite does not have; it has raven, cm_grpo, self_forcing, truth." in (
        answer.stdout + answer.stderr
    )


def test_a_subset_of_prompts_takes_the_clips_that_are_there(project: Path) -> None:
    """It samples no clip anew, has a folder of its own, says so in every export, and leaves the whole run as
    it was.
    """
    results = project / "results/matrix"
    ids = [json.loads(line)["id"] for line in (results / "prompts/prompts.jsonl").read_text().splitlines()]
    kept = [results / name for name in ("aggregate/scores.json", "report.html", "clips/raven/manifest.jsonl")]
    mp4 = sorted((results / "clips/raven/mp4").iterdir())
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in [*kept, *mp4]}
    answer = snakemake(
        project, "matrix", "--config", f"only=rows=raven prompts={ids[-1]},{ids[-2]},{ids[-3]} samples=0"
    )
    assert answer.returncode == 0, (answer.stdout + answer.stderr)[-3000:]
    (folder,) = [path.parent for path in (results / "subsets").glob("*/report.html")]
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before} == before
    table = read_json(ScoresTable, folder / "aggregate/scores.json")
    assert [(row.row, row.total) for row in table.rows] == [("raven", None)]
    assert table.subset is not None
    assert f"all but 3 of {len(ids)} prompts ({', '.join(sorted(ids[-3:], key=ids.index))})" in table.subset
    for name in ("report.html", "table.csv", "chunks.csv", "table.md", "table.tex", "run.json"):
        assert "Subset run, not comparable" in (folder / name).read_text(), name
    whole = read_jsonl(Clip, results / "clips/raven/manifest.jsonl")
    listed = read_jsonl(Clip, folder / "clips/raven/manifest.jsonl")
    assert len(listed) == 3
    assert all(clip in whole for clip in listed), "the same clips, byte for byte"
    assert planned(project, "matrix") == {("report",)}, "only reports/table.html, the last one built"
    assert snakemake(project, "matrix").returncode == 0


def test_the_file_that_made_results_stale_is_named_and_they_can_be_kept(project: Path) -> None:
    """Guards against 37 GPU-hours for an upgrade that changes nothing, and old clips kept in silence."""
    edit(project / "workflow/scripts/check.py")
    answer = snakemake(project, "matrix", "-n")
    said = answer.stdout + answer.stderr
    manifests = {path.resolve() for path in (project / "results/matrix").glob("**/clips/*/manifest.jsonl")}
    assert len(manifests) >= len(ROWS), "those that a subset made are counted too"
    assert f"check: {2 * len(manifests)} files were made before workflow/scripts/check.py changed" in said
    assert {job for job in jobs_in(said) if job[0] == "check"} == {("check", row) for row in ROWS}
    keep = [
        sys.executable,
        "-m",
        "workflow.scripts.accept",
        "check",
        "--config",
        "workflow/config/matrix.yaml",
    ]
    for reason, code in ((" ", 1), ("a constant that nothing reads", 0), ("twice", 1)):
        done = subprocess.run([*keep, "--because", reason], cwd=project, capture_output=True, check=False)
        assert done.returncode == code, done.stderr.decode()[-2000:]
    assert planned(project, "matrix") == {("report",)}, "the page says what was kept"
    record = (project / "results/matrix/accepted.jsonl").read_text()
    assert "a constant that nothing reads" in record
    assert "workflow/scripts/check.py" in record
    edit(project / "workflow/scripts/check.py")
    assert ("check", "raven") in planned(project, "matrix"), "the next change is another matter"
    (project / "results/matrix/accepted.jsonl").unlink()
