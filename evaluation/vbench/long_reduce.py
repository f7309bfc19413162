"""VBench-Long: where a long video is cut, and how values of the pieces become a dimension's score.

What `vbench2_beta_long` of Vchitect/VBench (commit 45e79ec) computes in its custom mode with --dev_flag, as
papers run it: pieces of two seconds, each scored by the standard module, and for subject and background
consistency a second part, from the first frames of the pieces. Sums run in its order, so that scores agree to
the last digit. What it computes by mistake and we do not is in
evaluation/vbench/README.md"""

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.vbench.reduce import running_sum

PIECE_SECONDS = 2
"""Of a piece in custom mode; standard mode has ten for prompts of three dimensions."""
FUSED = ("subject_consistency", "background_consistency")
"""Dimensions that have a part between pieces."""
BETWEEN_SHARE = 0.5
"""Weight of that part."""


def cut(frames: int, piece: int) -> list[range]:
    """Pixel frames of each piece of a video of `frames`, pieces of `piece` frames.

    What is left at the end becomes a whole piece too, which overlaps the one before; a video shorter than a
    piece is one piece. Raises ValueError unless both are positive.
    """
    if frames < 1 or piece < 1:
        raise ValueError(
            f"Cutting {frames} frames into pieces of {piece}: both numbers must be at least 1. A frame rate "
            "below one frame a second gives pieces without frames."
        )
    if frames < piece:
        return [range(frames)]
    starts = list(range(0, frames - piece + 1, piece))
    if frames % piece:
        starts.append(frames - piece)
    return [range(start, start + piece) for start in starts]


def between_pieces(previous: Sequence[float], first: Sequence[float]) -> float:
    """Clip-to-clip consistency of a video of M pieces, 0 for one piece.

    previous, first: [M - 1] cosines of the first frame of piece 1, 2, ... with that of the piece before and
    with that of piece 0. Negative ones count as 0. Raises ValueError if the two differ in length or a cosine
    is outside -1 to 1 (by more than rounding).
    """
    if len(previous) != len(first):
        raise ValueError(
            "Clip-to-clip consistency needs a cosine with the piece before and one "
            f"with the first piece for each later one; found {len(previous)} and {len(first)}."
        )
    for cosine in (*previous, *first):
        if not abs(cosine) <= 1 + 1e-5:
            raise ValueError(f"A cosine of two pieces' first frames is {cosine}; expected -1 to 1.")
    if not previous:
        return 0.0
    terms = ((max(0.0, one) + max(0.0, other)) / 2 for one, other in zip(previous, first, strict=True))
    return running_sum(terms) / len(previous)


@dataclass(frozen=True, slots=True)
class BetweenScale:
    """The piecewise linear map from clip-to-clip consistency to the scale of values within a piece."""

    knots: tuple[float, ...]
    values: tuple[float, ...]

    @classmethod
    def of_table(cls, table: Mapping[float, float], name: str) -> "BetweenScale":
        """From the fetched table `name`.

        Raises ValueError unless it begins with 0: 0, ends with 1: 1 and never falls.
        """
        knots = tuple(sorted(table))
        values = tuple(float(table[knot]) for knot in knots)
        rising = all(a <= b for a, b in itertools.pairwise(values))
        if (
            len(knots) < 2
            or knots[0] != 0
            or knots[-1] != 1
            or values[0] != 0
            or values[-1] != 1
            or not rising
        ):
            raise ValueError(
                f"{name}: a map of clip-to-clip consistency goes from 0: 0 to 1: 1 without falling; found "
                f"{len(knots)} knots"
                + (f", {knots[0]}: {values[0]} to {knots[-1]}: {values[-1]}" if knots else "")
                + ". Fetch the file again."
            )
        return cls(knots, values)

    def __call__(self, consistency: float) -> float:
        """The mapped value; what lies outside 0 to 1 takes the nearest end's."""
        index = bisect.bisect_left(self.knots, consistency)
        if index == 0:
            return self.values[0]
        if index == len(self.knots):
            return self.values[-1]
        low, high = self.knots[index - 1], self.knots[index]
        left, right = self.values[index - 1], self.values[index]
        return left + (right - left) * (consistency - low) / (high - low)


def fused_value(value: float, mapped: float) -> float:
    """Value of a piece with its video's mapped clip-to-clip consistency, the value alone where that is 0."""
    return value * (1 - BETWEEN_SHARE) + mapped * BETWEEN_SHARE if mapped != 0.0 else value


def long_score(
    dimension: str, pieces: Mapping[str, Sequence[float]], mapped: Mapping[str, float] | None = None
) -> float:
    """The dimension's score, a fraction: the mean over all pieces of all videos, whatever video they are of.

    pieces: values of the pieces by video, in the order of scoring; imaging quality is 0..100 there.
    mapped: by video, mapped clip-to-clip consistency, for the dimensions of FUSED alone. Raises ValueError if
    there is no piece, a video has none, a value is not finite, or `mapped` is missing, superfluous or of
    other videos.
    """
    empty = [video for video, values in pieces.items() if not values]
    if empty or not pieces:
        lacking = f"video {empty[0]!r} has no scored piece" if empty else "no video was scored"
        raise ValueError(f"{dimension}: {lacking}; score again.")
    if (dimension in FUSED) != (mapped is not None) or (mapped is not None and set(mapped) != set(pieces)):
        found = "none" if mapped is None else f"{len(mapped)} for {len(pieces)} videos"
        raise ValueError(
            f"{dimension}: clip-to-clip consistency is needed for each scored video of "
            f"{' and '.join(FUSED)}, and for no other dimension; found {found}."
        )
    values = [
        value if mapped is None else fused_value(value, mapped[video])
        for video, scored in pieces.items()
        for value in scored
    ]
    score = running_sum(values) / len(values)
    if not math.isfinite(score):
        raise ValueError(
            f"The {dimension} score of long videos is {score}; look at the values of its pieces."
        )
    return score / 100 if dimension == "imaging_quality" else score
