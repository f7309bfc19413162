"""The prompts of a suite, from its config to the stage's output: lists of one's own, subsets, and what is
said about them.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from evaluation.records import Clip, Prompt, read_jsonl
from evaluation.suite_prompts import VBENCH_LISTS
from evaluation.text_only_dimensions import TEXT_ONLY
from tests.workflow.embedded import write_embedded
from tests.workflow.project import LEFT_OUT, copy_project, planned, replace_in, snakemake
from workflow.planning.banner import check_user_list, planned_prompts, start_banner, start_notices
from workflow.planning.prompt_plan import STANDARD, prompt_stage_settings, protocol_note
from workflow.planning.resources import needed_resources
from workflow.planning.suite import Suite
from workflow.planning.suite_file import load_suite

ROOT = Path(__file__).parents[2]
LIST = """id, prompt, samples
red_left, a red circle moving left on meadow, 2
blue_right, a blue square moving right on desert, 1
cross, "a green cross standing still on night", 1
"""
CONFIG = """
suite: mine
benchmark: toybox
label: "A list of one's own"
device: cpu
baselines: [self_forcing]
controls: [noise]
prompts: {list: mine.csv, per_dimension: null}
clip: {pixel_frames: 81, height: 128, width: 128, fps: 16}
sample: {batch: 2, shards: 1, noise: portable, precision: float32}
model:
  codec: models/embedded/codec.safetensors
  text: models/embedded/text.safetensors
  latent_height: 8
  latent_width: 8
weights: {self_forcing: models/embedded/self_forcing.safetensors}
train: {}
raven: null
cm_grpo: null
aggregate: {draws: 2000, seed: 0}
report: {clips_budget_mb: 2, note: null}
rates: {train_s: 5, sample_s: 0.0198, score_s: 0.00395, job_s: 1.0, video_mb: 0.00198}
resources: []
"""


def suite(name: str, **replaced: Any) -> Suite:
    return load_suite(ROOT, [ROOT / f"workflow/config/{name}.yaml"], replaced)


def own(folder: Path, text: str = LIST, name: str = "mine.csv", **replaced: Any) -> Suite:
    """The tiny suite with a list of its own."""
    (folder / name).write_text(text)
    given = {"prompts": {"list": str(folder / name), "per_dimension": None}, "dimensions": None} | replaced
    return suite("tiny", **given)


def test_the_lists_of_vbench_are_pinned() -> None:
    """Every fact about the 946 lines rests on this: no other file is ever read as VBench's."""
    assert set(prompt_stage_settings(ROOT, suite("vbench"))["sha256"]) == set(VBENCH_LISTS)
    assert prompt_stage_settings(ROOT, suite("tiny"))["sha256"] == {}


def test_a_list_takes_the_dimensions_that_need_no_facts(tmp_path: Path) -> None:
    mine = own(tmp_path)
    assert mine.dimensions == TEXT_ONLY["toybox"]
    prompts = planned_prompts(mine, ROOT)
    assert [(p.id, p.samples, p.dimensions) for p in prompts] == [
        ("red_left", 2, mine.dimensions),
        ("blue_right", 1, mine.dimensions),
        ("cross", 1, mine.dimensions),
    ]
    assert "3 lines, 3 distinct prompts, 4 clips per row" in start_banner(mine, prompts)
    weights = {"causvid": "models/embedded/causvid.safetensors"}
    chosen = mine.model_copy(update={"baselines": ("causvid",), "controls": (), "weights": weights})
    assert "raven" in chosen.train
    assert start_banner(chosen, prompts[1:2]).endswith(
        ": 1 line, 1 distinct prompt, 1 clip per row; 1 baseline (0 trained here) and 0 controls, 1 clip, "
        f"{len(mine.dimensions)} dimensions."
    ), "trained are those of the chosen rows"
    first, second = start_notices(mine, prompts, ROOT)
    assert "mine.csv (sha256 " in first
    assert "4 of 16 dimensions" in first
    assert "3 of 3 prompts have no extended text" in second
    one = own(tmp_path, prompts={"list": str(tmp_path / "mine.csv"), "per_dimension": 1})
    assert [p.id for p in planned_prompts(one, ROOT)] == ["red_left"]
    vbench = suite(
        "vbench", prompts={"list": str(tmp_path / "mine.csv"), "per_dimension": None}, dimensions=None
    )
    assert vbench.dimensions == TEXT_ONLY["vbench"]


