"""Rows of one recipe with settings of their own: how they are told, named, keyed and refused."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from baselines.native import Baseline
from baselines.spec import load_baseline, load_row
from evaluation.files import canonical_sha256
from workflow.external.baseline import external_settings
from workflow.planning.paths import baseline_file
from workflow.planning.report_plan import report_settings, row_names
from workflow.planning.row_plan import Baselines, heldout_rows, training_modules
from workflow.planning.suite import Suite, sampling_settings
from workflow.planning.suite_file import load_suite, read_mapping, suite_from

ROOT = Path(__file__).parents[2]
ABLATIONS = {name: ROOT / f"workflow/config/{name}.yaml" for name in ("ablations", "ablations_ci")}


def varied(**plan: Any) -> dict[str, Any]:
    """The toybox suite with one more row, `mine`, which is trained as RAVEN is but for `plan`."""
    values = copy.deepcopy(read_mapping(ROOT / "workflow/config/toybox.yaml", "toybox.yaml"))
    values["baselines"].append("mine")
    values["train"]["mine"] = {**values["train"]["raven"], "baseline": "raven", **plan}
    return values


def suite_of(values: dict[str, Any]) -> Suite:
    return suite_from(values, "my.yaml", ROOT)


def baselines(suite: Suite) -> Baselines:
    return {row: load_row(ROOT / baseline_file(suite, row)) for row in suite.baselines}


def test_a_row_has_its_recipes_section_but_for_its_own_keys() -> None:
    suite = suite_of(varied(settings={"chunk_weighting": None, "student": {"lr": 3e-5}}))
    section, own = (json.loads(suite.train_settings(row)) for row in ("raven", "mine"))
    assert own == section | {"chunk_weighting": None, "student": section["student"] | {"lr": 3e-5}}
    plain = load_suite(ROOT, [ROOT / "workflow/config/toybox.yaml"], {})
    assert suite.train_settings("raven") == plain.train_settings("raven")


def test_a_row_may_take_a_preset_and_stand_over_it() -> None:
    """Settings of the section do not leak into a preset, which is taken whole."""
    suite = suite_of(varied(published="paper/alpha0", settings={"iterations": 4}))
    own = json.loads(suite.train_settings("mine"))
    assert (own["chunk_weighting"], own["iterations"], own["batch"], own["ema"]) == (None, 4, 64, 0.9675)


def test_settings_may_be_whole_where_the_section_is_null() -> None:
    values = varied()
    whole = {**values["raven"], "seed": 7}
    values |= {"raven": None, "baselines": [row for row in values["baselines"] if row != "raven"]}
    values["train"]["mine"]["settings"] = whole
    del values["train"]["raven"], values["train"]["cm_grpo"]
    values["baselines"].remove("cm_grpo")
    assert json.loads(suite_of(values).train_settings("mine"))["seed"] == 7


MISTAKES: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    (
        {"settings": {"chunk_weightin": 1}},
        ("train.mine.settings.chunk_weightin", "unknown", "chunk_weighting"),
    ),
    ({"settings": {"student": {"lrr": 1}}}, ("train.mine.settings.student.lrr", "unknown", "muon_lr")),
    ({"settings": {"iterations": "x"}}, ("train.mine.settings.iterations", "'x'", "integer")),
    ({"settings": {"slices": 2}}, ("train.mine.settings.slices", "'micro_batches' now")),
    ({"settings": {"forcing": "no"}}, ("train.mine.settings", "forcing is 'no'", "self_forcing")),
    ({"settings": {"forcing": "teacher_forcing"}}, ("train.mine.data", "real clips")),
    ({"settings": {"batch": 3, "micro_batches": 2}}, ("train.mine.settings", "must divide")),
    ({"settings": [1]}, ("train.mine.settings", "[1]")),
    ({"settings": {"seed": None}}, ("train.mine.settings.seed", "None")),
    ({"published": "paper/alpha2"}, ("train.mine.published", "'paper/alpha2'", "alpha0")),
    ({"published": "papers"}, ("train.mine.published", "has paper, released")),
    ({"baseline": "ravens"}, ("'mine'", "baselines/ravens.yaml")),
    ({"init": "mine"}, ("train.mine.init", "mine -> mine")),
    ({"titel": "x"}, ("train.mine.titel", "not permitted")),
]


@pytest.mark.parametrize(("plan", "words"), MISTAKES)
def test_mistakes_are_one_sentence_that_names_the_key(plan: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"^my\.yaml: ") as caught:
        suite_of(varied(**plan))
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message and message.endswith(".")


def test_a_variant_is_sampled_as_its_baseline_and_named_by_what_differs() -> None:
    suite = suite_of(varied(settings={"chunk_weighting": "ln_0_1", "student": {"lr": 3e-5}}))
    every = baselines(suite)
    assert baseline_file(suite, "mine") == "baselines/raven.yaml"
    one, other = every["raven"], every["mine"]
    assert isinstance(one, Baseline) and isinstance(other, Baseline)
    assert sampling_settings(suite, one) == sampling_settings(suite, other)
    names = row_names(suite, every)
    assert names["raven"]["label"] == "RAVEN"
    assert names["mine"]["label"] == "RAVEN, chunk_weighting ln_0_1, student.lr 3e-05"
    titled = suite_of(varied(settings={"seed": 2}, title="RAVEN again"))
    assert row_names(titled, every)["mine"]["label"] == "RAVEN again"


@pytest.mark.parametrize("plan", [{}, {"settings": {}}, {"settings": {"seed": 1}}, {"title": "RAVEN"}])
def test_rows_that_nobody_could_tell_apart_are_refused(plan: dict[str, Any]) -> None:
    suite = suite_of(varied(**plan))
    with pytest.raises(ValueError, match=r"train\.mine would be called 'RAVEN' .* as raven is"):
        row_names(suite, baselines(suite))


def test_the_audit_shows_what_differs_between_rows_of_a_recipe_and_nothing_else() -> None:
    """A suite with one row a recipe says nothing of training there, as before."""
    suite = suite_of(varied(settings={"chunk_weighting": None}, fake="models/embedded/causvid.safetensors"))
    rows = report_settings(suite, suite, baselines(suite), ROOT)["rows"]
    found = {row: rows[row]["settings"].get("training") for row in suite.train}
    assert found == {
        "raven": {"chunk_weighting": -1.0, "from.fake": None},
        "mine": {"chunk_weighting": None, "from.fake": "models/embedded/causvid.safetensors"},
        "cm_grpo": None,
    }


def test_each_row_decides_its_rewards_and_its_held_out_prompts() -> None:
    values = varied(
        recipe="cm_grpo", init="raven", flavour="merged", baseline="cm_grpo",
        settings={"rewards": {"color": 1.0}, "heldout": 0},
    )  # fmt: skip
    suite = suite_of(values)
    assert heldout_rows(suite) == ["cm_grpo"]
    assert training_modules(suite, "mine") != training_modules(suite, "cm_grpo")


def test_noise_is_keyed_by_the_suites_name_or_by_its_noise_key() -> None:
    """The hash of settings in every manifest of a suite without the key is that of before."""
    values = varied(settings={"seed": 2})
    raven = load_baseline(ROOT / "baselines/raven.yaml")
    plain, renamed, keyed = (
        sampling_settings(suite_of({**values, **given}), raven)
        for given in ({}, {"suite": "other"}, {"suite": "other", "noise_key": "toybox"})
    )
    assert plain["suite"] == "toybox" and canonical_sha256(plain) == canonical_sha256(keyed)
    assert plain != renamed and renamed["suite"] == "other"
    with pytest.raises(ValueError, match="noise_key"):
        suite_of({**values, "noise_key": "a key"})


def test_seeds_of_external_programs_follow_the_noise_key(tmp_path: Path) -> None:
    from tests.workflow.other_baselines import RULED

    (tmp_path / "ruled.yaml").write_text(RULED)
    baseline: Any = load_row(tmp_path / "ruled.yaml")
    keyed = suite_of({**varied(settings={"seed": 2}), "noise_key": "shared"})
    (tmp_path / "baselines/ruled").mkdir(parents=True)
    assert external_settings(keyed, baseline, tmp_path)["suite"] == "shared"


@pytest.mark.parametrize("spoil", [lambda v: v.update(weights="released")])
def test_variants_have_no_published_weights(spoil: Callable[[dict[str, Any]], object]) -> None:
    values = varied(settings={"seed": 2})
    spoil(values)
    with pytest.raises(ValueError, match=r"my\.yaml: weights is 'released', but mine are variants"):
        suite_of(values)


def test_the_ablations_of_the_paper_are_one_suite() -> None:
    """Chunk weights, forcings, teacher, FlowGRPO: each differs from its recipe's main row in what it says."""
    real, small = (load_suite(ROOT, [path], {}) for path in ABLATIONS.values())
    assert len(real.train) == 19 and len(small.train) == 6
    settings = {row: json.loads(real.train_settings(row)) for row in real.train}
    assert {one["forcing"] for row, one in settings.items() if row.startswith("raven")} == {
        "training_time_test", "teacher_forcing", "diffusion_forcing", "diffusion_forcing_self_rollout",
        "self_forcing",
    }  # fmt: skip
    weights = {str(one["chunk_weighting"]) for row, one in settings.items() if row.startswith("raven")}
    assert weights == {"-1.0", "None", "1.0", "ln_0_1", "mode_-0.54", "mode_0.81"}
    levels = [one["flow_grpo"]["noise_level"] for one in settings.values() if one.get("flow_grpo")]
    assert sorted(levels) == [0.1, 0.1, 0.4, 0.4, 0.8, 0.8]
    assert len({plan.teacher for row, plan in real.train.items() if row.startswith("raven")}) == 2
    for suite in (real, small):
        labels = [found["label"] for found in row_names(suite, baselines(suite)).values()]
        assert len(set(labels)) == len(suite.rows)
