"""Rows in fp8 or with a small decoder: their weights and noise, their labels and digests, and refusals."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from baselines.spec import load_row
from evaluation.files import canonical_sha256
from workflow.planning import banner
from workflow.planning.banner import missing_fp8
from workflow.planning.licences import licences_of
from workflow.planning.paths import baseline_file, row_weights, weights_file
from workflow.planning.report_plan import report_settings, row_names
from workflow.planning.resources import needed_resources
from workflow.planning.row_plan import Baselines, clip_settings
from workflow.planning.suite import Suite
from workflow.planning.suite_file import load_suite, read_mapping, suite_from

ROOT = Path(__file__).parents[2]
FRONTIER = ROOT / "workflow/config/frontier.yaml"


def varied(**variants: dict[str, Any]) -> dict[str, Any]:
    """The frontier with variants in place of its own."""
    values = read_mapping(FRONTIER, "my.yaml")
    originals = [row for row in values["baselines"] if row not in values["variants"]]
    return {**values, "baselines": [*originals, *variants], "variants": variants}


def suite_of(values: dict[str, Any]) -> Suite:
    return suite_from(values, "my.yaml", ROOT)


def baselines(suite: Suite) -> Baselines:
    return {row: load_row(ROOT / baseline_file(suite, row)) for row in suite.baselines}


@pytest.fixture(scope="module")
def frontier() -> Suite:
    return load_suite(ROOT, [FRONTIER], {})


def test_the_frontier_is_every_combination(frontier: Suite) -> None:
    found = {
        (suite_row, frontier.precision_of(row), Path(frontier.codec_of(row)).stem)
        for row in frontier.baselines
        for suite_row in [frontier.original(row)]
    }
    originals = {row for row in frontier.baselines if row not in frontier.variants}
    assert {row.rpartition("_")[2] for row in originals} == {"4step", "2step", "1step"}
    assert found == {
        (row, precision, codec)
        for row in originals
        for precision in ("fast", "fp8")
        for codec in ("Wan2.1_VAE", "taew2_1")
    }
    assert len(found) == len(frontier.baselines) == 12


def test_a_variant_differs_from_its_row_in_nothing_else(frontier: Suite) -> None:
    """Weights, noise and every other setting are the row's, so that clips can be paired."""
    all_baselines = baselines(frontier)
    for row, plan in frontier.variants.items():
        own, other = (clip_settings(frontier, all_baselines, ROOT, one) for one in (row, plan.baseline))
        differing = {key: own.get(key) for key in own | other if own.get(key) != other.get(key)}
        assert differing == {
            **({"precision": plan.precision} if plan.precision else {}),
            **({"decoder": plan.decoder} if plan.decoder else {}),
        }
        assert row_weights(frontier, row) == row_weights(frontier, plan.baseline)
        assert weights_file(frontier, row_weights(frontier, row)) == frontier.weights[plan.baseline]


def test_digests_of_variants_are_their_own_and_those_of_rows_as_before(frontier: Suite) -> None:
    """The settings of a row in the frontier are those it has in a suite without variants, byte for byte."""
    all_baselines = baselines(frontier)
    digests = {
        row: canonical_sha256(clip_settings(frontier, all_baselines, ROOT, row)) for row in all_baselines
    }
    assert len(set(digests.values())) == len(digests)
    plain = load_suite(ROOT, [ROOT / "workflow/config/vbench2026.yaml"], {})
    rows = [row for row in all_baselines if row not in frontier.variants]
    for row in rows:
        settings = clip_settings(plain, {row: all_baselines[row]}, ROOT, row)
        assert canonical_sha256(settings) == digests[row]
        assert "decoder" not in settings


def test_every_table_says_what_a_row_is(frontier: Suite) -> None:
    """Its label, which every table and figure shows, and its settings in the audit."""
    all_baselines = baselines(frontier)
    names = row_names(frontier, all_baselines)
    title = names["causal_rcm_c3_2step"]["label"]
    assert names["causal_rcm_c3_2step_fp8"]["label"] == f"{title}, precision: fp8"
    assert names["causal_rcm_c3_2step_tiny"]["label"] == f"{title}, decoder: tiny"
    assert names["causal_rcm_c3_2step_fp8_tiny"]["label"] == f"{title}, precision: fp8, decoder: tiny"
    rows = report_settings(frontier, frontier, all_baselines, ROOT)["rows"]
    assert rows["causal_rcm_c3_2step_fp8_tiny"]["settings"]["precision"] == "fp8"
    assert rows["causal_rcm_c3_2step_fp8_tiny"]["settings"]["decoder"] == "tiny"
    assert "decoder" not in rows["causal_rcm_c3_2step"]["settings"]
    for row in ("causal_rcm_c3_2step", "causal_rcm_c3_2step_fp8_tiny"):
        assert "not the released precision" in rows[row]["note"]
        assert "The project knows no sha256 of its file" in rows[row]["note"]