CONFIG_FAULTS: list[tuple[dict[str, Any], str]] = [
    (
        {"prompts": {"list": "none.csv", "per_dimension": None}},
        r"prompts\.list is 'none\.csv', which is no file",
    ),
    ({"prompts": {"list": "x.csv", "per_dimension": None, "seed": 1}}, "seed mean nothing beside `list`"),
    ({"prompts": {"seed": 1, "per_dimension": None, "samples": 2}}, "lacks static_samples, static_keep"),
    ({"prompts": {"seed": 1, "per_dimension": None, "sampels": 2}}, r"prompts\.sampels"),
    ({"dimensions": None}, "dimensions"),
]


@pytest.mark.parametrize(("replaced", "message"), CONFIG_FAULTS)
def test_faults_of_the_config(replaced: dict[str, Any], message: str) -> None:
    """Guards against a key that is given and not used, and one that is used and not given."""
    with pytest.raises(ValueError, match=message):
        suite("tiny", **replaced)


def test_faults_between_list_and_suite(tmp_path: Path) -> None:
    """Guards against prompts that vanish because no dimension of the suite scores them, and rows that cannot
    be made.
    """
    only_flicker = (
        "id,prompt,samples,keep,dimensions\na,a red circle standing still on meadow,4,2,temporal_flickering\n"
    )
    with pytest.raises(
        ValueError, match=r"1 prompts \(first: a\) are scored on none of the suite's dimensions"
    ):
        planned_prompts(own(tmp_path, only_flicker), ROOT)
    flicker = own(tmp_path, only_flicker, dimensions=["temporal_flickering"])
    assert [(p.samples, p.keep) for p in planned_prompts(flicker, ROOT)] == [(4, 2)]
    with pytest.raises(ValueError, match=r"mine\.csv has no prompt for the dimensions color"):
        planned_prompts(own(tmp_path, dimensions=["aesthetic_quality", "color"]), ROOT)
    check_user_list(own(tmp_path, controls=["noise"]), ROOT)
    with pytest.raises(ValueError, match="controls truth render the facts"):
        check_user_list(own(tmp_path, controls=["noise", "truth"]), ROOT)


def test_the_content_is_what_is_tracked(tmp_path: Path) -> None:
    """Guards against a list that is edited unseen, and one whose new place or time makes everything again."""
    (tmp_path / "there").mkdir()
    here, there = own(tmp_path), own(tmp_path / "there", name="renamed.csv")
    assert prompt_stage_settings(ROOT, here) == prompt_stage_settings(ROOT, there)
    edited = own(tmp_path / "there", LIST.replace("meadow, 2", "meadow, 3"))
    assert prompt_stage_settings(ROOT, here) != prompt_stage_settings(ROOT, edited)


def test_what_leaves_the_standard_protocol_says_so() -> None:
    """Guards against a subset whose report looks like the whole, with the standard suite's label on top."""
    assert protocol_note(ROOT, suite("toybox")) is None
    assert protocol_note(ROOT, suite("vbench")) is None
    ci = protocol_note(ROOT, suite("ci")) or ""
    for part in (
        "not comparable",
        "at most 6 prompts per dimension",
        "samples per prompt: 1",
        "samples per still prompt: 4",
    ):
        assert part in ci
    few = suite("vbench", prompts=STANDARD["vbench"] | {"seed": 0, "per_dimension": 2})
    assert (protocol_note(ROOT, few) or "").endswith("keep it: at most 2 prompts per dimension.")
    part = suite("vbench", dimensions=["color", "scene"])
    assert (protocol_note(ROOT, part) or "").endswith("keep it: 2 of 16 dimensions.")
    assert "qualitative_100.txt (sha256 8f8b7b036fc4)" in (protocol_note(ROOT, suite("qualitative")) or "")


def test_a_subset_is_written_on_the_command_line_as_text() -> None:
    """Guards against `--config prompts={...}` being refused: Snakemake hands over every number inside it as
    text.
    """
    given = {"seed": "0", "per_dimension": "2", "samples": "5", "static_samples": "25", "static_keep": "5"}
    assert suite("vbench", prompts=given).prompts == suite("vbench").prompts.model_copy(
        update={"per_dimension": 2}
    )
    assert suite("vbench", prompts=given | {"per_dimension": "null"}).prompts == suite("vbench").prompts
    assert suite("tiny", label="Two: words").label == "Two: words"


