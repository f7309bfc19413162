"""A suite's file is read strictly, and every mistake is one sentence that names file and key."""

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from baselines.spec import load_baseline
from evaluation.files import canonical_sha256
from workflow.planning.banner import check_inputs, missing_reward_environment, this_start
from workflow.planning.report_plan import report_settings, row_names
from workflow.planning.resources import needed_resources
from workflow.planning.suite import sampling_settings
from workflow.planning.suite_file import load_suite, nested_values, read_mapping, suite_from
from workflow.training.reward_names import REWARD_PYTHON

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "workflow/config").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_are_valid_and_named_after_their_suite(path: Path) -> None:
    assert load_suite(ROOT, [path], {}).suite == path.stem


def toybox() -> dict[str, Any]:
    return copy.deepcopy(read_mapping(ROOT / "workflow/config/toybox.yaml", "toybox.yaml"))


MISTAKES: list[tuple[Callable[[dict[str, Any]], object], tuple[str, ...]]] = [
    (lambda v: v.update(sampels=3), ("sampels", "unknown", "allowed", "sample")),
    (lambda v: v.pop("dimensions"), ("dimensions", "missing")),
    (lambda v: v["prompts"].update(sample=1), ("prompts.sample", "static_keep")),
    (lambda v: v["sample"].update(batch="four"), ("sample.batch", "four")),
    (lambda v: v["controls"].append("silence"), ("silence", "shuffled_frames")),
    (lambda v: v["controls"].append("noise_of_ravn"), ("noise_of_ravn", "'ravn', which is no baseline")),
    (lambda v: v.update(benchmark="vbench"), ("'truth'", "vbench", "noise_of_<baseline>")),
    (lambda v: v["baselines"].append("dummy_forcing"), ("dummy_forcing", "baselines/dummy_forcing.yaml")),
    (lambda v: v["baselines"].append("raven"), ("raven", "more than once")),
    (lambda v: v.update(allow_degenerate=["ravn"]), ("allow_degenerate", "'ravn'", "rows are raven,")),
    (lambda v: v["weights"].pop("longlive"), ("longlive", "exactly one of")),
    (lambda v: v["weights"].update(raven="x"), ("raven", "both")),
    (lambda v: v["raven"].update(iteration=3), ("iteration", "allowed at the top are iterations")),
    (lambda v: v.update(raven=None), ("raven", "null")),
    (lambda v: v["train"]["raven"].update(flavour="merged"), ("train.raven.flavour", "full")),
    (lambda v: v["train"]["cm_grpo"].update(init="ravn"), ("train.cm_grpo.init", "ravn")),
    (lambda v: v["raven"].update(forcing="teacher"), ("forcing", "'teacher'", "self_forcing")),
    (lambda v: v["raven"].update(forcing="teacher_forcing"), ("train.raven.data", "None", "real clips")),
    (lambda v: v["train"]["raven"].update(data="x.safetensors"), ("train.raven.data", "take it out")),
    (lambda v: v["train"]["cm_grpo"].update(data="x.safetensors"), ("train.cm_grpo.data", "take it out")),
    (lambda v: v.update(published="paper/x"), ("published", "paper.yaml", "variants")),
]


@pytest.mark.parametrize(("spoil", "words"), MISTAKES)
def test_mistakes_are_one_sentence(spoil: Callable[[dict[str, Any]], object], words: tuple[str, ...]) -> None:
    """Guards against typos that a lenient reader ignores, and against a page of validation output."""
    values = toybox()
    spoil(values)
    with pytest.raises(ValueError, match=r"^workflow/config/toybox\.yaml") as caught:
        suite_from(values, "workflow/config/toybox.yaml", ROOT)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert message.endswith(".")


def test_command_line_values_replace_whole_keys_and_are_checked() -> None:
    path = ROOT / "workflow/config/toybox.yaml"
    assert load_suite(ROOT, [path], {"controls": ["truth"]}).controls == ("truth",)
    with pytest.raises(ValueError, match="sampels"):
        load_suite(ROOT, [path], {"sampels": 3})


def test_files_are_never_merged() -> None:
    """Guards against Snakemake's merging of config files, which would hide what runs."""
    with pytest.raises(ValueError, match="exactly one file"):
        load_suite(ROOT, CONFIGS[:2], {})


def test_no_file_means_the_embedded_suite() -> None:
    assert load_suite(ROOT, [], {}).suite == "toybox"


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    shutil.copy(ROOT / "workflow/config/toybox.yaml", tmp_path / "x.yaml")
    with (tmp_path / "x.yaml").open("a") as stream:
        stream.write("suite: other\n")
    with pytest.raises(ValueError, match="suite"):
        load_suite(ROOT, [tmp_path / "x.yaml"], {})


