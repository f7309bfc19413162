"""The suites of long videos at full size: their rows, prompts and what they are estimated to cost."""

from pathlib import Path

import pytest

from baselines.spec import load_row
from evaluation.dimensions import NAMES
from evaluation.prompt_lists import LIST_RULES
from evaluation.suite_prompts import suite_prompts
from workflow.planning.banner import check_inputs, expected_prompts
from workflow.planning.clip_length import stress_label
from workflow.planning.cost import estimated_cost
from workflow.planning.prompt_plan import prompt_stage_settings
from workflow.planning.resources import needed_resources
from workflow.planning.suite import Suite, sampling_settings
from workflow.planning.suite_file import load_suite

ROOT = Path(__file__).parents[2]
SUITES = ("long", "long30")
QUALITY = NAMES[:7]
STRESSED = {"self_forcing_window21", "self_forcing_window21_sink3", "raven", "cm_grpo"}


def suite(name: str, **replaced: object) -> Suite:
    return load_suite(ROOT, [ROOT / f"workflow/config/{name}.yaml"], replaced)


@pytest.mark.parametrize(("name", "frames"), [("long", 240), ("long30", 120)])
def test_rows_made_for_it_and_labelled_ones(name: str, frames: int) -> None:
    """Both suites are planned; exactly the rows beyond their length are labelled, and refused without
    `stress`.
    """
    found = suite(name)
    rows = {row: load_row(ROOT / f"baselines/{row}.yaml") for row in found.baselines}
    check_inputs(found, ROOT, rows, name)
    assert found.clip.latent_frames == frames and found.dimensions == QUALITY
    assert {row for row, baseline in rows.items() if stress_label(found, baseline)} == STRESSED & {*rows}
    with pytest.raises(ValueError, match=r"self_forcing_window21 is made for 5\.1 s"):
        check_inputs(suite(name, stress=False), ROOT, rows, name)


def test_the_shorter_suite_is_the_beginning_of_the_longer() -> None:
    """Everything that decides a row's clips but their length is the same, the key of their noise too."""
    long, half = (suite(name) for name in SUITES)
    for row in long.baselines:
        a, b = (sampling_settings(one, load_row(ROOT / f"baselines/{row}.yaml")) for one in (long, half))
        lengths = [(one["clip"].pop("pixel_frames"), one["rollout"].pop("frames")) for one in (a, b)]
        assert lengths == [(957, 240), (477, 120)] and a == b


def test_a_list_that_is_not_fetched_is_counted(tmp_path: Path) -> None:
    """Closed form: 128 clips of every row, priced by the second of video."""
    for name in ("workflow", "baselines"):
        (tmp_path / name).symlink_to(ROOT / name)
    long = suite("long")
    prompts = expected_prompts(long, tmp_path)
    assert prompts is not None and len(prompts) == 128
    cost, rates = estimated_cost(long, prompts), long.rates
    jobs = len(long.baselines) * long.sample.shards * rates.job_s
    sampled = len(long.baselines) * 128 * 957 / 16 * rates.sample_s
    assert cost.seconds["sample"] == pytest.approx(sampled + jobs)
    assert cost.disk_mb == pytest.approx(len(long.rows) * 128 * 957 / 16 * rates.video_mb)


def test_the_first_lines_are_taken_and_scored_on_what_needs_no_facts(tmp_path: Path) -> None:
    """Guards against temporal flickering that no line of plain text can ask for."""
    long = suite("long")
    listed = next(e for e in needed_resources(ROOT, long) if e.group == "moviegen")
    assert long.prompts.list == f"resources/{listed.path}"
    settings = prompt_stage_settings(ROOT, long)
    assert settings["sha256"] == {"list": listed.sha256}
    path = tmp_path / "list.txt"
    path.write_text("".join(f"Scene {i}, told at length.\n" for i in range(130)))
    with pytest.raises(ValueError, match="list has sha256"):
        suite_prompts(settings, custom=path)
    prompts = suite_prompts(settings | {"sha256": {}}, custom=path)
    assert [p.prompt for p in prompts] == [f"Scene {i}, told at length." for i in range(128)]
    allowed = {*LIST_RULES["vbench"].free, *LIST_RULES["vbench"].on_request}
    assert {*QUALITY} <= allowed and all({*p.dimensions} == {*QUALITY} for p in prompts)
