"""VBench-Long's cutting and reducing: its own functions' recorded results, lists of starts, closed forms."""

import json
from pathlib import Path

import pytest

from evaluation.vbench.long_reduce import FUSED, BetweenScale, between_pieces, cut, fused_value, long_score

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "vbench_long.json").read_text(encoding="utf-8"))
SCALE = BetweenScale.of_table({float(knot): value for knot, value in GOLDEN["table"].items()}, "table")


@pytest.mark.parametrize(
    ("frames", "piece", "starts"),
    [
        (31, 32, [0]),
        (32, 32, [0]),
        (33, 32, [0, 1]),
        (81, 32, [0, 32, 49]),
        (249, 32, [0, 32, 64, 96, 128, 160, 192, 217]),
        (477, 32, [*range(0, 448, 32), 445]),
        (957, 32, [*range(0, 928, 32), 925]),
        (159, 160, [0]),
        (160, 160, [0]),
        (161, 160, [0, 1]),
    ],
)
def test_pieces_are_whole_and_the_last_overlaps(frames: int, piece: int, starts: list[int]) -> None:
    pieces = cut(frames, piece)
    assert [one.start for one in pieces] == starts
    assert {len(one) for one in pieces} == {min(frames, piece)}
    assert {frame for one in pieces for frame in one} == set(range(frames))


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_scores_are_the_last_digit_of_upstreams_functions(case: dict) -> None:
    mapped = {video: SCALE(value) for video, value in case["between"].items()}
    assert long_score("motion_smoothness", case["pieces"]) == case["plain"]
    hundred = {video: [value * 100 for value in values] for video, values in case["pieces"].items()}
    assert long_score("imaging_quality", hundred) == case["imaging"]
    for dimension in FUSED:
        assert long_score(dimension, case["pieces"], mapped) == case["fused"]


def test_the_scale_is_linear_between_its_knots() -> None:
    for knot, value in zip(SCALE.knots, SCALE.values, strict=True):
        assert SCALE(knot) == value
    assert SCALE(0.25) == pytest.approx((SCALE(0.2) + SCALE(0.3)) / 2, abs=1e-15)
    assert (SCALE(1.5), SCALE(0.0)) == (1.0, 0.0)


@pytest.mark.parametrize(
    "table", [{}, {0.0: 0.0}, {0.0: 0.0, 0.5: 0.9, 1.0: 0.8}, {0.1: 0.0, 1.0: 1.0}, {0.0: 0.2, 1.0: 1.0}]
)
def test_a_map_that_is_none_is_refused(table: dict[float, float]) -> None:
    with pytest.raises(ValueError, match=r"table\.yaml: a map of clip-to-clip"):
        BetweenScale.of_table(table, "table.yaml")


def test_clip_to_clip_is_the_mean_of_both_cosines_without_negative_ones() -> None:
    assert between_pieces([], []) == 0.0
    assert between_pieces([0.8, 0.6], [0.8, -0.4]) == pytest.approx(
        ((0.8 + 0.8) / 2 + 0.6 / 2) / 2, abs=1e-15
    )


@pytest.mark.parametrize(("previous", "first"), [([0.5], []), ([1.1], [0.5]), ([0.5], [float("nan")])])
def test_cosines_that_are_none_are_refused(previous: list[float], first: list[float]) -> None:
    with pytest.raises(ValueError, match="osine"):
        between_pieces(previous, first)


def test_a_video_of_one_piece_keeps_the_pieces_value() -> None:
    assert fused_value(0.7, 0.0) == 0.7
    assert long_score("subject_consistency", {"a": [0.7]}, {"a": SCALE(between_pieces([], []))}) == 0.7


def test_a_name_with_an_underscore_keeps_its_half_between_pieces() -> None:
    """Upstream looks a video up by its name up to the first underscore, and leaves that half out."""
    values, between = [0.7, 0.9], SCALE(0.8)
    plain, marked = (
        long_score("subject_consistency", {name: values}, {name: between}) for name in ("a-0", "a_b_c-0")
    )
    assert plain == marked == pytest.approx(sum(value / 2 + between / 2 for value in values) / 2)


@pytest.mark.parametrize(
    ("dimension", "pieces", "mapped"),
    [
        ("motion_smoothness", {}, None),
        ("motion_smoothness", {"a": []}, None),
        ("motion_smoothness", {"a": [0.5]}, {"a": 0.5}),
        ("subject_consistency", {"a": [0.5]}, None),
        ("subject_consistency", {"a": [0.5]}, {"b": 0.5}),
        ("motion_smoothness", {"a": [float("nan")]}, None),
    ],
)
def test_what_cannot_be_reduced_is_one_sentence(dimension: str, pieces: dict, mapped: dict | None) -> None:
    with pytest.raises(ValueError, match=dimension):
        long_score(dimension, pieces, mapped)
