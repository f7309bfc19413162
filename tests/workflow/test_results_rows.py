"""Rows from results alone: the numbers of their own rows through the DAG, and what is refused."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from baselines.strict_yaml import load_yaml
from evaluation.aggregate import AggregateSettings, RowLabel
from evaluation.clips import upscale, write_clip
from evaluation.compared_results import DRAWS, SEED, common_prompts, compare_results, named_rows
from evaluation.dimensions import NAMES
from evaluation.finished_run import read_finished_run
from evaluation.imported_results import read_foreign_results
from evaluation.records import (
    DimensionResult,
    FilteredSet,
    ImportedSource,
    ScoresTable,
    read_json,
    write_jsonl,
)
from evaluation.shards import samples_to_render
from evaluation.toybox.render import render
from evaluation.vbench.reduce import official_score
from tests.evaluation import standard_results as made
from tests.evaluation.made_up import aggregate
from tests.evaluation.test_compared_results import few
from tests.evaluation.test_imported_results import own_row
from tests.workflow.project import copy_project, planned, snakemake
from workflow.external.planned_run import write_plan
from workflow.external.results_plan import plan_results
from workflow.planning.banner import planned_prompts
from workflow.planning.suite_file import read_suite, suite_from
from workflow.scripts import compare_results as compare_script
from workflow.scripts import doctor, import_results, verify

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
rates: {train_s: 20, sample_s: 0.0494, score_s: 0.00395, job_s: 1.0, video_mb: 0.0079}
resources: []
"""
DECLARED = """\
declared: {steps: null, noise: null, seeds: null, prompts: extended, precision: null, encoder: null}
licence: CC BY 4.0
citation: "B. Author, Theirs"
"""
CLIPS = "name: %s\nkind: import\ntitle: Clips, %s\nclips: {path: elsewhere/%s}\n" + DECLARED
ROW = """\
name: %s
kind: results
title: %s
results:
  path: %s
  row: %s
  scorer: the toybox's checkers
  version: "1"
  protocol: {prompts: extended, text: short}
""" + DECLARED.replace(" prompts: extended,", "")


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
        (names[r.row], r.dimensions, r.total, r.quality, r.semantic, r.incomplete, r.ranks)
        for r in table.rows
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
    assert "as declared, unchecked (extended prompts, short text scored)" in page
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


@pytest.mark.slow
def test_a_row_of_results_stands_beside_rows_with_clips(tmp_path: Path) -> None:
    """Guards a mixed suite: the tests of two rows are the same whether the second has clips or scores alone;
    a control and a dimension of the user's are of the first alone.
    """
    project = tmp_path / "project"
    copy_project(project, SUITE)
    write_clips(project)
    assert snakemake(project, "own").returncode == 0
    (project / "baselines/theirs.yaml").write_text(ROW % ("theirs", "Theirs", "results/own/run.json", "dark"))
    custom = "custom_dimensions: {colour_drift: {file: evaluation/custom/colour_drift.py}}\n"
    mixed = SUITE.replace("suite: own", "suite: mixed").replace("[bright, dark]", "[bright, theirs]")
    mixed = mixed.replace("controls: []", "controls: [frozen_first_frame_of_bright]").replace(
        "prompts: {", f"{custom}prompts: {{"
    )
    (project / "workflow/config/mixed.yaml").write_text(mixed)
    done = snakemake(project, "mixed")
    assert done.returncode == 0, done.stderr[-3000:]
    own, found = (read_finished_run(project / f"results/{name}") for name in ("own", "mixed"))
    expected = [pair.model_copy(update={"b": "theirs"}) for pair in own.table.pairs]
    assert [pair for pair in found.table.pairs if pair.b == "theirs"] == expected
    rows = {row.row: row for row in found.table.rows}
    assert "colour_drift" in rows["bright"].dimensions and "colour_drift" not in rows["theirs"].dimensions
    assert not found.manifests["theirs"] and found.manifests["bright"]
    page = (project / "results/mixed/report.html").read_text(encoding="utf-8")
    assert "toybox checkers on clips made elsewhere, not VBench, some scores imported as declared" in page
    assert not planned(project, "mixed")


