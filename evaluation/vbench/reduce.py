"""Rows of all parts -> the score that one official process would have printed, to the last digit.

Every rule repeats the arithmetic of vbench 0.1.5, in its order: `+=` in a loop where it does that (Python's
own sum() rounds otherwise since 3.12), numpy.mean where it does that. A row is the package's own dictionary.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

Row = Mapping[str, Any]


def running_sum(values: Iterable[float]) -> float:
    """Added one after another, each sum rounded."""
    total = 0.0
    for value in values:
        total += value
    return total


def _numpy_mean(rows: Sequence[Row]) -> float:
    return float(np.mean([row["video_results"] for row in rows]))


def _running_mean(rows: Sequence[Row]) -> float:
    return running_sum(row["video_results"] for row in rows) / len(rows)


def _imaging(rows: Sequence[Row]) -> float:
    return _running_mean(rows) / 100.0


def _per_frame_pair(rows: Sequence[Row]) -> float:
    pairs: int = sum(row["cnt_per_video"] for row in rows)
    return running_sum(row["video_sim"] for row in rows) / pairs


def _hits(rows: Sequence[Row]) -> float:
    hits: int = sum(row["success_frame_count"] for row in rows)
    frames: int = sum(row["frame_count"] for row in rows)
    return hits / frames


def _correct(rows: Sequence[Row]) -> float:
    correct: int = sum(row["cor_num_per_video"] for row in rows)
    return correct / len(rows)


def _frames_numpy(rows: Sequence[Row]) -> float:
    return float(np.mean([value for row in rows for value in row["frame_results"]]))


def _frames_running(rows: Sequence[Row]) -> float:
    values = [value for row in rows for value in row["frame_results"]]
    return running_sum(values) / len(values)


RULES: dict[str, Callable[[Sequence[Row]], float]] = {
    "subject_consistency": _per_frame_pair,  # the sums are noted by our worker, its rows have quotients only
    "background_consistency": _per_frame_pair,
    "temporal_flickering": _numpy_mean,
    "motion_smoothness": _numpy_mean,
    "dynamic_degree": _numpy_mean,
    "aesthetic_quality": _running_mean,
    "imaging_quality": _imaging,
    "object_class": _hits,
    "multiple_objects": _hits,
    "human_action": _correct,
    "color": _running_mean,
    "spatial_relationship": _frames_numpy,
    "scene": _hits,
    "appearance_style": _frames_running,
    "temporal_style": _numpy_mean,
    "overall_consistency": _numpy_mean,
}
"""How one process of the package reduces its rows."""


def official_score(dimension: str, rows: Sequence[Row]) -> float:
    """The dimension's score. Raises ValueError without rows, or if it is no finite number."""
    if not rows:
        raise ValueError(
            f"VBench could count no clip for {dimension}, so there is no score (the package itself would "
            "divide by zero)."
        )
    score = RULES[dimension](rows)
    if not math.isfinite(score):
        raise ValueError(f"The {dimension} score is {score}; look at its rows before anything is averaged.")
    return score


def several_process_score(dimension: str, rows: Sequence[Row]) -> float:
    """What several official processes would have printed: other averages for three dimensions, for comparison
    only.

    appearance_style: the mean of every clip's last frame; subject_consistency, spatial_relationship: the mean
    of clips, not frames.
    """
    if not rows:
        raise ValueError(f"There are no rows of {dimension}.")
    if dimension == "appearance_style":
        return running_sum(row["cur_sim"] for row in rows) / len(rows)
    if dimension in ("subject_consistency", "spatial_relationship"):
        return _running_mean(rows)
    return official_score(dimension, rows)


def official_clip_value(dimension: str, row: Row) -> float:
    """A clip's own value as a fraction: imaging quality is 0..100 in the rows, yes and no become 1 and 0."""
    value = float(row["video_results"])
    return value / 100.0 if dimension == "imaging_quality" else value
