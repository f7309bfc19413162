"""The published presets hold the released numbers, and models/training/README.md says where they differ."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from baselines.strict_yaml import read_strict, validate_strict
from models.training.chunk_weights import chunk_weights
from models.training.settings import FORCINGS, RECIPES
from workflow.planning.recipe_presets import (
    Preset,
    differences,
    load_preset,
    preset_names,
    preset_settings,
)
from workflow.planning.suite_file import load_suite, read_mapping, suite_from

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "models/training/README.md").read_text(encoding="utf-8")
SUITE = ROOT / "workflow/config/vbench.yaml"

ADAMW = {
    "kind": "adamw",
    "betas": (0.0, 0.999),
    "weight_decay": 0.0,
    "clip": 1000.0,
    "warmup": 0,
    "schedule": "constant",
}
TABLE_17_1 = {
    "iterations": 220,
    "fake_updates": 2,
    "seed": 20001019,
    "checkpoint_every": 110,
    "timesteps": (1000, 938, 833, 625),
    "score_shift": 5.0,
    "score_range": (0.02, 0.98),
    "guidance": 3.0,
    "norm_min": 1e-5,
    "forcing": "training_time_test",
    "chunk_weighting": -1.0,
    "ema": 0.9675,
    "chunks": (3,) * 7,
    "sink": 0,
    "window": None,
    "student": ADAMW | {"lr": 2e-6, "eps": 1e-8},
    "fake": ADAMW | {"lr": 4e-7, "eps": 1e-8},
}
TABLE_17_2 = {
    "iterations": 160,
    "seed": 20001019,
    "checkpoint_every": 80,
    "timesteps": (1000, 938, 833, 625),
    "policy_scale": 100.0,
    "reward_aggregation": "normalise_then_sum",
    "advantage_group": None,
    "advantage_std": "group",
    "flow_grpo": None,
    "kl": None,
    "advantage_clip": 5.0,
    "chunk_weighting": -1.0,
    "ema": 0.9675,
    "lora_rank": 256,
    "lora_alpha": 256.0,
    "group": 32,
    "chunks": (3,) * 7,
    "sink": 0,
    "window": None,
    "shared_noise": False,
    "random_policy_timestep": True,
    "policy_timestep_reweight": False,
    "optim_steps": 1,
    "ratio_clip": None,
    "optimizer": ADAMW | {"lr": 5e-6, "eps": 1e-10},
}
REWARDS = ("raft", "text_alignment", "aesthetic", "imaging", "motion_smoothness")
"""Weights of RAFT, text alignment, aesthetic, imaging and motion smoothness in the released configs."""
WEIGHTS = {
    "": (0.35, 2, 1, 1, 0.75),
    "ablation_raft0.35ta1aq1iq1ms0.75": (0.35, 1, 1, 1, 0.75),
    "ablation_raft0.35ta2aq1iq1ms1": (0.35, 2, 1, 1, 1),
    "ablation_raft0.35ta2aq2iq2ms0.75": (0.35, 2, 2, 2, 0.75),
    "ablation_raft0.3ta2aq1iq1ms0.75": (0.3, 2, 1, 1, 0.75),
}
CAUSAL_FORCING = "cmgrpo_causalforcing_raft2.35ta2aq1iq1ms0.75"
SEVEN_CHUNKS = {
    "ablation_alpha0": (1, 1, 1, 1, 1, 1, 1),
    "ablation_alpha1": (1.75, 1.5, 1.25, 1, 0.75, 0.5, 0.25),
    "ablation_ln0_1": (0.256, 1.002, 1.449, 1.585, 1.449, 1.002, 0.256),
    "ablation_mode0.54n": (1.395, 0.923, 0.799, 0.767, 0.799, 0.923, 1.395),
    "ablation_mode0.81": (0.611, 0.796, 1.216, 1.754, 1.216, 0.796, 0.611),
}


def settings_of(published: str, recipe: str) -> dict[str, Any]:
    """Settings with defaults filled in, as the recipe's script gets them."""
    return dataclasses.asdict(
        validate_strict(preset_settings(ROOT, published)[recipe], RECIPES[recipe], where=published)
    )


def part(values: dict[str, Any], keys: dict[str, Any]) -> dict[str, Any]:
    """The given keys of the values, also inside sections."""
    return {
        key: part(values[key], inner) if isinstance(inner, dict) else values[key]
        for key, inner in keys.items()
    }