def test_titles_and_licences_do_not_decide_clips() -> None:
    """Guards against resampling for a corrected citation."""
    from baselines.spec import load_baseline

    suite = load_suite(ROOT, [ROOT / "workflow/config/toybox.yaml"], {})
    baseline = load_baseline(ROOT / "baselines/longlive.yaml")
    corrected = baseline.model_copy(update={"title": "x", "licence": "y", "citation": "z"})
    assert sampling_settings(suite, baseline) == sampling_settings(suite, corrected)
    wider = baseline.model_copy(update={"cache": baseline.cache.model_copy(update={"window": 6})})
    assert sampling_settings(suite, baseline) != sampling_settings(suite, wider)


def test_the_shard_count_decides_nothing() -> None:
    from baselines.spec import load_baseline

    values = toybox()
    values["sample"]["shards"] = 7
    baseline = load_baseline(ROOT / "baselines/longlive.yaml")
    one = sampling_settings(load_suite(ROOT, [ROOT / "workflow/config/toybox.yaml"], {}), baseline)
    assert one == sampling_settings(suite_from(values, "x", ROOT), baseline)


def test_released_weights_replace_training() -> None:
    """Guards against a row that keeps training, a file that fetch does not bring, and 57 GB of teacher that
    nobody asked for.
    """
    path = ROOT / "workflow/config/vbench.yaml"
    plain, released = (load_suite(ROOT, [path], given) for given in ({}, {"weights": "released"}))
    assert plain.train
    assert not released.train
    assert set(released.weights) == set(released.baselines) == set(plain.baselines)
    brought = {f"resources/{entry.path}" for entry in needed_resources(ROOT, released)}
    assert set(released.weights.values()) <= brought
    assert not any("wan_14b" in name for name in brought)
    assert {row: released.weights[row] for row in plain.weights} == plain.weights


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("clips", "--config", "weights=released"), "needs 21 fetched files"),
        (("reports/table.html",), "needs 36 fetched files and 14 more for scoring"),
    ],
)
def test_the_real_suite_asks_for_its_files_first(arguments: tuple[str, ...], answer: str) -> None:
    """Guards against a first job before everything is there. Runs Snakemake up to its start, in this checkout
    without resources/.
    """
    if (ROOT / "resources").exists():
        pytest.skip("this checkout has fetched files")
    suite = "workflow/config/vbench.yaml"
    command = ["snakemake", *arguments, "--nolock", "--profile", "local", "--configfile", suite]
    run = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert answer in run.stderr + run.stdout
    said = run.stderr + run.stdout
    assert "Nothing was started" in said
    assert ("Cheaper first: " in said) == (arguments == ("reports/table.html",))
    assert said.find("Cheaper first: ") < said.index(answer)


