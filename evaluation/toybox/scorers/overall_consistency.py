"""Overall consistency: share of the caption's facts that hold, by the checks of the other dimensions.

Exact in this world; VBench asks a video-text network instead. One shape: colour, shape, scene, motion. Two:
both objects,
relation, scene. A style: style, scene. A camera move: camera, colour. A person: action, colour, scene.
"""

from collections.abc import Callable

import numpy as np

from evaluation.toybox.facts import FIXED, PLAIN, Facts
from evaluation.toybox.perception import FrameScores, blobs, color_index, motion_of, see
from evaluation.toybox.render import Frames
from evaluation.toybox.scorers import (
    appearance_style,
    color,
    human_action,
    multiple_objects,
    object_class,
    scene,
    spatial_relationship,
    temporal_style,
)


def moves_as_named(frames: Frames, facts: Facts) -> FrameScores:
    """1 if the object of the named colour moves (or is static) as the facts say, else 0."""
    found = blobs(see(frames).alpha)
    named = color_index(facts["objects"][0]["color"])
    there = found.present()[:, named]
    x, y = (np.where(there, part[:, named], np.nan).astype(np.float32) for part in (found.x, found.y))
    return FrameScores(float(motion_of(x, y) == facts["motion"]))


def score(frames: Frames, facts: Facts) -> FrameScores:
    """frames uint8 [81, 32, 32, 3]; any facts. In 0..1."""
    return _share(frames, facts, human_action.score)


def score_later(frames: Frames, facts: Facts) -> FrameScores:
    """As `score`, for a window behind a long clip's first."""
    return _share(frames, facts, human_action.score_later)


_Check = Callable[[Frames, Facts], FrameScores]


def _share(frames: Frames, facts: Facts, acts: _Check) -> FrameScores:
    """acts: checks what a person does."""
    checks: list[_Check]
    if facts["style"] != PLAIN:
        checks = [appearance_style.score, scene.score]
    elif facts["camera"] != FIXED:
        checks = [temporal_style.score, color.score]
    elif facts["action"] is not None:
        checks = [acts, color.score, scene.score]
    elif facts["relation"] is not None:
        checks = [multiple_objects.score, spatial_relationship.score, scene.score]
    else:
        checks = [color.score, object_class.score, scene.score, moves_as_named]
    return FrameScores(float(np.mean([check(frames, facts).value for check in checks])))