@pytest.mark.parametrize("name", ["paper", "released"])
@pytest.mark.parametrize(("recipe", "table"), [("raven", TABLE_17_1), ("cm_grpo", TABLE_17_2)])
def test_a_preset_is_the_table(name: str, recipe: str, table: dict[str, Any]) -> None:
    """Guards against a number that is typed wrongly, and against a default that changes under a preset."""
    assert part(settings_of(name, recipe), table) == table
    fields = {field.name for field in dataclasses.fields(RECIPES[recipe])}
    written = preset_settings(ROOT, name)[recipe].keys()
    assert fields - written <= {"heldout", "warmup"}, "everything that shapes a published run is written out"


@pytest.mark.parametrize("name", ["paper", "released"])
def test_batches_are_those_of_the_tables(name: str) -> None:
    """17: one sample per process, rollouts in pairs (slices_per_step 2), group x sync is 32, main rewards."""
    preset, raven, grpo = load_preset(ROOT, name), settings_of(name, "raven"), settings_of(name, "cm_grpo")
    assert raven["batch"] // raven["micro_batches"] == preset.raven_layout.samples_per_process == 1
    assert grpo["prompts"] * grpo["group"] // grpo["micro_batches"] == 2
    assert tuple(grpo["rewards"][reward] for reward in REWARDS) == WEIGHTS[""]
    layout = preset.cm_grpo_layout
    assert grpo["reward_group"] == {"paper": None, "released": 4}[name], (
        "groups_per_infer of the released code"
    )
    assert (layout.group_size, layout.sync_group_size) == {"paper": (32, 1), "released": (4, 8)}[name]


@pytest.mark.parametrize("variant", WEIGHTS)
def test_reward_variants_are_the_rows_of_the_table(variant: str) -> None:
    grpo = settings_of(f"released/{variant}" if variant else "released", "cm_grpo")
    assert tuple(grpo["rewards"][reward] for reward in REWARDS) == WEIGHTS[variant]
    assert grpo | {"rewards": None} == settings_of("released", "cm_grpo") | {"rewards": None}


@pytest.mark.parametrize("beta", ["0", "0.004"])
@pytest.mark.parametrize("noise", ["0.1", "0.4", "0.8"])
def test_flow_grpo_variants_are_the_row_of_the_table(beta: str, noise: str) -> None:
    """Sampler and beta alone; the step that explodes upstream is the fixed one
    (models/training/methods.md#flowgrpo).
    """
    main, grpo = (
        settings_of(name, "cm_grpo")
        for name in ("released", f"released/ablation_flowgrpo_beta{beta}_em{noise}")
    )
    assert grpo["flow_grpo"] == {"noise_level": float(noise), "sigma_max": None}
    kl = grpo["kl"] and part(grpo["kl"], {"weight": 0, "reference": 0, "guidance": 0})
    assert kl == (None if beta == "0" else {"weight": 0.004, "reference": "base", "guidance": 3.0})
    assert grpo | {"flow_grpo": None, "kl": None} == main


def test_cm_grpo_on_causal_forcing_is_its_row() -> None:
    """9.7, 17.2: self forcing's forward, RAFT 2.35, a smaller rate with weight decay, no chunk weights; all
    else as in the main config.
    """
    main, grpo = (settings_of(name, "cm_grpo") for name in ("released", f"released/{CAUSAL_FORCING}"))
    assert tuple(grpo["rewards"][reward] for reward in REWARDS) == (2.35, 2, 1, 1, 0.75)
    changed = {
        "optimizer": main["optimizer"] | {"lr": 2e-6, "weight_decay": 0.01},
        "chunk_weighting": None,
        "forcing": "self_forcing",
    }
    assert grpo == main | changed | {"rewards": grpo["rewards"]}


@pytest.mark.parametrize("variant", SEVEN_CHUNKS)
def test_chunk_weight_variants_are_the_rows_of_section_7(variant: str) -> None:
    raven = settings_of(f"released/{variant}", "raven")
    assert chunk_weights(raven["chunks"], raven["chunk_weighting"]) == pytest.approx(
        SEVEN_CHUNKS[variant], abs=6e-4
    )
    assert raven | {"chunk_weighting": None} == settings_of("released", "raven") | {"chunk_weighting": None}


