"""The toybox world: facts, captions, clips and prompt lists keep their promises."""

from collections import Counter

import numpy as np
import pytest

from evaluation.dimensions import NAMES
from evaluation.toybox.captions import MAX_WORDS, VOCABULARY, caption, extended_caption
from evaluation.toybox.controls import TOYBOX_CONTROLS, control_frames, shuffled_prompts
from evaluation.toybox.facts import (
    ACTIONS,
    CAMERAS,
    COLORS,
    MOTIONS,
    RELATIONS,
    SCENES,
    SHAPES,
    STYLES,
    check_facts,
    facts_key,
    held_out,
    make_facts,
    sample_any_facts,
    sample_facts,
)
from evaluation.toybox.render import PAN, TRAVEL, background, object_color, render
from evaluation.toybox.suite import (
    STILL_FILTERED,
    STILL_KEEP,
    STILL_SAMPLES,
    toybox_prompts,
)
from evaluation.toybox.training_prompts import heldout_prompts, training_prompts

DRAWS = [sample_any_facts(np.random.default_rng(seed)) for seed in range(1500)]
PROMPTS = toybox_prompts(0)


def test_captions_use_one_vocabulary_and_tell_all_facts_apart() -> None:
    """Guards against a caption with a word the text encoder has no row for, or one caption for two sets of
    facts.
    """
    words = set(VOCABULARY)
    for say in (caption, extended_caption):
        said: dict[str, str] = {}
        for facts in DRAWS:
            text = say(facts)
            assert set(text.split()) <= words
            assert len(text.split()) <= MAX_WORDS
            assert said.setdefault(text, facts_key(facts)) == facts_key(facts)
    assert len(VOCABULARY) == len(words) == 69


def test_every_fact_is_drawn_and_held_out_combinations_are_not() -> None:
    """Guards against a fact that training never shows, and against test combinations in training."""
    seen = Counter(value for facts in DRAWS for value in facts.values() if isinstance(value, str))
    things = Counter(word for facts in DRAWS for thing in facts["objects"] for word in thing.values())
    expected = {*MOTIONS, *RELATIONS, *SCENES, *STYLES, *CAMERAS, *ACTIONS}
    assert expected <= set(seen)
    assert {*COLORS, *SHAPES, "person"} == set(things)
    rng = np.random.default_rng(7)
    assert not any(held_out(sample_facts(rng)) for _ in range(1500))
    assert 0.06 < np.mean([held_out(facts) for facts in DRAWS]) < 0.15


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"motion": "sideways"}, "motion is 'sideways'"),
        ({"relation": "left"}, "relation 'left' does not fit 1 object"),
        ({"camera": "shake"}, "motion 'left' needs a single shape and a fixed camera"),
        ({"action": "wave"}, "action 'wave' does not fit"),
        ({"objects": [{"color": "mauve", "shape": "square"}]}, "is unknown"),
    ],
)
def test_impossible_facts_are_refused_in_one_sentence(change: dict[str, object], complaint: str) -> None:
    """Guards against facts that would render as something else than their caption says."""
    facts = make_facts([("red", "square")], "meadow", motion="left") | change
    with pytest.raises(ValueError, match=complaint):
        check_facts(facts)


def _centre(frames: np.ndarray, color: str) -> np.ndarray:
    """Centre of mass [T, 2] (x, y) of pixels nearer to a colour than half way from anything else."""
    near = (np.abs(frames.astype(float) - object_color(color)).sum(-1) < 90).astype(float)
    axis = np.arange(frames.shape[1])
    mass = near.sum((1, 2))
    return np.stack([near.sum(1) @ axis / mass, near.sum(2) @ axis / mass], axis=1)


@pytest.mark.parametrize(
    ("motion", "direction"), [("left", (-1, 0)), ("right", (1, 0)), ("up", (0, -1)), ("down", (0, 1))]
)
def test_objects_move_at_constant_speed_and_stay_in_view(motion: str, direction: tuple[int, int]) -> None:
    """Guards the closed form of the path: TRAVEL pixels in 81 frames, straight, never cut by the border."""
    for variation in range(4):
        frames = render(make_facts([("yellow", "circle")], "night", motion=motion), variation)
        path = _centre(frames, "yellow")
        expected = np.linspace(0, 1, 81)[:, None] * TRAVEL * np.array(direction)
        assert np.abs(path - path[0] - expected).max() < 0.45
        area = (np.abs(frames.astype(float) - object_color("yellow")).sum(-1) < 90).sum((1, 2))
        assert area.min() > 105


