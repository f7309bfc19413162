"""What values of pieces make of long clips, with what was measured between pieces (clip-to-clip consistency)
by networks of another environment, evaluation/vbench/worker/between.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from evaluation.records import (
    Clip,
    ClipId,
    ClipScore,
    DimensionResult,
    Identifier,
    Inputs,
    PlainText,
    Record,
)
from evaluation.vbench.long_reduce import FUSED, between_pieces, fused_value, long_score
from evaluation.vbench.pieces import PieceEncoding, planned_pieces
from evaluation.vbench.reduce import official_clip_value
from evaluation.vbench.results import FRAME_VALUES


class BetweenVideo(Record):
    """Cosines of the first frames of a clip's pieces, by dimension of FUSED, [M - 1]."""

    clip_id: ClipId
    previous: dict[Identifier, tuple[float, ...]]
    """With that of the piece before."""
    first: dict[Identifier, tuple[float, ...]]
    """With that of the first piece."""
    mapped: dict[Identifier, float]
    """Their clip-to-clip consistency on the scale of values within a piece."""

    def consistency(self, dimension: str) -> float:
        """Raw clip-to-clip consistency."""
        return between_pieces(self.previous[dimension], self.first[dimension])


class BetweenResult(Record):
    """between/<row>.json: what was measured between the pieces of each clip of a row."""

    schema_version: Literal[1] = 1
    suite: PlainText
    row: Identifier
    inputs: Inputs
    encoding: PieceEncoding
    videos: tuple[BetweenVideo, ...]
    versions: dict[PlainText, PlainText]


def piece_result(
    suite: str,
    row: str,
    dimension: str,
    rows: Sequence[Mapping[str, Any]],
    clips: Sequence[Clip],
    between: BetweenResult | None,
    versions: Mapping[str, str],
    inputs: Inputs,
) -> DimensionResult:
    """Our record of a dimension: a clip's value is the mean of its pieces, VBench-Long's own mean is that of
    all pieces.

    rows: of every piece, in order, as `joined_rows` gives them. between: for the dimensions of FUSED, and
    only for them. Raises ValueError if it is missing, or lacks a clip.
    """
    found: dict[str, BetweenVideo] = {}
    if dimension in FUSED:
        found = {video.clip_id: video for video in between.videos} if between is not None else {}
        if absent := [clip.clip_id for clip in clips if clip.clip_id not in found]:
            raise ValueError(
                f"{dimension} of row {row}: nothing was measured between the pieces of {absent[0]} "
                f"({len(absent)} such clips); measure again (rule between_pieces)."
            )
    by_name = {str(values["video_path"]): values for values in rows}
    scores: list[ClipScore] = []
    official: dict[str, list[float]] = {}
    for clip in clips:
        planned = planned_pieces(clip)
        of_clip = [by_name[f"{piece.prompt_id}-0.mp4"] for piece, _ in planned]
        official[clip.clip_id] = [float(values["video_results"]) for values in of_clip]
        values = tuple(official_clip_value(dimension, one) for one in of_clip)
        video = found.get(clip.clip_id)
        fused = values if video is None else [fused_value(v, video.mapped[dimension]) for v in values]
        scores.append(
            ClipScore(
                clip_id=clip.clip_id,
                prompt_id=clip.prompt_id,
                sample=clip.sample,
                value=sum(fused) / len(fused),
                frame_values=_frame_values(clip, [frames for _, frames in planned], of_clip),
                pieces=values,
                between=None if video is None else video.consistency(dimension),
            )
        )
    mapped = {name: video.mapped[dimension] for name, video in found.items() if name in official}
    return DimensionResult(
        suite=suite,
        row=row,
        dimension=dimension,
        inputs=inputs,
        kind="official",
        mean=long_score(dimension, official, mapped if dimension in FUSED else None),
        clips=tuple(scores),
        versions=dict(versions),
    )


def _frame_values(
    clip: Clip, ranges: Sequence[range], rows: Sequence[Mapping[str, Any]]
) -> tuple[float | None, ...] | None:
    """Values by frame of the whole clip; a frame of two pieces has that of the first."""
    values: list[float | None] = []
    for frames, row in zip(ranges, rows, strict=True):
        if FRAME_VALUES not in row:
            return None
        values += row[FRAME_VALUES][len(values) - frames.start :]
    assert len(values) == clip.pixel_frames, "pieces cover every frame"
    return tuple(values)
