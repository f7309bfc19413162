"""Training metrics and the paired check, against closed forms."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from evaluation.intervals import holm
from evaluation.records import with_checksum
from reports.curves import compare_heldout, group_name, read_heldout, read_metrics


def test_metrics_are_grouped_and_may_be_sparse(tmp_path: Path) -> None:
    """A metric that is only on every second line keeps its own steps; clocks are no curve."""
    lines = [
        {"iteration": 1, "fake_loss": 2.0, "elapsed_s": 0.1},
        {"iteration": 2, "fake_loss": 1.0, "student_loss": 5, "reward_color": 0.5, "elapsed_s": 0.2},
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    groups = {group.name: group.curves for group in read_metrics(path)}
    assert list(groups) == ["fake_loss", "student_loss", "reward"]
    (fake,), (student,) = groups["fake_loss"], groups["student_loss"]
    assert (fake.steps, fake.values) == ((1.0, 2.0), (2.0, 1.0))
    assert (student.steps, student.values) == ((2.0,), (5.0,))
    panels = {"fake_grad_norm": "grad_norm", "student_lr": "lr", "reward": "reward", "reward_color": "reward"}
    assert {key: group_name(key) for key in panels} == panels


@pytest.mark.parametrize("fault", ['"iteration": 1, "loss": NaN', '"iteration": 1, "loss": "1"', '"loss": 1'])
def test_a_fault_in_the_metrics_is_no_gap_in_the_curve(tmp_path: Path, fault: str) -> None:
    """NaN, text and lines without an iteration stop the report, naming the line."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"iteration": 0, "loss": 1}\n{' + fault + "}")
    with pytest.raises(ValueError, match=r"metrics.jsonl line 2"):
        read_metrics(path)


def write_heldout(path: Path, measures: list[dict]) -> Path:
    prompts = [f"p{i}" for i in range(len(measures[0]["before"]))]
    record = {"before": "raven", "after": "cm_grpo", "prompts": prompts, "measures": measures}
    path.write_text(with_checksum(json.dumps({"schema_version": 1, **record})))
    return path


def test_paired_interval_is_that_of_differences(tmp_path: Path) -> None:
    """Closed form: mean difference +- z s / sqrt(n), however much the prompts differ, with the z of two
    metrics (Bonferroni); None leaves a prompt out.

    Tolerance: percentiles of 2,000 draws of a mean of 100 values, about 8 % so far out.
    """
    random = np.random.default_rng(0)
    before, gain = random.normal(0, 10, 100), random.normal(0.5, 0.2, 100)
    both = {"name": "reward", "trained": True, "before": before.tolist(), "after": (before + gain).tolist()}
    some = {"name": "scene", "trained": False, "before": [0.5] * 40 + [None] * 60, "after": [0.5] * 100}
    reward, scene = compare_heldout(read_heldout(write_heldout(tmp_path / "heldout.json", [some, both])))
    assert (reward.name, scene.name) == ("reward", "scene")  # what was trained on comes first
    assert reward.difference.mean == pytest.approx(gain.mean())
    half = stats.norm.ppf(1 - 0.0125) * gain.std(ddof=1) / 10
    assert (reward.difference.high - reward.difference.low) / 2 == pytest.approx(half, rel=0.08)
    assert reward.holm < 0.01
    assert (scene.prompts, scene.difference.mean, scene.holm) == (40, 0.0, 1.0)


def test_a_small_check_is_students_t_after_holm(tmp_path: Path) -> None:
    """Naive reference: scipy's paired test of 9 prompts, times the three metrics and never below 2 / 2^9;
    its interval at a third of 5 %. A metric without a common prompt is no test.
    """
    random = np.random.default_rng(1)
    before = random.normal(0, 10, 9)
    gains = [random.normal(gain, 0.2, 9) for gain in (0.5, 0.0, -0.2)]
    measures = [
        {"name": f"m{i}", "trained": True, "before": before.tolist(), "after": (before + gain).tolist()}
        for i, gain in enumerate(gains)
    ]
    lost = {"name": "lost", "trained": False, "before": [None] * 9, "after": [0.5] * 9}
    lines = compare_heldout(read_heldout(write_heldout(tmp_path / "heldout.json", [*measures, lost])))
    tests = [stats.ttest_1samp(gain, 0.0) for gain in gains]
    assert [line.holm for line in lines] == pytest.approx(
        holm([max(test.pvalue, 2 / 2**9) for test in tests])
    )
    assert [line.holm < 0.05 for line in lines] == [True, False, False]
    for line, test in zip(lines, tests, strict=True):
        wide = test.confidence_interval(1 - 0.05 / 3)
        assert (line.difference.low, line.difference.high) == pytest.approx((wide.low, wide.high))


def test_heldout_lists_must_be_aligned(tmp_path: Path) -> None:
    """A lost prompt would pair the wrong clips: it stops."""
    wrong = {"name": "reward", "trained": True, "before": [0.1, 0.2], "after": [0.1]}
    with pytest.raises(ValueError, match="one value per prompt"):
        read_heldout(write_heldout(tmp_path / "heldout.json", [wrong]))