@pytest.mark.slow
def test_two_leaderboard_zips_come_through_the_dag_with_the_numbers_of_their_rows(tmp_path: Path) -> None:
    """Guards `raven-bench compare a.zip b.zip --output`: a whole standard suite, exported, whose report
    has the rows' own scores, intervals and tests to the last digit, without VBench, its list or a clip.
    """
    project = tmp_path / "project"
    copy_project(project, SUITE)
    own: list[tuple[list[DimensionResult], FilteredSet]] = []
    for row, seed, shift in (("a", 1, 0.03), ("b", 2, 0.0)):
        results, kept, content = own_row(row, seed, shift)
        own.append((results, kept))
        (tmp_path / f"{row}.zip").write_bytes(content)
    rows = named_rows([read_foreign_results(tmp_path / f"{row}.zip") for row in "ab"])
    listed, output = made.prompts(), tmp_path / "standard"
    common = common_prompts([found for _, found in rows.values()])
    write_plan(plan_results(rows, common._replace(prompts=listed), output), output, project)
    command = [
        "reports/table.html",
        "--cores",
        "2",
        "--profile",
        "local",
        "--configfile",
        f"{output}/suite.yaml",
    ]
    finished(project, ["snakemake", *command])
    table = read_finished_run(output).table
    settings = AggregateSettings(
        bounds="vbench", dimensions=NAMES, draws=DRAWS, seed=SEED,
        rows={row: RowLabel(label=f"{row} (scores imported)", kind="results") for row in "ab"},
    )  # fmt: skip
    results = [result for each, _ in own for result in each]
    expected = aggregate("s", listed, results, [kept for _, kept in own], settings)
    same = {row: row for row in "ab"}
    assert numbers(table, same) == numbers(expected, same) and table.rows[0].total is not None
    output = tmp_path / "compared"
    files = [str(tmp_path / f"{row}.zip") for row in "ab"]
    said = finished(
        project, ["workflow.scripts.compare_results", *files, "--output", str(output), "--cores", "2"]
    )
    run = read_finished_run(output)
    assert numbers(run.table, same) == numbers(compare_results(rows).run.table, same)
    assert "a (scores imported) leads by" in said and "VBench protocol, scores imported as declared" in said
    assert (output / "pairs.csv").is_file() and (output / "table.csv").is_file()
    assert "toy" not in (output / "verdict.txt").read_text()
    assert "There are no clips here" in (output / "report.html").read_text(encoding="utf-8")


def finished(project: Path, words: list[str]) -> str:
    """What a module said that ended well."""
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


DIMENSION = "scene"


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """A damage to one dimension's file. change: of its content, in place, or what takes its place."""

    def damage(folder: Path) -> None:
        path = folder / f"{DIMENSION}_eval_results.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        made = change(content)
        path.write_text(json.dumps(content if made is None else made), encoding="utf-8")

    return damage


def of_rows(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[Path], None]:
    return edited(lambda content: change(content[DIMENSION][1]))


