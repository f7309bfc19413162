"""Where files of a run lie, what stands for weights, and which rules and settings rows have."""

from pathlib import Path

import pytest

from baselines.spec import load_row
from evaluation.toybox.suite import toybox_prompts
from workflow.planning.banner import missing_for_jobs
from workflow.planning.paths import (
    Folders,
    fetched_checksums,
    folders_of,
    prompt_list_copy,
    row_weights,
    weights_file,
    weights_record,
)
from workflow.planning.report_plan import (
    aggregate_settings,
    declared_protocol,
    held_slots,
    report_settings,
    row_names,
)
from workflow.planning.row_plan import (
    Baselines,
    clip_settings,
    included_rules,
    rows_of_kind,
    threads_to_sample,
    training_data,
    training_shape,
)
from workflow.planning.subset import choose_subset, chosen_suite
from workflow.planning.suite import Suite
from workflow.planning.suite_file import load_suite

ROOT = Path(__file__).parents[2]


def suite(name: str, **replaced: object) -> Suite:
    return load_suite(ROOT, [ROOT / f"workflow/config/{name}.yaml"], replaced)


def baselines(of: Suite) -> Baselines:
    return {row: load_row(ROOT / "baselines" / f"{row}.yaml") for row in of.baselines}


def test_a_subset_of_rows_shares_all_but_its_table_and_one_of_prompts_no_list() -> None:
    toybox = suite("toybox")

    def folders(only: str | None) -> Folders:
        listed = toybox_prompts(0)
        subset = choose_subset(
            only, rows=toybox.rows, dimensions=toybox.dimensions, custom=[], listed=lambda: listed
        )
        found = folders_of(toybox, subset)
        chosen = chosen_suite(toybox, subset)
        assert chosen.rows == (toybox.rows if only is None else ("raven", "truth"))
        return found

    whole = "results/toybox"
    assert folders(None) == Folders(whole, whole, whole)
    of_rows, of_prompts = folders("rows=raven,truth"), folders("rows=raven,truth samples=0")
    assert of_rows[:2] == (whole, whole)
    assert of_rows.run.startswith(f"{whole}/subsets/")
    assert of_prompts.suite == whole
    assert of_prompts.results == of_prompts.run != of_rows.run


def test_what_stands_for_weights_is_small_and_its_content_is_compared() -> None:
    toybox, vbench = suite("toybox"), suite("vbench")
    assert row_weights(toybox, "cm_grpo") == "cm_grpo"
    assert weights_file(toybox, "cm_grpo") == "results/toybox/weights/cm_grpo/merged.safetensors"
    assert weights_record(toybox, "cm_grpo") == "results/toybox/weights/cm_grpo/merged.json"
    shipped = row_weights(toybox, "longlive")
    assert weights_file(toybox, shipped) == shipped == "models/embedded/longlive.safetensors"
    assert weights_record(toybox, shipped) == "models/embedded/longlive.json"
    fetched = row_weights(vbench, "longlive")
    assert fetched.startswith("resources/")
    assert weights_record(vbench, fetched) == fetched_checksums(vbench)


def test_a_users_list_is_read_from_its_copy_and_a_fetched_one_in_place(tmp_path: Path) -> None:
    (tmp_path / "mine.CSV").write_text("id,prompt\n")
    given = {"list": str(tmp_path / "mine.CSV"), "per_dimension": None}
    mine = suite("tiny", prompts=given, dimensions=None)
    assert prompt_list_copy(mine) == "results/tiny/prompts/list.csv"
    assert prompt_list_copy(suite("qualitative")) == "resources/prompts/qualitative_100.txt"
    assert prompt_list_copy(suite("toybox")) is None


def test_only_what_a_suite_needs_is_included(tmp_path: Path) -> None:
    """Guards against rules of a baseline that is no row, and a row that nothing makes."""
    toybox, vbench = suite("toybox"), suite("vbench")

    def names(of: Suite) -> list[str]:
        return [Path(path).name for path in included_rules(of, baselines(of), ROOT)]

    assert names(toybox) == ["filter.smk", "score.smk"]
    assert names(vbench) == ["official.smk"]
    assert rows_of_kind(baselines(toybox), "native") == list(toybox.baselines)


def test_every_row_has_settings_that_decide_its_clips() -> None:
    toybox = suite("toybox")
    assert clip_settings(toybox, baselines(toybox), ROOT, "truth")["control"] == "truth"
    assert clip_settings(toybox, baselines(toybox), ROOT, "longlive")["cache"]["sink"] == 3


def test_a_control_made_from_clips_is_known_by_its_name() -> None:
    """It is named after its row, compared with it, allowed to be noise, and needs all prompts if they are
    shuffled.
    """
    given = ["noise_of_longlive", "shuffled_captions_of_raven"]
    toybox = suite("toybox", controls=given)
    every = baselines(toybox)
    assert clip_settings(toybox, every, ROOT, given[0]) | {"suite": 0, "clip": 0, "batch": 0} == {
        "suite": 0, "clip": 0, "batch": 0, "control": "noise", "of": "longlive"
    }  # fmt: skip
    told = aggregate_settings(toybox, every, [], None)["rows"]
    label = "RAVEN, captions shuffled"
    assert told[given[1]] == {"label": label, "kind": "control", "of": "raven"}
    assert toybox.allows_degenerate(given[0])
    assert not toybox.allows_degenerate("longlive")
    subset = choose_subset(
        "prompts=move_00",
        rows=toybox.rows, dimensions=toybox.dimensions, custom=[], listed=lambda: toybox_prompts(0),
    )  # fmt: skip
    with pytest.raises(ValueError, match="shuffled_captions_of_raven shows clips of other prompts"):
        chosen_suite(toybox, subset)
    vbench = suite("vbench", controls=["noise", "frozen_first_frame_of_raven"])
    assert vbench.rows[-2:] == ("noise", "frozen_first_frame_of_raven")


