"""The prompts of the toybox suite."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from evaluation.records import Prompt
from evaluation.toybox.facts import (
    ACTIONS,
    CAMERAS,
    COLORS,
    FIXED,
    MOTIONS,
    PERSON,
    PLAIN,
    RELATIONS,
    SCENES,
    SHAPES,
    STYLES,
    Facts,
    facts_key,
    held_out,
    make_facts,
)
from evaluation.toybox.prompt_kinds import make_prompt, share_of

SUITE_SAMPLES = 2
STILL_SAMPLES = 25
STILL_KEEP = 5
STILL_FILTERED = 4

# Prompts of each kind in the suite.
PROMPTS_OF_KIND = {"still": 12, "move": 16, "pair": 12, "style": 12, "camera": 12, "action": 12}

_COLORS, _SHAPES = np.array(list(COLORS)), np.array(SHAPES)


class _Candidate(NamedTuple):
    """Arguments of make_facts. Hashable: of 200 draws most repeat earlier ones, and each is judged once."""

    objects: tuple[tuple[str, str], ...]
    scene: str
    motion: str = "still"
    relation: str | None = None
    style: str = PLAIN
    camera: str = FIXED
    action: str | None = None


def _candidate(kind: str, turn: int, rng: np.random.Generator) -> _Candidate:
    """Random facts of one kind; `turn` runs through the values of the fact that the kind is about."""
    colors: list[str] = rng.permutation(_COLORS)[:2].tolist()
    shapes: list[str] = rng.permutation(_SHAPES)[:2].tolist()
    scene = SCENES[int(rng.integers(len(SCENES)))]
    first = ((colors[0], shapes[0]),)
    if kind == "still":
        return _Candidate(first, scene)
    if kind == "move":
        return _Candidate(first, scene, motion=MOTIONS[turn % 4])
    if kind == "pair":
        pair = tuple(zip(colors, shapes, strict=True))
        return _Candidate(pair, scene, relation=RELATIONS[turn % len(RELATIONS)])
    if kind == "style":
        motion = MOTIONS[int(rng.integers(len(MOTIONS)))]
        return _Candidate(first, scene, motion=motion, style=STYLES[1 + turn % (len(STYLES) - 1)])
    if kind == "camera":
        return _Candidate(first, scene, camera=CAMERAS[1 + turn % (len(CAMERAS) - 1)])
    if kind == "action":
        return _Candidate(((colors[0], PERSON),), scene, action=ACTIONS[turn % len(ACTIONS)])
    raise ValueError(
        f"There is no kind of toybox prompt called {kind!r}; expected one of {list(PROMPTS_OF_KIND)}."
    )


def _names(facts: Facts) -> list[str]:
    """The scene, colours and shapes of a clip."""
    return [facts["scene"], *(word for thing in facts["objects"] for word in thing.values())]


def toybox_prompts(seed: int) -> list[Prompt]:
    """The suite: 76 prompts, at least 12 a dimension, those that the static filter thins out first.

    Colours, shapes and scenes are spread evenly; every third prompt of a kind is a combination held out of
    training wherever the world has one.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, 1]))
    prompts: list[Prompt] = []
    taken: set[str] = set()
    for kind, number in PROMPTS_OF_KIND.items():
        used: Counter[str] = Counter()
        for turn in range(number):
            distinct = dict.fromkeys(_candidate(kind, turn, rng) for _ in range(200))
            drawn = (make_facts(**candidate._asdict()) for candidate in distinct)
            pool = [facts for facts in drawn if share_of(facts) == "suite" and facts_key(facts) not in taken]
            wanted = [facts for facts in pool if held_out(facts) == (turn % 3 == 2)]
            crowding = [sum(used[name] for name in _names(facts)) for facts in wanted or pool]
            facts = (wanted or pool)[crowding.index(min(crowding))]
            taken.add(facts_key(facts))
            used.update(_names(facts))
            filtered = kind == "still" and turn < STILL_FILTERED
            prompts.append(
                make_prompt(
                    f"{kind}_{turn:02d}",
                    facts,
                    samples=STILL_SAMPLES if filtered else SUITE_SAMPLES,
                    keep=STILL_KEEP if filtered else None,
                )
            )
    return prompts