def text(written: str) -> Callable[[Path], None]:
    return lambda folder: (folder / f"{DIMENSION}_eval_results.json").write_text(written) and None


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "beyond its bounds": (
        of_rows(lambda rows: rows[0].update(video_results=1.5)),
        "a value that is 1.5, expected 0 to 1",
    ),
    "not a number": (text('{"scene": [0.5, [{"video_path": "x-0.mp4", "video_results": NaN}]]}'), "NaN"),
    "a text for a number": (of_rows(lambda rows: rows[0].update(video_results="high")), "expected a number"),
    "a clip twice": (of_rows(lambda rows: rows.append(dict(rows[0]))), "twice"),
    "clips of others": (
        of_rows(lambda rows: rows[0].update(video_path="C:\\their clips\\nobody-0.mp4")),
        "('nobody-0.mp4')",
    ),
    "no name of a clip": (
        of_rows(lambda rows: rows[0].update(video_path="clip_0007.mp4")),
        "no name of VBench's form",
    ),
    "a missing prompt": (
        edited(lambda c: c.update(scene=rescored(c["scene"][1][5:]))),
        "lacks 5 of 35 clips",
    ),
    "a sample too many": (
        of_rows(lambda rows: rows[0].update(video_path="a red thing, number 61-7.mp4")),
        "sample 7 of a prompt that has samples 0 to 4",
    ),
    "another score than its rows give": (
        edited(lambda c: c["scene"].__setitem__(0, 0.99)),
        "states the score 0.99",
    ),
    "a list for a dictionary": (edited(lambda c: [c]), "holds a list"),
    "a strange dimension": (
        edited(lambda c: {"sharpness": c["scene"]}),
        "'sharpness' is no dimension of VBench",
    ),
    "cut off": (lambda folder: cut(folder / "scene_eval_results.json"), "scene_eval_results.json"),
    "huge": (
        lambda folder: (folder / "scene_eval_results.json").write_bytes(b" " * (65 << 20)) and None,
        "65 MiB",
    ),
    "a dimension that is not there": (
        lambda folder: (folder / "scene_eval_results.json").unlink(),
        "has no result of scene",
    ),
    "nothing at all": (
        lambda folder: [path.unlink() for path in folder.iterdir()] and None,
        "holds no result",
    ),
}
"""What is done to a folder of VBench's own files, and what the one sentence must say."""


