"""Human action: 1 if the stick-figure sequence that fits best, of five actions, is the named one and fits well.

Exact in this world; VBench asks a video classifier instead.
"""

from __future__ import annotations

from evaluation.toybox.facts import ACTIONS, Facts
from evaluation.toybox.perception import action_overlaps, see
from evaluation.toybox.render import Frames

DIMENSION = "human_action"
KIND = "exact"
FLOOR = 0.3  # the controls named below score under this
CEILING = 0.99  # rendered truth scores at least this
FLOOR_CONTROLS = ("noise", "truth_shuffled_captions")
MIN_OVERLAP = 0.6  # mean Dice overlap; a shape in the figure's place has at most 0.5


def score(frames: Frames, facts: Facts) -> float:
    """frames uint8 [81, 32, 32, 3]; facts of a person. 0 or 1."""
    overlaps = action_overlaps(see(frames))
    best = int(overlaps.argmax())
    return float(ACTIONS[best] == facts["action"] and overlaps[best] >= MIN_OVERLAP)


def soft(frames: Frames, facts: Facts) -> float:
    """Graded form for rewards: overlap with the named action, less what the best other action has more of it."""
    overlaps = action_overlaps(see(frames))
    named = float(overlaps[ACTIONS.index(facts["action"])])
    return max(0.0, named - 2 * (float(overlaps.max()) - named))


if __name__ == "__main__":
    from evaluation.scoring import run_scorer

    run_scorer(DIMENSION, KIND, score)
