"""The prompt lists of the toybox suite, for tests, for training and for the paired check of CM-GRPO.

The three lists are disjoint for every seed, by hash of the facts: suite prompts, training prompts and check prompts each
have their own share of the world. Combinations that `facts.held_out` keeps out of training appear in the suite only.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable

import numpy as np

from evaluation.records import Prompt
from evaluation.toybox.captions import caption, extended_caption
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
    sample_facts,
)

SAMPLES = 2
STILL_SAMPLES = 25
STILL_KEEP = 5
STILL_FILTERED = 4

# Prompts of each kind in the suite, and the dimensions they are scored on.
PROMPTS_OF_KIND = {"still": 12, "move": 16, "pair": 12, "style": 12, "camera": 12, "action": 12}
DIMENSIONS_OF_KIND: dict[str, tuple[str, ...]] = {
    "still": ("temporal_flickering",),
    "move": (
        "subject_consistency",
        "background_consistency",
        "motion_smoothness",
        "dynamic_degree",
        "aesthetic_quality",
        "imaging_quality",
        "object_class",
        "color",
        "scene",
        "overall_consistency",
    ),
    "pair": ("multiple_objects", "spatial_relationship", "overall_consistency"),
    "style": ("appearance_style", "overall_consistency"),
    "camera": ("temporal_style", "overall_consistency"),
    "action": ("human_action", "overall_consistency"),
}


def kind_of(facts: Facts) -> str:
    """Which kind of prompt these facts make: still, move, pair, style, camera or action."""
    if facts["action"] is not None:
        return "action"
    if facts["relation"] is not None:
        return "pair"
    if facts["camera"] != FIXED:
        return "camera"
    if facts["style"] != PLAIN:
        return "style"
    return "still" if facts["motion"] == "still" else "move"


def _share(facts: Facts) -> str:
    """ "suite", "check" or "train": the list these facts belong to."""
    byte = hashlib.sha256(facts_key(facts).encode()).digest()[1]
    if held_out(facts) or byte < 64:
        return "suite"
    return "check" if byte < 128 else "train"


def _prompt(name: str, facts: Facts, *, samples: int, keep: int | None) -> Prompt:
    return Prompt(
        id=name,
        prompt=caption(facts),
        extended=extended_caption(facts),
        dimensions=DIMENSIONS_OF_KIND[kind_of(facts)],
        samples=samples,
        keep=keep,
        facts=facts,
    )


def _candidate(kind: str, turn: int, rng: np.random.Generator) -> Facts:
    """Random facts of one kind; `turn` runs through the values of the fact that the kind is about."""
    colors = [str(c) for c in rng.permutation(list(COLORS))[:2]]
    shapes = [str(s) for s in rng.permutation(SHAPES)[:2]]
    scene = SCENES[int(rng.integers(len(SCENES)))]
    first = [(colors[0], shapes[0])]
    if kind == "still":
        return make_facts(first, scene)
    if kind == "move":
        return make_facts(first, scene, motion=MOTIONS[turn % 4])
    if kind == "pair":
        pair = list(zip(colors, shapes, strict=True))
        return make_facts(pair, scene, relation=RELATIONS[turn % len(RELATIONS)])
    if kind == "style":
        motion = MOTIONS[int(rng.integers(len(MOTIONS)))]
        return make_facts(first, scene, motion=motion, style=STYLES[1 + turn % (len(STYLES) - 1)])
    if kind == "camera":
        return make_facts(first, scene, camera=CAMERAS[1 + turn % (len(CAMERAS) - 1)])
    if kind == "action":
        return make_facts([(colors[0], PERSON)], scene, action=ACTIONS[turn % len(ACTIONS)])
    raise ValueError(
        f"There is no kind of toybox prompt called {kind!r}; expected one of {list(PROMPTS_OF_KIND)}."
    )


def _crowding(used: Counter[str]) -> Callable[[Facts], int]:
    def count(facts: Facts) -> int:
        names = [facts["scene"], *(word for thing in facts["objects"] for word in thing.values())]
        return sum(used[name] for name in names)

    return count


def toybox_prompts(seed: int) -> list[Prompt]:
    """The suite: 76 prompts, at least 12 a dimension, those that the static filter thins out first.

    Colours, shapes and scenes are spread evenly; every third prompt of a kind is a combination held out of training
    wherever the world has one.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, 1]))
    prompts: list[Prompt] = []
    taken: set[str] = set()
    for kind, number in PROMPTS_OF_KIND.items():
        used: Counter[str] = Counter()
        for turn in range(number):
            drawn = (_candidate(kind, turn, rng) for _ in range(200))
            pool = [facts for facts in drawn if _share(facts) == "suite" and facts_key(facts) not in taken]
            wanted = [facts for facts in pool if held_out(facts) == (turn % 3 == 2)]
            facts = min(wanted or pool, key=_crowding(used))
            taken.add(facts_key(facts))
            used.update([facts["scene"], *(word for thing in facts["objects"] for word in thing.values())])
            filtered = kind == "still" and turn < STILL_FILTERED
            prompts.append(
                _prompt(
                    f"{kind}_{turn:02d}",
                    facts,
                    samples=STILL_SAMPLES if filtered else SAMPLES,
                    keep=STILL_KEEP if filtered else None,
                )
            )
    return prompts


def _drawn(name: str, share: str, count: int, rng: np.random.Generator, *, distinct: bool) -> list[Prompt]:
    prompts: list[Prompt] = []
    taken: set[str] = set()
    while len(prompts) < count:
        facts = sample_facts(rng)
        if _share(facts) != share or (distinct and facts_key(facts) in taken):
            continue
        taken.add(facts_key(facts))
        prompts.append(_prompt(f"{name}_{len(prompts):04d}", facts, samples=1, keep=None))
    return prompts


def training_prompts(count: int, seed: int) -> list[Prompt]:
    """Prompts for RAVEN and CM-GRPO, drawn as training clips are; a prompt may come twice. Disjoint from the suite."""
    return _drawn(
        "train", "train", count, np.random.Generator(np.random.Philox(key=[seed, 2])), distinct=False
    )


def heldout_prompts(count: int, seed: int) -> list[Prompt]:
    """Distinct prompts for the paired check of CM-GRPO: neither in the suite nor among the training prompts.

    Raises ValueError if more than 500 are asked for: the world has no more of some kinds.
    """
    if count > 500:
        raise ValueError(
            f"heldout_prompts was asked for {count} distinct prompts; the toybox world offers 500."
        )
    return _drawn(
        "check", "check", count, np.random.Generator(np.random.Philox(key=[seed, 3])), distinct=True
    )
