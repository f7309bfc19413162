"""Pieces of long clips: their frames, their files, and what their values make of a clip's."""

import math
from pathlib import Path

import numpy as np
import pytest

from evaluation.clip_reader import read_clip
from evaluation.clips import write_clip
from evaluation.files import file_sha256
from evaluation.records import Clip, Inputs, Prompt, clip_file, clip_id
from evaluation.vbench.long_reduce import long_score
from evaluation.vbench.long_results import BetweenResult, BetweenVideo, piece_result
from evaluation.vbench.pieces import (
    PieceEncoding,
    cut_clip,
    first_frames,
    long_clips_of,
    piece_entries,
    planned_pieces,
)
from evaluation.vbench.plan import named_clips
from tests.vbench import tiny

INPUTS = Inputs(prompts="1" * 64, manifest="2" * 64, filtered="3" * 64)


def long_clip(folder: Path, name: str = "p0003", frames: int = 97, fps: int = 16) -> Clip:
    path = folder / clip_file(clip_id(name, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    shots = [tiny.drifting(seed, 16, 32, 48) for seed in range(frames // 16 + 1)]
    write_clip(path, np.concatenate(shots)[:frames], fps=fps)
    return Clip(
        clip_id=clip_id(name, 0), row="mine", prompt_id=name, sample=0, file=clip_file(clip_id(name, 0)),
        sha256=file_sha256(path), latents_sha256=None, noise="none", weights_sha256=None,
        settings_sha256=tiny.ZERO, batch_size=1, pixel_frames=frames, height=32, width=48, fps=fps,
    )  # fmt: skip


def test_a_direct_piece_has_the_very_pixels_of_its_clip(tmp_path: Path) -> None:
    """97 frames are three whole pieces and the last 32 frames; official pieces are near, not equal."""
    clip = long_clip(tmp_path)
    whole, firsts = read_clip(tmp_path / clip.file).frames, []
    encodings: tuple[PieceEncoding, ...] = ("direct", "official")
    for encoding in encodings:
        folder = tmp_path / encoding
        pieces = cut_clip(tmp_path, clip, folder, encoding)
        assert [piece.clip_id for piece in pieces] == [f"p0003_s0_c{i:03d}-0" for i in range(4)]
        for piece, start in zip(pieces, (0, 32, 64, 65), strict=True):
            assert piece.sha256 == file_sha256(folder / piece.file)
            found = read_clip(folder / piece.file)
            difference = np.abs(found.frames.astype(int) - whole[start : start + 32])
            assert found.fps == 16
            assert difference.max() == 0 if encoding == "direct" else 0 < difference.mean() < 12
        firsts.append(first_frames(folder, pieces, encoding, tmp_path))
    assert np.array_equal(firsts[0], whole[[0, 32, 64, 65]])
    assert 0 < np.abs(firsts[1].astype(int) - firsts[0]).mean() < 12


def test_a_clip_that_was_replaced_is_not_cut(tmp_path: Path) -> None:
    clip = long_clip(tmp_path)
    (tmp_path / clip.file).write_bytes(b"no clip")
    with pytest.raises(ValueError, match=r"p0003-0 of row mine is not the file that was sampled"):
        cut_clip(tmp_path, clip, tmp_path / "pieces", "direct")


def test_pieces_are_named_for_the_package_and_none_is_missing(tmp_path: Path) -> None:
    """Names end in -0, and are no prompts, which are longer than a file's name may be."""
    clip = long_clip(tmp_path)
    text = f"A/B {'long ' * 100}"
    prompt = Prompt(id="p0003", prompt=text, extended=text, dimensions=("motion_smoothness",), samples=1,
                    keep=None, facts={})  # fmt: skip
    clips = long_clips_of("motion_smoothness", [prompt], [clip], {"p0003": (0,)})
    entries = piece_entries("motion_smoothness", clips)
    assert [name for name, _ in named_clips(entries)] == [f"p0003_s0_c{i:03d}-0.mp4" for i in range(4)]
    made = {entry.clips[0].clip_id: entry.clips[0] for entry in entries}
    with pytest.raises(ValueError, match=r"Piece p0003_s0_c002-0 .* is not among those that were cut"):
        piece_entries("motion_smoothness", clips, {k: v for k, v in made.items() if "c002" not in k})


def rows_of(clips: list[Clip], scale: float = 1.0) -> list[dict]:
    """Value .1 for the first piece, .2 for the second; the value of a frame is its number in the clip."""
    rows = []
    for clip in clips:
        for number, (piece, frames) in enumerate(planned_pieces(clip)):
            values = [None, *(f / 1000 for f in frames[1:])]
            name = f"{piece.prompt_id}-0.mp4"
            rows.append(
                {"video_path": name, "video_results": scale * (number + 1) / 10, "frame_values": values}
            )
    return rows


def test_values_of_pieces_make_those_of_clips(tmp_path: Path) -> None:
    """Closed forms; both consistencies have the part between pieces, and nothing else has."""
    clips = [long_clip(tmp_path, name) for name in ("a", "b")]
    plain = piece_result("s", "mine", "imaging_quality", rows_of(clips, 100), clips, None, {}, INPUTS)
    assert plain.mean == pytest.approx(0.25) and [c.value for c in plain.clips] == pytest.approx([0.25, 0.25])
    assert plain.clips[0].pieces == pytest.approx((0.1, 0.2, 0.3, 0.4)) and plain.clips[0].between is None
    frames = plain.clips[0].frame_values
    assert frames is not None and len(frames) == 97
    assert [t for t, value in enumerate(frames) if value is None] == [0, 32, 64]
    assert frames[96] == 0.096, "the last piece overlaps and gives the one frame that is new"
    videos = tuple(
        BetweenVideo(
            clip_id=clip.clip_id,
            previous={"subject_consistency": (0.8, 0.6, 0.4)},
            first={"subject_consistency": (0.8, -0.2, 0.4)},
            mapped={"subject_consistency": mapped},
        )
        for clip, mapped in zip(clips, (0.9, 0.7), strict=True)
    )
    between = BetweenResult(
        suite="s", row="mine", inputs=INPUTS, encoding="direct", videos=videos, versions={}
    )
    fused = piece_result("s", "mine", "subject_consistency", rows_of(clips), clips, between, {}, INPUTS)
    values = {clip.clip_id: [0.1, 0.2, 0.3, 0.4] for clip in clips}
    mapped = {video.clip_id: video.mapped["subject_consistency"] for video in videos}
    assert fused.mean == long_score("subject_consistency", values, mapped)
    assert fused.clips[0].value == pytest.approx(0.25 / 2 + 0.9 / 2)
    assert fused.clips[0].between == pytest.approx((0.8 + 0.3 + 0.4) / 3)
    assert math.fsum(clip.value for clip in fused.clips) / 2 == pytest.approx(fused.mean)
    for broken in (None, between.model_copy(update={"videos": videos[:1]})):
        with pytest.raises(ValueError, match="nothing was measured between the pieces of"):
            piece_result("s", "mine", "subject_consistency", rows_of(clips), clips, broken, {}, INPUTS)
