"""The facts that a caption of the embedded world states, for clips that others made from such captions."""

from functools import cache
from itertools import permutations, product

from evaluation.toybox.captions import caption
from evaluation.toybox.facts import (
    ACTIONS,
    CAMERAS,
    COLORS,
    MOTIONS,
    PERSON,
    RELATIONS,
    SCENES,
    SHAPES,
    STYLES,
    Facts,
    make_facts,
)


def facts_of(text: str) -> Facts | None:
    """The facts whose short caption this is, blanks and capitals aside; None of any other text."""
    return _every_caption().get(" ".join(text.lower().split()))


@cache
def _every_caption() -> dict[str, Facts]:
    """Every short caption of this world with its facts; about 9,000, of which no two are the same."""
    every: list[Facts] = []
    for scene in SCENES:
        for color, action in product(COLORS, ACTIONS):
            every.append(make_facts([(color, PERSON)], scene, action=action))
        for color, shape in product(COLORS, SHAPES):
            one = [(color, shape)]
            every += [make_facts(one, scene, motion=m, style=s) for m, s in product(MOTIONS, STYLES)]
            every += [make_facts(one, scene, camera=camera) for camera in CAMERAS[1:]]
        pairs = product(permutations(COLORS, 2), permutations(SHAPES, 2), RELATIONS)
        every += [
            make_facts(list(zip(colors, shapes, strict=True)), scene, relation=relation)
            for colors, shapes, relation in pairs
        ]
    return {caption(facts): facts for facts in every}
