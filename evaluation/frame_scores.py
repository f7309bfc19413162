"""The score of a clip together with the score of each of its pixel frames, from which curves of quality over
time are made.
"""

from typing import NamedTuple


class FrameScores(NamedTuple):
    """value: the score of the clip; frames: [T], a raw fraction for each pixel frame, None where none was
    looked at.

    A measure of a pair of frames stands at the later one. The value is the mean of the frames unless the
    scorer says otherwise.
    """

    value: float
    frames: tuple[float | None, ...]
