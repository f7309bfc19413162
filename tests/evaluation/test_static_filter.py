"""The static filter keeps the first still samples in numeric order and never fills a gap."""

import numpy as np

from evaluation.records import Prompt
from evaluation.static_filter import filter_prompt, filtered_set
from evaluation.toybox.motion import STATIC_BELOW, judge_motion, motion
from tests.evaluation.made_up import INPUTS


def square(step: float) -> np.ndarray:
    frames = np.full((21, 128, 128, 3), (90, 120, 150), np.uint8)
    for t in range(21):
        x = int(20 + step * t)
        frames[t, 50:80, x : x + 30] = (220, 40, 40)
    return frames


def test_motion_is_in_pixels_of_a_32_pixel_picture() -> None:
    """Guards against a threshold that depends on the file's resolution; 2 pixels a frame in 128 are 8 per
    stride, 2 in 32.
    """
    assert motion(square(0)) == 0
    assert 1.5 < motion(square(2)) < 2.5
    small = np.ascontiguousarray(square(2)[:, ::2, ::2])
    assert abs(motion(small) - motion(square(2))) < 0.3


def test_first_static_ones_are_kept_in_numeric_order() -> None:
    """Guards against keeping the stillest instead of the first, which would favour some samples."""
    values = [2.0, 0.1, 0.4, STATIC_BELOW, 0.0, 0.2]
    outcome = filter_prompt("p", judge_motion(values), keep=3)
    assert (outcome.kept, outcome.short) == ((1, 2, 4), 0)
    assert outcome.motion == tuple(values)
    assert not outcome.static[3]


def test_a_gap_is_recorded_and_not_filled() -> None:
    """Guards against moving clips that slip into a still dimension because there were too few still ones."""
    outcome = filter_prompt("p", judge_motion([2.0, 0.1, 3.0]), keep=2)
    assert (outcome.kept, outcome.short) == ((1,), 1)
    nothing = filter_prompt("p", judge_motion([2.0, 3.0]), keep=2)
    assert (nothing.kept, nothing.short) == ((), 2)


def test_prompts_without_keep_keep_all_samples() -> None:
    def prompt(name: str, samples: int, keep: int | None) -> Prompt:
        return Prompt(
            id=name, prompt="a", extended="b", dimensions=("color",), samples=samples, keep=keep, facts={}
        )

    judged = {"b": judge_motion([0.0, 9.0, 0.0, 0.0])}
    outcome = filtered_set("truth", INPUTS, [prompt("a", 3, None), prompt("b", 4, 2)], judged, STATIC_BELOW)
    assert outcome.kept == {"a": (0, 1, 2), "b": (0, 2)}
    assert [entry.prompt_id for entry in outcome.filtered] == ["b"]
