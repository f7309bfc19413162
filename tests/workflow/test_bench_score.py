"""The arithmetic of `make bench-score`: what is compared, what is summed, and that a flipped answer is no
small difference.
"""

import math

import pytest

from workflow.scripts.dev.bench_score import (
    CASES,
    CaseTiming,
    counted,
    largest_difference,
    score_table,
    seconds_a_clip,
)


def row(name: str, value: float | bool) -> dict[str, object]:
    return {"video_path": name, "video_results": value}


def test_differences_are_relative_and_a_flip_is_infinite() -> None:
    """Guards the column that says how far the backends differ against other clips, and against a yes that
    became a no.
    """
    official = [row("a-0.mp4", 0.5), row("a-1.mp4", 80.0)]
    assert largest_difference(official, [row("a-0.mp4", 0.5), row("a-1.mp4", 80.008)]) == pytest.approx(1e-4)
    assert largest_difference([row("a-0.mp4", True)], [row("a-0.mp4", True)]) == 0.0
    assert largest_difference([row("a-0.mp4", True)], [row("a-0.mp4", False)]) == math.inf
    assert largest_difference(official, official[:1]) == math.inf


def test_seconds_are_of_a_clip_and_the_first_item_warms_up() -> None:
    """Guards dimensions whose loop is over prompts of several clips, and a GPU's first clip."""
    assert seconds_a_clip({"seconds": [9.0, 1.0, 3.0]}, 3, warm=True) == 2.0
    assert seconds_a_clip({"seconds": [10.0, 20.0]}, 10, warm=False) == 3.0


def test_the_total_takes_one_case_of_each_dimension() -> None:
    """Guards the total against counting the filter three times: 1,875 clips and 430 of scene, an hour each,
    are 2 hours.
    """
    timings = [
        CaseTiming("static_filter", "0 % static", 4.0, 1.0, 0.0),
        CaseTiming("static_filter", "50 % static", 3600 / 1875, 1800 / 1875, 0.0),
        CaseTiming("static_filter", "100 % static", 8.0, 1.0, 0.0),
        CaseTiming("scene", None, 3600 / 430, 1800 / 430, 0.0),
    ]
    assert counted(timings) == [timings[1], timings[3]]
    assert "2.0 h official, 1.0 h ours, 2.00 times less" in score_table(timings)


def test_every_case_can_be_made() -> None:
    """Guards a measurement of an hour against a case that the worker does not know, or weights that nobody
    draws.
    """
    from evaluation.vbench.worker.bench_worker import STEERED
    from tests.vbench.random_cache import MAKERS

    assert {case.case for case in CASES} - {None} == STEERED.keys()
    assert {name for case in CASES for name in case.checkpoints} <= MAKERS.keys()
