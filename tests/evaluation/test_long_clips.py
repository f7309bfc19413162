"""Long clips of the embedded world: windows, rendered truth, controls with closed-form answers."""

from pathlib import Path

import numpy as np
import pytest

from evaluation.chunks import chunk_frames, chunk_of
from evaluation.clip_reader import open_clip, read_clip
from evaluation.clips import write_clip
from evaluation.files import utf8_text
from evaluation.prompt_lists import LIST_RULES, read_user_list
from evaluation.records import Prompt
from evaluation.toybox.controls import FADED, FLICKER, control_frames
from evaluation.toybox.facts import ACTIONS, Facts, make_facts
from evaluation.toybox.lasting_actions import PERIODS
from evaluation.toybox.perception import FrameScores
from evaluation.toybox.render import lasts_any_time, person_alpha, render
from evaluation.toybox.score import scorers_of
from evaluation.toybox.scorers import temporal_flickering
from evaluation.toybox.suite import toybox_prompts
from evaluation.toybox.windows import joined_scores, window_start, windows_of

LIST = Path(__file__).parents[2] / "workflow/config/toybox_long.jsonl"
PROMPTS = read_user_list(LIST.read_bytes(), LIST.name, LIST_RULES["toybox"], 1)
OF_KIND: dict[str, Prompt] = {prompt.id.partition("_")[0]: prompt for prompt in PROMPTS}
LONG = 249


def test_the_list_is_what_lasts_of_the_toybox_suite() -> None:
    known = {prompt.id: prompt for prompt in toybox_prompts(20260701)}
    assert len(PROMPTS) == 24 and utf8_text(LIST.read_bytes(), LIST.name).count("\n") == 24
    for prompt in PROMPTS:
        same = known[prompt.id]
        assert lasts_any_time(prompt.facts)
        assert (prompt.prompt, prompt.extended, prompt.facts) == (same.prompt, same.extended, same.facts)
        assert prompt.dimensions == same.dimensions


def test_windows_are_whole_chunks_of_whole_clips() -> None:
    """0, 81, 165, 249, ...: three of 63 latent frames, eleven of 240; each begins where a chunk does."""
    assert [window_start(number) for number in range(5)] == [0, 81, 165, 249, 333]
    for pixel_frames, count in ((81, 1), (161, 1), (162, 2), (249, 3), (957, 11)):
        clip = np.arange(pixel_frames, dtype=np.uint16)[:, None, None, None]
        found = list(windows_of(clip))
        assert len(found) == count
        for number, (start, frames) in enumerate(found):
            assert start == window_start(number) == chunk_frames(chunk_of(start), pixel_frames).start
            assert frames[:, 0, 0, 0].tolist() == list(range(start, start + 81))


def test_scores_of_windows_stand_at_their_frames() -> None:
    one, other = FrameScores(0.5, (0.5,) * 81), FrameScores(1.0)
    assert joined_scores([(0, one)], 81) == one
    assert joined_scores([(0, other)], 81) == other, "a short clip has the checker's own answer"
    joined = joined_scores([(0, one), (81, other)], 165)
    assert joined.value == 0.75
    assert joined.frames == (*(0.5,) * 81, *(1.0,) * 81, None, None, None)


LENGTHS = (81, 480, 957)
"""Of clips of shipped suites: a short one, half a minute and a minute."""


def by_window(dimension: str, clip: np.ndarray, facts: Facts) -> list[float]:
    """What the shipped scorer says of every window of a clip."""
    first, later = scorers_of(dimension)
    return [(later if start else first)(frames, facts).value for start, frames in windows_of(clip)]


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.id)
def test_rendered_truth_is_right_in_every_window(prompt: Prompt) -> None:
    """Every shipped checker is exact on every window, and a long clip begins with the shorter ones."""
    truth = render(prompt.facts, 0, LENGTHS[-1])
    for length in LENGTHS[:-1]:
        assert np.array_equal(truth[:length], render(prompt.facts, 0, length))
    for name in prompt.dimensions:
        bar = 0.95 if name == "temporal_flickering" else 1.0
        found = by_window(name, truth, prompt.facts)
        assert len(found) == 11 and min(found) >= bar, (name, found)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_is_known_at_any_length_and_is_no_other(action: str, length: int) -> None:
    """Windows begin in every phase of an action, 84 frames on from one another: of jumps, of a period of 27,
    five windows of eleven were taken for something else. Known answers for each name that one may give.
    """
    named = {name: make_facts([("blue", "person")], "night", action=name) for name in ACTIONS}
    if not lasts_any_time(named[action]) and length > 81:
        with pytest.raises(ValueError, match=f"action '{action}' make clips of 81 frames, not of {length}"):
            render(named[action], 0, length)
        return
    for variation in range(2):
        clip = render(named[action], variation, length)
        for name in ACTIONS:
            found = by_window("human_action", clip, named[name])
            assert set(found) == {float(name == action)}, (variation, name, found)