@pytest.mark.slow
def test_the_real_suite_plans_both_trainings() -> None:
    """Guards against a suite that cannot train: RAVEN, then CM-GRPO on it with its list, the weights of its
    rewards and the clips' rate. Controls from a row's clips are planned from clip to score.
    """
    control = "shuffled_captions_of_raven"
    targets = ["results/vbench/train/cm_grpo/train.json", f"results/vbench/scores/{control}/color.json"]
    command = ["snakemake", *targets, "-n", "-p", "--nolock", "--profile", "local"]
    run = subprocess.run(
        [sys.executable, "-m", *command, "--configfile", "workflow/config/vbench.yaml", "--config",
         f"controls=[{control}]"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    said = run.stdout + run.stderr
    if not (ROOT / "resources").exists():
        for line in (
            "\nCheaper first: ",
            "6,220 clips per row",
            "GB are free here",
            "needs 36 fetched files and 14 more for scoring",
        ):
            assert line in said, line
    for recipe in ("raven", "cm_grpo"):
        assert f"workflow.scripts.train_{recipe} --recipe {recipe}" in said
    assert said.count("--prompts=resources/prompts/vidprom_motion_30725_v3_w95_action_subject.txt") == 2
    assert said.count(f"workflow.scripts.control_clips --row {control} ") == 15
    assert f"workflow.scripts.filter_part --row {control} " in said
    assert "--rewards=resources/weights --fps=16" in said and '"text_alignment":2' in said


def test_a_reward_environment_is_asked_for_in_one_sentence(tmp_path: Path) -> None:
    assert "envs/vbench/install.sh" in missing_reward_environment(tmp_path)
    python = tmp_path / REWARD_PYTHON
    python.parent.mkdir(parents=True)
    python.touch()
    assert missing_reward_environment(tmp_path) == ""


def test_processes_that_do_not_divide_the_batch_are_refused_while_parsing() -> None:
    """Guards against a job of 16 GPUs that ends at its first iteration, three times over."""
    values = read_mapping(ROOT / "workflow/config/tiny.yaml", "tiny.yaml")
    values["train"]["raven"] |= {"nodes": 2, "gpus": 8}
    with pytest.raises(
        ValueError, match=r"tiny\.yaml: train\.raven: a batch of 2 samples cannot be split equally among 16"
    ):
        suite_from(values, "tiny.yaml", ROOT)
    values["raven"]["batch"] = 32
    assert suite_from(values, "tiny.yaml", ROOT).train["raven"].gpus == 8


def test_one_nested_key_is_replaced_and_checked(tmp_path: Path) -> None:
    """`--config set="prompts.samples=3"`: its neighbours stay, the file's own checks name a wrong key, and
    what was put in is noted.
    """
    files = [ROOT / "workflow/config/toybox.yaml"]
    plain = load_suite(ROOT, files, {})
    text = (
        "prompts.samples=3 report.note='two words' raven.student.lr=2e-4 scoring.backend=official device=auto"
    )
    suite = load_suite(ROOT, files, {"set": text})
    assert suite.prompts == plain.prompts.model_copy(update={"samples": 3})
    assert (suite.report.note, suite.device, suite.scoring.backend) == ("two words", "auto", "official")
    assert json.loads(suite.train_settings("raven"))["student"]["lr"] == 2e-4
    assert nested_values("a=1 report.note='two words") == {"a": 1, "report.note": "two words"}
    assert plain.model_dump() == load_suite(ROOT, files, {}).model_dump()
    for wrong, words in (
        ("prompts.sample=3", r"prompts\.sample\b"), ("clip.fps=fast", r"clip\.fps"),
        ("prompts", "no key=value"), ("clip.fps=1 clip.fps=2", "names a key again"),
        ("device.x=1", "device, which is 'cpu' and has no keys"),
        ("a..b=1", "no key=value"), ("raven.studnet.lr=1", "studnet"), (3, "expected words"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            load_suite(ROOT, files, {"set": wrong})
    (tmp_path / "x.yaml").write_text("a: 1\n")
    start = this_start(
        suite, [], root=tmp_path, config="x.yaml", replaced={"device": "cpu", "set": "prompts.samples=3"},
        command=["snakemake"], jobs=1,
    )  # fmt: skip
    assert start.replaced == {"device": "cpu", "prompts.samples": 3}


DIGESTS = {
    ("toybox", "raven"): "862ac132b7b03c78",
    ("toybox", "longlive"): "30054371f82bdda3",
    ("toybox", "reward_forcing"): "0c9642a372866ae6",
    ("toybox", "rolling_forcing"): "71e5fa70c22969cc",
    ("vbench", "raven"): "537e170c0eae9d6d",
    ("vbench", "longlive"): "bf775afe75736667",
    ("vbench", "reward_forcing"): "04b2f846b271c5aa",
    ("vbench", "rolling_forcing"): "71ff3adfebab7f20",
}
LENGTHS = {81: 21, 249: 63, 477: 120, 957: 240, 3837: 960}


def test_a_suite_states_the_length() -> None:
    """1 + 4 (F - 1) pixel frames of F latent frames, whole or refused."""
    clip = load_suite(ROOT, [ROOT / "workflow/config/toybox.yaml"], {}).clip
    for pixel_frames, frames in LENGTHS.items():
        assert clip.model_copy(update={"pixel_frames": pixel_frames}).latent_frames == frames
        assert clip.seconds_of(frames) == pixel_frames / 16
    with pytest.raises(ValueError, match=r"is 80, .* set it to 77 or 81\."):
        _ = clip.model_copy(update={"pixel_frames": 80}).latent_frames


def test_clips_of_81_frames_keep_their_digests() -> None:
    """Settings of one row of each policy, as versions before lengths belonged to suites hashed them (toybox:
    since it samples sixteen clips at once). A change here samples 55,980 clips of the vbench suite again.
    """
    suites = [load_suite(ROOT, [ROOT / f"workflow/config/{name}.yaml"], {}) for name in ("toybox", "vbench")]
    digests = {
        (suite.suite, row): canonical_sha256(
            sampling_settings(suite, load_baseline(ROOT / f"baselines/{row}.yaml"))
        )[:16]
        for suite in suites
        for row in ("raven", "longlive", "reward_forcing", "rolling_forcing")
    }
    assert digests == DIGESTS


def test_a_row_beyond_its_length_needs_stress_and_is_labelled() -> None:
    """Guards against a long clip of a method that was never made for it, shown as if it were."""
    values = toybox() | {"stress": True}
    values["clip"]["pixel_frames"] = 249
    rows = ["raven", "longlive", "rolling_forcing"]
    values |= {"baselines": rows, "controls": ["truth"]}
    values["weights"] = {row: values["weights"][row] for row in rows[1:]}
    values["train"] = {"raven": values["train"]["raven"]}
    baselines = {row: load_baseline(ROOT / f"baselines/{row}.yaml") for row in rows}
    suite = suite_from(values, "x", ROOT)
    check_inputs(suite, ROOT, baselines, "x")
    labels = {row: found["label"] for row, found in row_names(suite, baselines).items()}
    assert labels["raven"] == "RAVEN (stress: made for 5.1 s)"
    assert "stress" not in labels["longlive"] + labels["rolling_forcing"]
    found = report_settings(suite, suite, baselines, ROOT)["rows"]
    assert {row for row, one in found.items() if one.get("stress")} == {"raven"}
    assert found["raven"]["settings"]["rollout"]["frames"] == 63
    with pytest.raises(ValueError, match=r"raven is made for 5\.1 s .*`stress: true`"):
        check_inputs(suite.model_copy(update={"stress": False}), ROOT, baselines, "x")
