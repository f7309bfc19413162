"""Pieces of long clips: where a clip is cut, and the files that VBench scores.

A piece is a clip of its own under a name that says where it is from, so that jobs, links and joining of parts
are those of short clips.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from evaluation.clip_reader import look_at_clip, rgb_of, shown_frames
from evaluation.clips import X264
from evaluation.files import file_sha256, written_whole
from evaluation.records import Clip, Identifier, Inputs, Prompt, Record, clip_file, clip_id
from evaluation.selection import ScoredPrompt, select_clips
from evaluation.vbench.long_reduce import PIECE_SECONDS, cut
from evaluation.verified_clips import clip_bytes

PieceEncoding = Literal["direct", "official"]
ENCODERS: dict[PieceEncoding, dict[str, str]] = {
    "direct": {"qp": "0", "preset": "veryfast"},
    "official": {"crf": "23"},
}
"""Options of libx264: without loss, or what VBench-Long's writer (torchvision) leaves at its default."""


class PieceSet(Record):
    """pieces.json in the folder of a row's pieces."""

    schema_version: Literal[1] = 1
    row: Identifier
    encoding: PieceEncoding
    inputs: Inputs
    pieces: tuple[Clip, ...]


def planned_pieces(clip: Clip) -> list[tuple[Clip, range]]:
    """Every piece of a clip and its pixel frames. A piece has the sha256 of the whole until it is cut."""
    found = []
    for number, frames in enumerate(cut(clip.pixel_frames, int(clip.fps) * PIECE_SECONDS)):
        prompt_id = f"{clip.prompt_id}_s{clip.sample}_c{number:03d}"
        name = clip_id(prompt_id, 0)
        named = {"clip_id": name, "prompt_id": prompt_id, "sample": 0, "file": clip_file(name)}
        found.append((clip.model_copy(update={**named, "pixel_frames": len(frames)}), frames))
    return found


def long_clips_of(
    dimension: str, prompts: Sequence[Prompt], manifest: Sequence[Clip], kept: Mapping[str, Sequence[int]]
) -> list[Clip]:
    """The clips that a dimension is scored on, in order. Raises ValueError as `select_clips` does."""
    return [clip for entry in select_clips(dimension, prompts, manifest, kept) for clip in entry.clips]


def piece_entries(
    dimension: str, clips: Sequence[Clip], made: Mapping[str, Clip] | None = None
) -> list[ScoredPrompt]:
    """Every piece of these clips as a prompt of its own, whose text is its name.

    made: the cut pieces by clip_id; None where their files are not looked at. Raises ValueError if a piece
    was not cut, or to another length.
    """
    entries = []
    for clip in clips:
        for planned, frames in planned_pieces(clip):
            piece = planned if made is None else made.get(planned.clip_id)
            if piece is None or piece.pixel_frames != len(frames):
                raise ValueError(
                    f"Piece {planned.clip_id} ({len(frames)} frames of clip {clip.clip_id}) is not among "
                    "those that were cut; cut the row again (delete its folder of pieces)."
                )
            name = planned.prompt_id
            prompt = Prompt(
                id=name, prompt=name, extended=name, dimensions=(dimension,), samples=1, keep=None, facts={}
            )
            entries.append(ScoredPrompt(prompt, (piece,)))
    return entries


def cut_clip(clips: Path, clip: Clip, folder: Path, encoding: PieceEncoding) -> list[Clip]:
    """Write the pieces of a clip below `folder`. clips: the row's folder; the clip is read as it was sampled.

    One piece of frames is in memory. Frames of a clip in yuv420p pass "direct" unchanged.
    """
    content = clip_bytes(clips, clip)
    look = look_at_clip(content, f"{clip.clip_id} of row {clip.row}")
    planned = planned_pieces(clip)
    last: deque[NDArray[np.uint8]] = deque(maxlen=len(planned[0][1]))
    made: list[Clip] = []
    converter, form = VideoReformatter(), "rgb24"
    for number, frame in enumerate(shown_frames(content, look)):
        if number == 0 and encoding == "direct" and frame.format.name == "yuv420p" and frame.color_range != 2:
            form = "yuv420p"
        last.append(
            np.asarray(frame.to_ndarray(), np.uint8) if form == "yuv420p" else rgb_of(frame, converter)
        )
        if len(made) < len(planned) and planned[len(made)][1].stop == number + 1:
            piece = planned[len(made)][0]
            write_frames(folder / piece.file, list(last), form, clip, encoding)
            made.append(piece.model_copy(update={"sha256": file_sha256(folder / piece.file)}))
    if len(made) != len(planned):
        raise ValueError(
            f"Clip {clip.clip_id} of row {clip.row} gave {len(made)} of {len(planned)} pieces; check its row "
            "again."
        )
    return made


def write_frames(
    path: Path, frames: Sequence[NDArray[np.uint8]], form: str, like: Clip, encoding: PieceEncoding
) -> None:
    """Write frames of one pixel format as an mp4 of the size and rate of a clip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as unfinished, av.open(str(unfinished), "w", format="mp4") as container:
        rate = Fraction(like.fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options={**ENCODERS[encoding], **X264})
        stream.width, stream.height, stream.pix_fmt = like.width, like.height, "yuv420p"
        stream.thread_count = 1
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format=form)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def first_frames(
    folder: Path, pieces: Sequence[Clip], encoding: PieceEncoding, work: Path
) -> NDArray[np.uint8]:
    """The first frame of each piece, [M, H, W, 3].

    "official" encodes them once more, as VBench-Long does. work: a folder for that.
    """

    def frames_of(content: bytes, name: str) -> list[NDArray[np.uint8]]:
        converter = VideoReformatter()
        return [rgb_of(frame, converter) for frame in shown_frames(content, look_at_clip(content, name))]

    frames = [frames_of(clip_bytes(folder, piece), piece.clip_id)[0] for piece in pieces]
    if encoding == "official" and len(pieces) > 1:
        again = work / "first_frames.mp4"
        write_frames(again, frames, "rgb24", pieces[0], encoding)
        frames = frames_of(again.read_bytes(), "of first frames")
    return np.stack(frames)