def test_every_forcing_is_a_variant() -> None:
    """models/training/methods.md#forcings: the forcings change nothing else; there is no variant that this
    file does not know.
    """
    for forcing in FORCINGS[1:]:
        raven = settings_of(f"released/ablation_{forcing}", "raven")
        assert raven == settings_of("released", "raven") | {"forcing": forcing}
    flow = {f"ablation_flowgrpo_beta{beta}_em{noise}" for beta in ("0", "0.004") for noise in (0.1, 0.4, 0.8)}
    known = {CAUSAL_FORCING, *flow, *SEVEN_CHUNKS, *WEIGHTS, *(f"ablation_{forcing}" for forcing in FORCINGS)}
    assert set(load_preset(ROOT, "released").variants) <= known
    assert preset_names(ROOT) == ["paper", "released"]


def test_the_paper_has_every_variant_under_its_short_name() -> None:
    """Guards against a variant that changes one thing in one preset and another thing in the other."""
    released, paper = (load_preset(ROOT, name).variants for name in ("released", "paper"))
    assert paper == {name.removeprefix("ablation_"): variant for name, variant in released.items()}


def test_the_page_lists_the_differences() -> None:
    """Guards against a page that has fallen behind the presets: its table is exactly where they differ."""
    rows = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| `(.+?)` \| `(.+?)` \|", PAGE, flags=re.MULTILINE)
    found = [(key, json.loads(paper), json.loads(released)) for key, paper, released in rows]
    assert found == differences(load_preset(ROOT, "paper"), load_preset(ROOT, "released"))
    assert found, "two presets that agree in everything need no names"


def test_the_page_names_every_variant() -> None:
    for variant in load_preset(ROOT, "released").variants:
        assert f"`{variant}`" in PAGE, variant
    for forcing in FORCINGS:
        assert f"`{forcing}`" in PAGE, forcing


def test_a_suite_takes_a_preset_whole() -> None:
    """`--config published=released/...` replaces both recipes' settings, so nothing of the suite's file is
    mixed in.
    """
    suite = load_suite(ROOT, [SUITE], {"published": "released/ablation_alpha1"})
    expected = settings_of("released/ablation_alpha1", "raven")
    assert json.loads(suite.train_settings("raven")) == json.loads(json.dumps(expected))
    assert load_suite(ROOT, [SUITE], {}).published is None


def test_rows_of_a_preset_train_on_its_list_unless_they_say_otherwise() -> None:
    """Guards against a published run on other prompts than its authors', and against captions of clips or of
    the embedded world that a list replaces.
    """
    plain = read_mapping(SUITE, "vbench.yaml")
    own = plain["train"]["raven"].pop("prompts")
    assert {load_preset(ROOT, name).prompts for name in preset_names(ROOT)} == {own}
    plain["train"]["cm_grpo"]["prompts"] = "mine.txt"

    def lists(published: str | None, values: dict[str, Any]) -> dict[str, str | None]:
        found = suite_from({**values, "published": published}, "vbench.yaml", ROOT)
        return {row: plan.prompts for row, plan in found.train.items()}

    assert lists("paper", plain) == {"raven": own, "cm_grpo": "mine.txt"}
    assert lists(None, plain)["raven"] is None
    plain["train"]["raven"]["data"] = "clips.safetensors"
    assert lists("released/ablation_teacher_forcing", plain)["raven"] is None
    toybox = read_mapping(ROOT / "workflow/config/toybox.yaml", "toybox.yaml")
    toybox["train"] = {"raven": toybox["train"]["raven"]}
    toybox["baselines"] = ["raven"]
    toybox["weights"] = {}
    assert lists("paper", toybox) == {"raven": None}


@pytest.mark.parametrize(
    ("published", "words"),
    [
        ("papers", "has paper, released; name one of these"),
        ("released/ablation_alpha2", "has the variants ablation_alpha0"),
        ("paper/ablation_alpha0", "has the variants alpha0, alpha1"),
        (["paper"], "published"),
    ],
)
def test_unknown_presets_are_one_sentence(published: Any, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        load_suite(ROOT, [SUITE], {"published": published})
    assert str(caught.value).startswith("workflow/config/vbench.yaml: ") and "\n" not in str(caught.value)


def test_a_layout_that_contradicts_the_batch_is_refused(tmp_path: Path) -> None:
    text = (ROOT / "workflow/config/presets/released.yaml").read_text(encoding="utf-8")
    (tmp_path / "x.yaml").write_text(
        text.replace("sync_group_size: 8", "sync_group_size: 4"), encoding="utf-8"
    )
    with pytest.raises(ValueError, match=r"\(64, 32, 8\).*\(64, 16, 16\)"):
        read_strict(tmp_path / "x.yaml", Preset)