@pytest.mark.parametrize("action", [*PERIODS, "sit"])
def test_somebody_who_stops_at_any_moment_acts_no_more(action: str) -> None:
    """A pose of any moment that is held for a window is motionless; who sits, sits."""
    facts = make_facts([("red", "person")], "stone", action=action)
    later = scorers_of("human_action").later
    clip = render(facts, 1, 180)
    for moment in range(81, 81 + PERIODS.get(action, 9), 3):
        held = np.repeat(clip[moment : moment + 1], 81, axis=0)
        assert later(held, facts).value == float(action == "sit"), moment


@pytest.mark.parametrize("action", PERIODS)
def test_actions_repeat_after_their_periods(action: str) -> None:
    moments = np.arange(81)
    poses = (person_alpha(action, 15.5, 0.1, moments + shift) for shift in (0, PERIODS[action]))
    assert np.abs(np.subtract(*poses)).max() < 1e-3


def test_what_crosses_the_picture_once_has_no_long_clip() -> None:
    with pytest.raises(ValueError, match=r"motion 'left', .* make clips of 81 frames, not of 249"):
        render(make_facts([("red", "circle")], "night", motion="left"), 0, LONG)


def by_control(name: str, kind: str, length: int = LONG) -> np.ndarray:
    return control_frames(name, PROMPTS, OF_KIND[kind], 0, length)


def test_frozen_stops_after_the_first_window() -> None:
    """The first window is the truth's; then nothing moves, so that flicker is perfect and drift is none."""
    truth, frozen = by_control("truth", "camera"), by_control("frozen_after_window", "camera")
    assert np.array_equal(frozen[:81], truth[:81])
    assert (frozen[80:] == truth[80]).all()
    assert np.abs(np.diff(truth[81:].astype(int), axis=0)).mean() > 0.5, "the truth moves on"


def test_fade_ends_at_its_brightness() -> None:
    """Every frame of a still clip is the first times a factor that falls evenly from 1 to FADED."""
    still, faded = by_control("truth", "still"), by_control("fade", "still")
    factor = 1 - (1 - FADED) * np.arange(LONG) / (LONG - 1)
    assert np.abs(faded - still * factor[:, None, None, None]).max() <= 0.51
    assert faded[-1].mean() == pytest.approx(FADED * still[0].mean(), abs=0.5)


def test_loop_has_a_period_of_84() -> None:
    """Of the lags from 32 frames on, the one at which a shaking clip is itself again."""
    loop, truth = (by_control(name, "camera", 400).astype(int) for name in ("loop", "truth"))
    assert np.array_equal(loop[:84], truth[:84])
    gaps = [np.abs(loop[lag:] - loop[:-lag]).mean() for lag in range(32, 160)]
    assert gaps.index(0.0) + 32 == 84
    assert np.abs(truth[84:168] - truth[:84]).mean() > 0, "84 is no period of the truth's"


def test_chunk_flicker_steps_at_chunk_borders_alone() -> None:
    """Eight levels at 12 k - 4 | 12 k - 3, nothing inside: a window loses 6 borders x 8 / 255 of 80 pairs."""
    frames = by_control("chunk_flicker", "still").astype(int)
    assert by_control("truth", "still").max() <= 255 - FLICKER, "no pixel is clipped"
    steps = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
    assert np.flatnonzero(steps).tolist() == [12 * k - 4 for k in range(1, 21)]
    assert set(steps[steps > 0].tolist()) == {FLICKER}
    for number, (_, window) in enumerate(windows_of(frames.astype(np.uint8))):
        borders = 6  # of seven chunks
        expected = 1 - borders * FLICKER / 255 / 80
        assert temporal_flickering.score(window, {}).value == pytest.approx(expected), number


def test_a_clip_is_read_frame_by_frame_as_it_is_read_whole(tmp_path: Path) -> None:
    write_clip(tmp_path / "x.mp4", by_control("truth", "camera"), fps=16)
    look, frames = open_clip(tmp_path / "x.mp4")
    assert look.frames == LONG
    assert np.array_equal(np.stack(list(frames)), read_clip(tmp_path / "x.mp4").frames)