def rescored(rows: list[dict[str, Any]]) -> list[Any]:
    return [official_score(DIMENSION, rows), rows]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A row of every twelfth prompt, and the list of these."""
    folder = tmp_path_factory.mktemp("whole")
    few(folder, "theirs", 1)
    write_jsonl(folder / "prompts.jsonl", made.prompts(12))
    return folder


def taken_in(source: Path, prompts: Path, output: Path, **settings: Any) -> int:
    """The import rule's command."""
    given = {
        "row": None, "sha256": None, "benchmark": "vbench", "scorer": "VBench", "version": "0.1.5",
        "protocol": {"prompts": "extended"}, "dimensions": list(NAMES), "common": False,
    } | settings  # fmt: skip
    names = given["dimensions"]
    flags = {
        "suite": "s", "row": "theirs", "from": source, "prompts": prompts, "chosen": prompts,
        "settings": json.dumps(given), "remember": output / "clips", "output": output / "source.json",
        "filtered": output / "filter.json",
    }  # fmt: skip
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return import_results.main(
        [*words, "--results", *(str(output / f"{name}.result.json") for name in names)]
    )


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_refused_in_one_sentence_by_the_stage_and_by_the_command(
    name: str, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against a fault that becomes a number: nothing is written."""
    damage, said = DAMAGES[name]
    shutil.copytree(whole / "theirs", tmp_path / "theirs")
    damage(tmp_path / "theirs")
    assert taken_in(tmp_path / "theirs", whole / "prompts.jsonl", tmp_path / "out") == 1
    error = capsys.readouterr().err.strip()
    assert said in error and "Traceback" not in error, error
    assert sum(said in line for line in error.splitlines()) == 1, error
    assert not list(tmp_path.glob("out/*.json"))
    if name not in COMPARED_ALL_THE_SAME:
        assert compare_script.main([str(whole / "theirs"), str(tmp_path / "theirs")]) == 1
        error = capsys.readouterr().err
        assert said in error and "Traceback" not in error, error


COMPARED_ALL_THE_SAME = (
    "clips of others", "a missing prompt", "a sample too many", "a dimension that is not there",
)  # fmt: skip
"""What a comparison leaves out and says so, since there is no list of prompts that must be whole."""


def test_what_is_taken_in_is_what_was_meant(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file by its sha256, the benchmark, the dimensions; where the scores are from is written down."""
    source, prompts = whole / "theirs", whole / "prompts.jsonl"
    assert taken_in(source, prompts, tmp_path / "a", dimensions=["color", "scene"]) == 0
    record = read_json(ImportedSource, tmp_path / "a/source.json")
    assert record.sha256 == read_foreign_results(source).sha256 and record.dimensions == ("color", "scene")
    result = read_json(DimensionResult, tmp_path / "a/color.result.json")
    assert result.left_out and result.versions == {"imported": "VBench 0.1.5; as declared"}
    assert read_json(FilteredSet, tmp_path / "a/filter.json").inputs.manifest == result.inputs.manifest
    capsys.readouterr()
    for settings, said in (
        ({"sha256": "0" * 64}, "expected 0000"),
        ({"benchmark": "toybox"}, "holds scores of the vbench benchmark, the suite is of toybox"),
        ({"row": "raven"}, "is no run.json"),
    ):
        assert taken_in(source, prompts, tmp_path / "b", **settings) == 1
        assert said in capsys.readouterr().err
    assert taken_in(tmp_path / "nothing.zip", prompts, tmp_path / "b") == 1
    assert "does not exist; correct the path" in capsys.readouterr().err


VALUES: list[tuple[dict[str, Any], str, str]] = [
    ({"controls": ["noise_of_theirs"]}, "", "which has scores and no clips"),
    ({"weights": {"theirs": "x.safetensors"}}, "", "is of kind results"),
    ({"prompts": {"list": "p.csv", "per_dimension": None, "imported": "most"}}, "", "prompts.imported"),
    ({"without_clips": ["theirs"]}, "", "without_clips is filled in"),
    ({}, "  dimensions: [sharpness]\n", "results.dimensions names sharpness"),
    ({}, "  dimensions: [scene]\n", "has none of the suite's"),
    ({}, "  sha256: abc\n", "sha256"),
    ({}, "  scorers: x\n", "scorers"),
]


@pytest.mark.parametrize(("values", "more", "said"), VALUES)
def test_a_suite_with_a_row_of_results_is_checked_when_it_is_read(
    tmp_path: Path, values: dict[str, Any], more: str, said: str
) -> None:
    read = load_yaml(SUITE.replace("[bright, dark]", "[theirs]"))
    (tmp_path / "baselines").mkdir()
    row = ROW % ("theirs", "Theirs", "theirs.zip", "null")
    (tmp_path / "baselines/theirs.yaml").write_text(row)
    (tmp_path / "p.csv").write_text("id,prompt\n")
    suite = suite_from(read, "s.yaml", tmp_path)
    assert suite.without_clips == ("theirs",) and not suite.rows_with_clips
    (tmp_path / "baselines/theirs.yaml").write_text(row.replace("  scorer:", f"{more}  scorer:"))
    with pytest.raises(ValueError, match=re.escape(said)):
        suite_from(read | values, "s.yaml", tmp_path)


def test_the_doctor_wants_no_scorer_for_results_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against gigabytes of checkpoints for a row that is scored already."""
    monkeypatch.chdir(ROOT)
    few(tmp_path, "theirs", 1)
    rows = named_rows([read_foreign_results(tmp_path / "theirs")])
    plan = plan_results(rows, common_prompts([found for _, found in rows.values()]), tmp_path / "out")
    write_plan(plan, tmp_path / "out", tmp_path)
    code = doctor.main(["--config", str(tmp_path / "out/suite.yaml")])
    said = "".join(capsys.readouterr())
    assert code == 0, said
    assert (
        "1 of scores alone" in said
        and "vbench" not in said.lower().replace(str(tmp_path), "").split("suite")[0]
    )