def test_a_gpu_that_samples_has_cores_that_write() -> None:
    """Guards against clips that one core writes more slowly than a GPU makes them, GPUs that no core is left
    for, and jobs of a CPU suite that wait for cores they do not use.
    """
    assert threads_to_sample("cuda", None, None) == threads_to_sample("auto", 64, 8) == 4
    assert [threads_to_sample("cuda", cores, 8) for cores in (16, 8, 2)] == [2, 1, 1]
    assert threads_to_sample("cpu", 64, None) == 1


def test_a_training_job_asks_for_gpus_of_one_node_or_for_nodes() -> None:
    """Guards against `gpu` and `gres` together, which Slurm's plugin refuses."""
    plan = suite("vbench").train["cm_grpo"]
    assert set(training_data(plan)) == {"prompts", "rewards"}
    one = training_shape(plan)
    assert (one.threads, one.gpu, one.gres, one.mpi) == (8, 8, None, None)
    many = training_shape(plan.model_copy(update={"nodes": 2, "gpus": 1}))
    assert (many.threads, many.gpu, many.gres, many.mpi, many.tasks_per_node) == (1, None, "gpu:1", "srun", 2)


def test_a_subset_is_reported_as_one_with_its_rows_alone() -> None:
    toybox = suite("toybox")
    every = baselines(toybox)
    subset = choose_subset(
        "rows=raven,truth dimensions=color",
        rows=toybox.rows, dimensions=toybox.dimensions, custom=[], listed=list,
    )  # fmt: skip
    chosen = chosen_suite(toybox, subset)
    assert row_names(chosen, every) == {
        "raven": {"label": "RAVEN", "kind": "native"},
        "truth": {"label": "Rendered truth", "kind": "control"},
    }
    told = aggregate_settings(chosen, every, [], subset)
    assert (told["dimensions"], told["totals"]) == (("color",), True)
    assert subset and told["subset"] == subset.note
    assert list(report_settings(toybox, chosen, every, ROOT)["rows"]) == ["raven", "truth"]
    whole = report_settings(toybox, toybox, every, ROOT)["rows"]
    assert "base" not in whole and whole["wan_teacher_guidance3"]["kind"] == "teacher"
    assert whole["wan_teacher_guidance3"]["label"].endswith("(guidance 3), first sample of each prompt")
    alone = toybox.model_copy(update={"baselines": ("wan_teacher_guidance3",)})
    assert row_names(alone, every)["wan_teacher_guidance3"]["kind"] == "native", (
        "nothing is distilled from it there"
    )
    trained = {"train/raven": 8, "train/cm_grpo": 8}
    assert held_slots(suite("vbench"), {}) == trained
    on_cores = suite("vbench").model_copy(update={"device": "cpu"})
    assert held_slots(on_cores, {}) == trained | {"score": on_cores.scoring.threads}


def test_what_is_missing_is_said_for_the_jobs_that_need_it(tmp_path: Path) -> None:
    toybox, vbench = suite("toybox"), suite("vbench")
    everything = {("train", "raven"), ("sample", "raven"), ("vbench_weights", None)}
    assert missing_for_jobs(tmp_path, toybox, baselines(toybox), everything) == ""
    if not (ROOT / "resources").exists():
        screen = missing_for_jobs(ROOT, vbench, baselines(vbench), {("sample", "raven")})
        assert "fetched files, and" in screen and "Nothing was started." in screen


def test_real_clips_that_nobody_encoded_are_named(tmp_path: Path) -> None:
    """Guards against a job that fails after hours in the queue for a file that was never made."""
    toybox = suite("toybox")
    plan = toybox.train["raven"].model_copy(update={"data": "resources/data/mine/latents.safetensors"})
    mine = toybox.model_copy(update={"train": {"raven": plan}})
    said = missing_for_jobs(tmp_path, mine, baselines(mine), {("train", "raven")})
    assert said.startswith(
        "train.raven.data names resources/data/mine/latents.safetensors, which is not there;"
    )
    assert missing_for_jobs(tmp_path, mine, baselines(mine), {("sample", "raven")}) == ""


def test_a_row_without_command_and_rules_is_refused(tmp_path: Path) -> None:
    from tests.workflow.other_baselines import RULED

    (tmp_path / "ruled.yaml").write_text(RULED)
    with pytest.raises(ValueError, match=r"baselines/ruled/rules\.smk does not exist"):
        included_rules(suite("toybox"), {"ruled": load_row(tmp_path / "ruled.yaml")}, tmp_path)


def test_what_rows_declare_of_their_protocol(tmp_path: Path) -> None:
    """Ours are given the extended text; others say which, and no text that scores clips which are scored
    here.
    """
    from tests.workflow.other_baselines import RULED

    ours = aggregate_settings(suite("toybox"), baselines(suite("toybox")), [], None)["rows"]["self_forcing"]
    assert (ours["protocol"]["prompts"], ours["protocol"]["text"]) == ("extended", "short")
    path = tmp_path / "ruled.yaml"
    path.write_text(RULED.replace("prompts: null", "prompts: other"))
    found = declared_protocol(load_row(path))
    assert (found.prompts, found.text, found.static_filter) == ("other", "short", None)
    path.write_text(RULED.replace("encoder: null", "encoder: null, text: short"))
    with pytest.raises(ValueError, match=r"key 'declared\.text' is unknown"):
        load_row(path)