def test_pan_left_moves_the_picture_right() -> None:
    """Guards the sense of the camera: panning left by PAN pixels moves what is seen right by as much."""
    path = _centre(render(make_facts([("red", "square")], "stone", camera="pan_left"), 0), "red")
    assert path[-1, 0] - path[0, 0] == pytest.approx(PAN, abs=0.6)
    assert abs(path[-1, 1] - path[0, 1]) < 0.3


def test_clips_depend_on_facts_and_variation_only() -> None:
    """Guards reproducibility and the duplicate check: same arguments, same bytes; another variation, another
    clip.
    """
    facts = make_facts([("blue", "cross")], "desert")
    clips = [render(facts, variation) for variation in range(25)]
    assert clips[3].shape == (81, 32, 32, 3)
    assert clips[3].dtype == np.uint8
    assert np.array_equal(clips[3], render(facts, 3))
    assert len({clip.tobytes() for clip in clips}) == 25


def test_object_colours_lie_near_no_background() -> None:
    """Guards a trap of evaluation/toybox/README.md#checkers: a colour near a background colour costs the
    checkers points.
    """
    for scene in SCENES:
        pixels = background(scene).reshape(-1, 3)
        for color in COLORS:
            assert np.linalg.norm(pixels - object_color(color), axis=1).min() > 80, (scene, color)


def test_suite_has_twelve_prompts_a_dimension_and_the_filtered_ones_first() -> None:
    """Guards the counts of evaluation/toybox/README.md#prompts and that a third of the prompts are
    combinations never seen in training.
    """
    prompts = PROMPTS
    assert 64 <= len(prompts) <= 80
    counts = Counter(name for prompt in prompts for name in prompt.dimensions)
    assert set(counts) == set(NAMES)
    assert min(counts.values()) >= 12
    assert [p.keep for p in prompts[:STILL_FILTERED]] == [STILL_KEEP] * STILL_FILTERED
    assert {p.samples for p in prompts[:STILL_FILTERED]} == {STILL_SAMPLES}
    assert all(p.keep is None and p.samples == 2 for p in prompts[STILL_FILTERED:])
    assert len({p.prompt for p in prompts}) == len({p.id for p in prompts}) == len(prompts)
    assert sum(held_out(p.facts) for p in prompts) >= len(prompts) // 4
    assert prompts == toybox_prompts(0) != toybox_prompts(1)


def test_prompt_lists_are_disjoint_for_different_seeds() -> None:
    """Guards against scoring on what was trained on, and against a paired check on training prompts."""
    suite = {facts_key(p.facts) for seed in (0, 5) for p in toybox_prompts(seed)}
    training = {facts_key(p.facts) for p in training_prompts(800, 1)}
    check = [facts_key(p.facts) for p in heldout_prompts(64, 2)]
    assert len(set(check)) == 64
    assert not suite & training
    assert not suite & set(check)
    assert not training & set(check)
    with pytest.raises(ValueError, match="501 distinct prompts"):
        heldout_prompts(501, 0)


def test_controls_are_deterministic_and_pairwise_different() -> None:
    """Guards the duplicate check of the run: no two clips of a control row are equal, remade clips are."""
    prompts = PROMPTS
    some = [prompts[0], prompts[20], prompts[30], prompts[70]]
    for name in TOYBOX_CONTROLS:
        clips = [
            control_frames(name, prompts, prompt, sample).tobytes() for prompt in some for sample in (0, 1)
        ]
        assert len(set(clips)) == len(clips), name
        assert control_frames(name, prompts, some[0], 1).tobytes() == clips[1]
    with pytest.raises(ValueError, match="no toybox control called 'blank'"):
        control_frames("blank", prompts, prompts[0], 0)


def test_shuffled_captions_give_every_prompt_other_facts() -> None:
    """Guards the floor: a derangement whose donors share no colour, shape or scene with the prompt they stand
    in for.
    """
    prompts = PROMPTS
    donors = shuffled_prompts(prompts)
    assert sorted(p.id for p in donors.values()) == sorted(p.id for p in prompts)
    for prompt in prompts:
        donor = donors[prompt.id].facts
        assert donor["scene"] != prompt.facts["scene"]
        for part in ("color", "shape"):
            assert not {t[part] for t in donor["objects"]} & {t[part] for t in prompt.facts["objects"]}