def test_the_qualitative_suite() -> None:
    """RAVEN's list at its pinned commit, only what needs no facts, nothing trained, and a label that says
    what it is.
    """
    qualitative = suite("qualitative")
    assert qualitative.dimensions == TEXT_ONLY["vbench"]
    assert not qualitative.train
    assert "Qualitative" in qualitative.label
    assert "Not VBench" in qualitative.label
    brought = {f"resources/{entry.path}": entry for entry in needed_resources(ROOT, qualitative)}
    assert {*qualitative.weights.values(), qualitative.model.codec, qualitative.model.text} <= set(brought)
    listed = brought[str(qualitative.prompts.list)]
    assert "mvp-ai-lab/RAVEN/3bacebd2a33114986fd5c6e3de1e1053401935ca/" in str(listed.url)
    source = ROOT.parent / "shared/prompts/qualitative_100.txt"
    if not source.is_file():
        pytest.skip(f"{source} is absent; the list is fetched, not shipped")
    settings = prompt_stage_settings(ROOT, qualitative)
    from evaluation.suite_prompts import suite_prompts

    assert len(suite_prompts(settings, custom=source)) == 100
    settings["sha256"] = {"list": "0" * 64}
    with pytest.raises(ValueError, match="list has sha256 8f8b7b03"):
        suite_prompts(settings, custom=source)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with small random models: enough to plan, and to run the prompts stage."""
    folder = tmp_path_factory.mktemp("lists") / "project"
    shutil.copytree(ROOT, folder, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    write_embedded(folder / "models/embedded", ("self_forcing",))
    (folder / "workflow/config/mine.yaml").write_text(CONFIG)
    (folder / "mine.csv").write_text(LIST)
    return folder


@pytest.mark.slow
def test_a_list_is_planned_and_its_stage_runs(project: Path) -> None:
    """The real stage, and then `snakemake -n` after the list was moved: all jobs but the prompts stage are
    left.
    """
    rows = {(rule, row) for rule in ("check", "filter") for row in ("self_forcing", "noise")}
    scores = {("score", row, d) for row in ("self_forcing", "noise") for d in TEXT_ONLY["toybox"]}
    rest = {("sample", "self_forcing"), ("render", "noise"), ("aggregate",), ("report",)} | rows | scores
    answer = snakemake(project, "mine", "--until", "prompts")
    assert answer.returncode == 0, (answer.stdout + answer.stderr)[-3000:]
    text = answer.stdout + answer.stderr
    assert "3 lines, 3 distinct prompts, 4 clips per row" in text
    assert "leaves the standard toybox protocol" in text
    prompts = read_jsonl(Prompt, project / "results/mine/prompts/prompts.jsonl")
    assert [p.id for p in prompts] == ["red_left", "blue_right", "cross"]
    (project / "elsewhere").mkdir()
    shutil.copy(project / "mine.csv", project / "elsewhere/other.csv")
    replace_in(project / "workflow/config/mine.yaml", "mine.csv", "elsewhere/other.csv")
    assert planned(project, "mine") == rest


@pytest.mark.slow
def test_a_faulty_list_stops_before_anything_is_planned(project: Path) -> None:
    (project / "bad.csv").write_text(LIST.replace("blue", "purple"))
    prompts = f"prompts={json.dumps({'list': 'bad.csv', 'per_dimension': None})}"
    answer = snakemake(project, "mine", "-n", "--config", prompts)
    assert answer.returncode != 0
    assert (
        "bad.csv line 3: the embedded world does not know the word 'purple' of prompt"
        in answer.stdout + answer.stderr
    )


@pytest.mark.slow
def test_the_qualitative_suite_is_planned(project: Path) -> None:
    """Without its files and its weights, which only `make fetch` brings: nine rows, six dimensions, no
    training.
    """
    jobs = planned(project, "qualitative")
    assert {rule for rule, *_ in jobs} == {
        "fetch", "prompts", "sample", "check", "vbench_environment", "vbench_weights", "filter_part",
        "filter", "score_part", "score", "aggregate", "report",
    }  # fmt: skip
    assert len([job for job in jobs if job[0] == "score"]) == 9 * 6


@pytest.mark.slow
def test_a_list_runs_to_its_report(tmp_path: Path) -> None:
    """Three lines of one's own, from the file to the report, with random models."""
    folder = tmp_path / "project"
    copy_project(folder, CONFIG)
    (folder / "mine.csv").write_text(LIST)
    answer = snakemake(folder, "mine")
    assert answer.returncode == 0, (answer.stdout + answer.stderr)[-3000:]
    clips = read_jsonl(Clip, folder / "results/mine/clips/self_forcing/manifest.jsonl")
    assert sorted(clip.clip_id for clip in clips) == ["blue_right-0", "cross-0", "red_left-0", "red_left-1"]
    assert "leaves the standard toybox protocol" in (folder / "reports/table.html").read_text(
        encoding="utf-8"
    )
    assert planned(folder, "mine") == set()
    replace_in(folder / "mine.csv", "green", "yellow")
    assert {("prompts",), ("sample", "self_forcing"), ("render", "noise"), ("report",)} < planned(
        folder, "mine"
    )
