"""Controls made from a row's clips: what each kind does to frames, and whose clips a prompt is shown with."""

import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from evaluation.clip_controls import SPOT, altered_frames, other_prompts
from evaluation.records import Prompt
from evaluation.toybox.suite import toybox_prompts


def drifting() -> np.ndarray:
    """Seven different frames of 24 x 36, which is no multiple of the blocks."""
    return np.random.default_rng(0).integers(0, 256, (7, 24, 36, 3), dtype=np.uint8)


def altered(kind: str, frames: np.ndarray, seed: str) -> np.ndarray:
    return np.stack(list(altered_frames(kind, frames, seed)))


def test_each_kind_does_one_thing_to_frames() -> None:
    frames = drifting()
    frozen = altered("frozen_first_frame", frames, "a")
    assert frozen.shape == frames.shape
    assert (frozen == frames[0]).all()
    shuffled = altered("shuffled_frames", frames, "a")
    assert sorted(f.tobytes() for f in shuffled) == sorted(f.tobytes() for f in frames)
    assert not np.array_equal(shuffled, frames)
    noise = altered("noise", frames, "a")
    assert noise.shape == frames.shape
    for made, frame in zip(noise, frames, strict=True):
        spots = made[::SPOT, ::SPOT].reshape(-1, 3)
        assert Counter(map(tuple, spots)) == Counter(map(tuple, frame[::SPOT, ::SPOT].reshape(-1, 3)))
        assert np.array_equal(made, made[::SPOT, ::SPOT].repeat(SPOT, 0).repeat(SPOT, 1)[:24, :36])
    for kind in ("noise", "shuffled_frames"):
        again, other = altered(kind, frames, "a"), altered(kind, frames, "b")
        assert np.array_equal(again, altered(kind, frames, "a"))
        assert not np.array_equal(again, other), "no two clips are shuffled alike"
    with pytest.raises(ValueError, match="'truth' makes no frames"):
        altered_frames("truth", frames, "a")


@pytest.mark.parametrize("kind", ["noise", "frozen_first_frame", "shuffled_frames"])
def test_a_long_clip_is_never_whole_in_memory(kind: str, tmp_path: Path) -> None:
    """Guards against 1.1 GB for a minute at full size; what shuffled frames wait in is gone afterwards."""
    frame_bytes, frames = 64 * 64 * 3, 400
    tracemalloc.start()
    made = altered_frames(
        kind, (np.full((64, 64, 3), n % 251, np.uint8) for n in range(frames)), "a", tmp_path
    )
    count = sum(1 for _ in made)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == frames and peak < 40 * frame_bytes
    assert not list(tmp_path.iterdir())


def prompt(name: str, text: str, samples: int = 1, dimensions: tuple[str, ...] = ("color",)) -> Prompt:
    return Prompt(
        id=name, prompt=text, extended=text, dimensions=dimensions, samples=samples, keep=None, facts={}
    )


def test_captions_are_shuffled_within_what_a_dimension_scores() -> None:
    """Guards "the same quality under other captions": every dimension sees the clips it saw before."""
    prompts = toybox_prompts(20260701)
    shown = other_prompts(prompts)
    known = {p.id: p for p in prompts}
    assert sorted(shown.values()) == sorted(known), "everyone's clips are shown once"
    for name, source in shown.items():
        one, other = known[name], known[source]
        assert one.prompt != other.prompt
        assert (one.dimensions, one.samples, one.keep) == (other.dimensions, other.samples, other.keep)
    assert shown == other_prompts(prompts)


def test_the_captions_with_the_fewest_words_in_common_are_taken() -> None:
    prompts = [
        prompt("a", "a red bird"), prompt("b", "a red cat"), prompt("c", "one blue bird"),
        prompt("d", "one blue cat")
    ]  # fmt: skip
    assert other_prompts(prompts) == {"a": "d", "b": "c", "c": "b", "d": "a"}


def test_a_prompt_that_is_alone_takes_another_dimension_s_and_never_another_count() -> None:
    lone = prompt("lone", "a dog", dimensions=("scene",))
    prompts = [lone, prompt("a", "a red bird"), prompt("b", "a blue cat")]
    shown = other_prompts(prompts)
    assert len(set(shown.values())) == 3
    assert all(name != source for name, source in shown.items())
    with pytest.raises(ValueError, match="cannot be shuffled"):
        other_prompts([lone.model_copy(update={"samples": 2}), *prompts[1:]])
    with pytest.raises(ValueError, match="cannot be shuffled"):
        other_prompts([lone, lone.model_copy(update={"id": "same"})])
