"""What a stick figure does in a window behind a long clip's first.

A clip of 81 frames begins each action in the first fifth of its period, so perception.py knows those phases
alone. Windows of a long clip begin 84 frames apart, and 84 is no multiple of the periods: a later window may
begin at any phase, and somebody who sat down stays seated.
"""

from functools import cache

import numpy as np

from evaluation.toybox.facts import ACTIONS
from evaluation.toybox.perception import PROBE_STRIDE, ActionReading, Seen, read_action
from evaluation.toybox.render import CENTER, PIXEL_FRAMES, SIZE, Floats, person_alpha

PERIODS = {"wave": 27, "jump": 27, "bow": 40}
"""Pixel frames after which an action is where it was (render.person_alpha)."""
PLACES = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""Where a figure may stand, in pixels from the middle."""


@cache
def _poses(action: str, place: float) -> Floats:
    """One period of an action from its first frame on, or the seated figure, float32 [poses, pixels]."""
    moments = np.arange(PERIODS[action]) if action in PERIODS else np.array([PIXEL_FRAMES])
    return person_alpha(action, CENTER + place, 0.0, moments).reshape(-1, SIZE * SIZE)


def read_lasting_action(seen: Seen) -> ActionReading:
    """As `read_action`, and with every action that repeats from any moment of its period on.

    A pose of any moment held throughout is motionless, but that of the seated figure, who sits.
    """
    plane = seen.alpha.max(1).reshape(len(seen.alpha), -1)  # [T, pixels]
    inked = np.square(plane).sum(1)[:, None]
    probes = np.arange(len(plane))[:, None]
    overlaps, motionless = read_action(seen)
    for action in (*PERIODS, "sit"):
        for place in PLACES:
            poses = _poses(action, place)
            dice = 2 * plane @ poses.T / (np.square(poses).sum(1) + inked)  # [T, poses]
            held = float(dice.mean(0).max())
            moments = (PROBE_STRIDE * probes + np.arange(len(poses))) % len(poses)  # [T, first pose]
            named = ACTIONS.index(action)
            overlaps[named] = max(overlaps[named], dice[probes, moments].mean(0).max())
            motionless = motionless if action == "sit" else max(motionless, held)
    return ActionReading(overlaps, motionless)
