"""Frames of the control rows: what a perfect, a blind and a cheating generator would hand in.

truth                    the prompt's facts, rendered: the ceiling
noise                    independent uniform pixels: the floor
truth_shuffled_captions  another prompt's facts, rendered: what ignoring the caption is worth
shuffled_frames          the truth with its pixel frames in random order: what time is worth
frozen_first_frame       the truth's first pixel frame throughout: wins consistency, must lose dynamic degree

Of long clips, with closed-form answers (evaluation/toybox/README.md#long-clips):
frozen_after_window      the truth, which stops after its first 81 frames: no drift, and no motion either
fade                     the truth, whose brightness falls evenly from 1 to 0.6
loop                     the truth's first 84 frames again and again: a period of 84
chunk_flicker            the truth, 8 levels brighter in every second chunk
Every clip depends on the prompt list, the prompt and the sample only, and no two clips are equal.
"""

import hashlib
from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy.optimize import linear_sum_assignment

from evaluation.files import load_json
from evaluation.records import Prompt
from evaluation.toybox.facts import Facts, facts_key
from evaluation.toybox.render import PIXEL_FRAMES, SIZE, Frames, render
from evaluation.toybox.windows import STRIDE

TOYBOX_CONTROLS = ("truth", "noise", "truth_shuffled_captions", "shuffled_frames", "frozen_first_frame")
LONG_CONTROLS = ("frozen_after_window", "fade", "loop", "chunk_flicker")
FADED = 0.6
"""Brightness that is left at the end of `fade`."""
FLICKER = 8
"""Levels that `chunk_flicker` adds to even chunks."""


def _generator(purpose: str, prompt: Prompt, sample: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{purpose}|{prompt.id}|{facts_key(prompt.facts)}|{sample}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))


def _common_facts(a: Facts, b: Facts) -> int:
    """How many named facts two clips share: colours, shapes, scene, and whatever is not plain."""
    common = int(a["scene"] == b["scene"])
    for part in ("color", "shape"):
        common += len({thing[part] for thing in a["objects"]} & {thing[part] for thing in b["objects"]})
    plain = {"style": "natural", "camera": "fixed", "relation": None, "action": None, "motion": "still"}
    for fact, value in plain.items():
        common += int(a[fact] == b[fact] and (a[fact] != value or fact == "motion"))
    return common


@cache
def _derangement(keys: tuple[str, ...]) -> tuple[int, ...]:
    """For each set of facts, given by its key, the place of the one whose clip is shown instead."""
    never = 10**6
    facts = [load_json(key, "facts") for key in keys]
    cost = np.array([[never if a == b else _common_facts(a, b) for b in facts] for a in facts])
    rows, columns = linear_sum_assignment(cost)
    if cost[rows, columns].max() >= never:
        raise ValueError(
            f"The captions of {len(keys)} prompts cannot be shuffled so that each gets other facts; "
            "give truth_shuffled_captions at least two prompts that differ."
        )
    return tuple(int(column) for column in columns)


def shuffled_prompts(prompts: Sequence[Prompt]) -> dict[str, Prompt]:
    """For each prompt id the prompt whose facts its clip shows instead, with the fewest facts in common.

    Deterministic. Raises ValueError if there is only one distinct set of facts to hand round.
    """
    order = _derangement(tuple(facts_key(prompt.facts) for prompt in prompts))
    return {prompt.id: prompts[place] for prompt, place in zip(prompts, order, strict=True)}


def control_frames(
    name: str, prompts: Sequence[Prompt], prompt: Prompt, sample: int, length: int = PIXEL_FRAMES
) -> Frames:
    """The clip of a control row for one prompt and sample, uint8 [length, 32, 32, 3].

    prompts: the whole suite, in order. Raises ValueError for an unknown control, and for facts that make no
    clip of that length.
    """
    if name == "noise":
        shape = (length, SIZE, SIZE, 3)
        return _generator("noise", prompt, sample).integers(0, 256, shape, dtype=np.uint8)
    if name == "truth_shuffled_captions":
        return render(shuffled_prompts(prompts)[prompt.id].facts, sample, length)
    if name not in TOYBOX_CONTROLS + LONG_CONTROLS:
        raise ValueError(
            f"There is no toybox control called {name!r}; expected one of "
            f"{', '.join(TOYBOX_CONTROLS + LONG_CONTROLS)}."
        )
    frames = render(prompt.facts, sample, length)
    if name == "shuffled_frames":
        return frames[_generator("order", prompt, sample).permutation(length)]
    if name == "frozen_first_frame":
        return np.repeat(frames[:1], length, axis=0)
    if name in LONG_CONTROLS:
        return altered_long(name, frames)
    return frames


def altered_long(name: str, frames: Frames) -> Frames:
    """One of LONG_CONTROLS, from the truth [T, 32, 32, 3]."""
    place = np.arange(len(frames))
    if name == "frozen_after_window":
        return frames[np.minimum(place, PIXEL_FRAMES - 1)]
    if name == "loop":
        return frames[place % STRIDE]
    if name == "fade":
        light = np.linspace(1, FADED, len(frames), dtype=np.float32)[:, None, None, None]
        return np.asarray((frames * light + np.float32(0.5)).astype(np.uint8))
    chunk = -(-place // 4) // 3
    added = np.where(chunk % 2 == 0, FLICKER, 0)[:, None, None, None]
    return np.asarray(np.minimum(frames.astype(np.int16) + added, 255).astype(np.uint8))
