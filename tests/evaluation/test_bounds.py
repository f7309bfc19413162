"""The constants behind Quality, Semantic and Total, as literals: no other test may be the only witness."""

from evaluation.dimensions import DIMENSIONS
from evaluation.metrics import metrics

CONSTANTS = {
    # name: (VBench's minimum, maximum, weight, group; toybox's minimum, maximum), in percent
    "subject_consistency": (14.62, 100.0, 1.0, "quality", 0.0, 100.0),
    "background_consistency": (26.15, 100.0, 1.0, "quality", 0.0, 100.0),
    "temporal_flickering": (62.93, 100.0, 1.0, "quality", 69.0, 100.0),
    "motion_smoothness": (70.6, 99.75, 1.0, "quality", 0.0, 100.0),
    "dynamic_degree": (0.0, 100.0, 0.5, "quality", 0.0, 100.0),
    "aesthetic_quality": (0.0, 100.0, 1.0, "quality", 0.0, 100.0),
    "imaging_quality": (0.0, 100.0, 1.0, "quality", 0.0, 100.0),
    "object_class": (0.0, 100.0, 1.0, "semantic", 0.0, 100.0),
    "multiple_objects": (0.0, 100.0, 1.0, "semantic", 0.0, 100.0),
    "human_action": (0.0, 100.0, 1.0, "semantic", 0.0, 100.0),
    "color": (0.0, 100.0, 1.0, "semantic", 0.0, 100.0),
    "spatial_relationship": (0.0, 100.0, 1.0, "semantic", 0.0, 100.0),
    "scene": (0.0, 82.22, 1.0, "semantic", 0.0, 100.0),
    "appearance_style": (0.09, 28.55, 1.0, "semantic", 0.0, 100.0),
    "temporal_style": (0.0, 36.4, 1.0, "semantic", 0.0, 100.0),
    "overall_consistency": (0.0, 36.4, 1.0, "semantic", 0.0, 100.0),
}


def test_every_bound_weight_and_group_is_the_published_one() -> None:
    """Guards against a changed constant, which moves every total and breaks no formula."""
    found = {
        one.name: (
            one.vbench.low, one.vbench.high, one.weight, one.group, one.toybox.low, one.toybox.high,
        )
        for one in DIMENSIONS
    }  # fmt: skip
    assert found == CONSTANTS
    assert list(found) == list(CONSTANTS), "the order of VBench's tables"


def test_ends_of_the_scale_are_those_of_the_benchmarks_scorers() -> None:
    """Guards intervals of 106 and -10 %: toybox's styles are shares of frames, VBench's are cosines."""
    cosines = {"appearance_style", "temporal_style", "overall_consistency"}
    for name, metric in metrics("vbench").items():
        assert metric.ends == (-100.0 if name in cosines else 0.0, 100.0)
    assert {metric.ends for metric in metrics("toybox").values()} == {(0.0, 100.0)}
