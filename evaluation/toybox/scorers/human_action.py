"""Human action: 1 if the stick-figure sequence that fits best, of five actions, is the named one and fits.

Exact in this world; VBench asks a video classifier instead.
"""

from evaluation.toybox.facts import ACTIONS, Facts
from evaluation.toybox.lasting_actions import read_lasting_action
from evaluation.toybox.perception import ActionReading, FrameScores, read_action, see
from evaluation.toybox.render import Frames

MIN_OVERLAP = 0.7  # mean Dice overlap; a shape in the figure's place has at most 0.5


def score(frames: Frames, facts: Facts) -> FrameScores:
    """frames uint8 [81, 32, 32, 3]; facts of a person. 0 or 1."""
    return _named(read_action(see(frames)), facts)


def score_later(frames: Frames, facts: Facts) -> FrameScores:
    """As `score`, for a window behind a long clip's first."""
    return _named(read_lasting_action(see(frames)), facts)


def _named(reading: ActionReading, facts: Facts) -> FrameScores:
    best = int(reading.overlaps.argmax())
    acts = reading.overlaps[best] > reading.motionless and reading.overlaps[best] >= MIN_OVERLAP
    return FrameScores(float(acts and ACTIONS[best] == facts["action"]))


def soft(frames: Frames, facts: Facts) -> float:
    """Graded form: overlap with the named action, less what the best other reading has more of it."""
    reading = read_action(see(frames))
    named = float(reading.overlaps[ACTIONS.index(facts["action"])])
    return max(0.0, named - 2 * (max(float(reading.overlaps.max()), reading.motionless) - named))