def test_variants_bring_no_files_but_the_small_decoder(frontier: Suite) -> None:
    brought = {f"resources/{entry.path}" for entry in needed_resources(ROOT, frontier)}
    assert {frontier.codec_of(row) for row in frontier.baselines} < brought
    weights = {name for name in brought if "/weights/causal_rcm" in name}
    assert weights == set(frontier.weights.values())
    lines = licences_of(ROOT, frontier, baselines(frontier))
    assert any("taehv" in line.name and line.stated == "MIT" for line in lines)


def test_a_trained_row_may_have_variants() -> None:
    values = read_mapping(ROOT / "workflow/config/vbench.yaml", "my.yaml")
    values["baselines"] = [*values["baselines"], "raven_fp8"]
    values["variants"] = {"raven_fp8": {"baseline": "raven", "precision": "fp8"}}
    suite = suite_of(values)
    assert row_weights(suite, "raven_fp8") == "raven"
    assert weights_file(suite, "raven") == "results/vbench/weights/raven/full.safetensors"
    label = row_names(suite, baselines(suite))["raven_fp8"]["label"]
    assert label.endswith(", precision: fp8")


ONE = "causal_rcm_c3_2step"
MISTAKES: list[tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = [
    ({"mine": {"baseline": ONE}}, {}, ("variants.mine", "neither a precision nor a decoder")),
    ({"mine": {"baseline": ONE, "precision": "fp4"}}, {}, ("variants.mine.precision", "fp8_linear")),
    (
        {"mine": {"baseline": ONE, "precision": "fp8"}},
        {"device": "cpu"},
        ("'fp8'", "Hopper", "device is cpu"),
    ),
    (
        {"mine": {"baseline": ONE, "precision": "fp8"}},
        {"sample": {"batch": 1, "shards": 1, "noise": "portable", "precision": "exact"}},
        ("'exact'", "set that to fast"),
    ),
    ({"mine": {"baseline": "raven", "decoder": "tiny"}}, {}, ("variants.mine.baseline", "'raven'")),
    (
        {"mine": {"baseline": ONE, "decoder": "tiny"}, "other": {"baseline": "mine", "precision": "fp8"}},
        {},
        ("variants.other.baseline", "'mine'"),
    ),
]


@pytest.mark.parametrize(("variants", "changed", "words"), MISTAKES)
def test_mistakes_are_one_sentence_that_names_the_key(
    variants: dict[str, Any], changed: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match=r"^my\.yaml: ") as caught:
        suite_of({**varied(**variants), **changed})
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert str(caught.value).count("\n") == 0


def test_a_small_decoder_needs_a_file_and_a_variant_no_weights() -> None:
    values = varied(mine={"baseline": ONE, "decoder": "tiny"})
    model = {key: value for key, value in values["model"].items() if key != "tiny_decoder"}
    with pytest.raises(ValueError, match=r"variants\.mine\.decoder is tiny, but model\.tiny_decoder"):
        suite_of({**values, "model": model})
    with pytest.raises(ValueError, match="take it out of `weights`"):
        suite_of({**values, "weights": {**values["weights"], "mine": "resources/weights/mine/model.pt"}})
    with pytest.raises(ValueError, match="variants has 'other', which is no row"):
        suite_of(
            {**values, "variants": {**values["variants"], "other": {"baseline": ONE, "decoder": "tiny"}}}
        )


def test_a_machine_without_fp8_is_refused_before_any_job(
    frontier: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [("sample", row) for row in frontier.baselines]
    for found, words in (([(9, 0)], ""), ([], ""), ([(9, 0), (8, 0)], "this machine has 8.0")):
        monkeypatch.setattr(banner, "compute_capabilities", lambda found=found: found)
        said = missing_fp8(frontier, jobs)
        assert (words in said) and bool(said) == bool(words)
    assert "causal_rcm_c1_1step_fp8" in said
    assert "_4step," not in said
    assert not missing_fp8(frontier, [("sample", "causal_rcm_c3_4step_tiny"), ("score_part", "x_fp8")])


def test_the_job_itself_refuses_a_cpu_before_it_opens_a_file(tmp_path: Path) -> None:
    """For machines that the planner does not see, such as a cluster's."""
    from argparse import Namespace

    from workflow.sampling.setup import open_row

    values = read_mapping(FRONTIER, "my.yaml")
    suite = suite_of(values)
    row = "causal_rcm_c3_2step_fp8"
    settings = clip_settings(suite, baselines(suite), ROOT, row)
    flags = Namespace(
        device="cpu", settings=json.dumps(settings), baseline=ROOT / f"baselines/{ONE}.yaml",
        checksums=tmp_path / "nothing", own=None, weights=tmp_path / "nothing.pt",
    )  # fmt: skip
    assert not torch.cuda.is_available() or flags.device == "cpu"
    with pytest.raises(ValueError, match=r"^Precision fp8 needs a GPU .* this job has a CPU"):
        open_row(flags, [], None)
