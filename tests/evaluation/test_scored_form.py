"""Any video in the form that is scored."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from evaluation.clip_reader import ClipError, look_at_clip, read_clip, rgb_of, shown_frames
from evaluation.scored_form import to_scored_form
from tests.evaluation.mixed_clips import FORMS, make_mixed
from tests.evaluation.strange_clips import STRANGE, StrangeClip


def test_every_kind_keeps_its_frames_size_and_rate(tmp_path: Path) -> None:
    """Guards pixels: a copy without loss gives the frames that the original's own decoder gives, to the bit;
    files of a kind that scorers read stay the same bytes.
    """
    kept = 0
    for path in make_mixed(tmp_path / "theirs", len(FORMS)):
        look = look_at_clip(path)
        theirs = np.stack([rgb_of(frame, VideoReformatter()) for frame in shown_frames(path, look)])
        copy = tmp_path / f"{path.stem}.mp4"
        shutil.copyfile(path, copy)
        how = to_scored_form(copy)
        ours = read_clip(copy)
        assert np.array_equal(ours.frames, theirs), (path.name, how)
        assert abs(ours.fps - float(look.rate)) < 1e-3, (path.name, ours.fps, look.rate)
        assert look_at_clip(copy).shape.pixel_frames == len(theirs)
        same = copy.read_bytes() == path.read_bytes()
        assert same == (how == "taken as it is"), path.name
        kept += same
    assert 3 <= kept < len(FORMS), "both ways are tried"


@pytest.mark.parametrize("strange", STRANGE, ids=lambda one: one.name)
def test_a_strange_file_is_scorable_afterwards_or_refused(tmp_path: Path, strange: StrangeClip) -> None:
    """Guards the promise of the form: what comes out can be read by the scorers, and no other error flies."""
    path = tmp_path / "one.mp4"
    path.write_bytes(strange.make())
    try:
        how = to_scored_form(path)
    except ClipError:
        return
    if how != "taken as it is" or strange.scored is None:
        assert len(read_clip(path).frames)
