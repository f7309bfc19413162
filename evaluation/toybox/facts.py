"""What a toybox clip shows: the facts that are rendered, captioned and later checked.

Facts are one plain JSON object with exactly these keys:
    objects   1 or 2 of {"color", "shape"}; two objects differ in colour and in shape
    motion    how a single shape moves (MOTIONS); "still" for two objects, camera moves and people
    relation  where the first of two objects is, seen from the second (RELATIONS); None for one object
    scene     background (SCENES)
    style     palette of the whole image (STYLES)
    camera    camera move (CAMERAS)
    action    what a stick figure (shape "person") does (ACTIONS); None for shapes
A clip has at most one of style, camera move and second object beyond the plain: the world stays learnable.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

Facts = dict[str, Any]

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (226, 34, 34),
    "yellow": (248, 226, 36),
    "green": (30, 214, 60),
    "cyan": (40, 222, 232),
    "blue": (36, 72, 238),
    "magenta": (232, 48, 206),
}
SHAPES = ("circle", "square", "triangle", "cross")
PERSON = "person"
MOTIONS = ("left", "right", "up", "down", "still")
RELATIONS = ("left", "right", "above", "below")
SCENES = ("meadow", "desert", "night", "stone")
PLAIN = "natural"
STYLES = (PLAIN, "monochrome", "sepia", "neon", "negative")
FIXED = "fixed"
CAMERAS = (FIXED, "pan_left", "pan_right", "zoom_in", "zoom_out", "shake")
ACTIONS = ("wave", "jump", "walk", "bow", "sit")

# Share of training clips: one plain shape, two objects, a style, a camera move, an action.
_MIX = {"single": 0.44, "pair": 0.22, "style": 0.12, "camera": 0.12, "action": 0.10}
_HELD_OUT_OF_256 = 26


def make_facts(
    objects: Sequence[tuple[str, str]],
    scene: str,
    *,
    motion: str = "still",
    relation: str | None = None,
    style: str = PLAIN,
    camera: str = FIXED,
    action: str | None = None,
) -> Facts:
    """Facts of (colour, shape) objects in a scene. Raises ValueError if no clip of this world has them."""
    facts: Facts = {
        "objects": [{"color": color, "shape": shape} for color, shape in objects],
        "motion": motion,
        "relation": relation,
        "scene": scene,
        "style": style,
        "camera": camera,
        "action": action,
    }
    check_facts(facts)
    return facts


def check_facts(facts: Facts) -> None:
    """Raise ValueError if the facts describe no clip of this world."""
    keys = ["objects", "motion", "relation", "scene", "style", "camera", "action"]
    if sorted(facts) != sorted(keys):
        raise ValueError(
            f"Toybox facts have the keys {sorted(facts)}, expected {sorted(keys)}; use make_facts."
        )
    allowed: dict[str, Sequence[str | None]] = {
        "motion": MOTIONS,
        "relation": (None, *RELATIONS),
        "scene": SCENES,
        "style": STYLES,
        "camera": CAMERAS,
        "action": (None, *ACTIONS),
    }
    for key, values in allowed.items():
        if facts[key] not in values:
            raise ValueError(f"Toybox fact {key} is {facts[key]!r}, expected one of {list(values)}.")
    objects = facts["objects"]
    if len(objects) not in (1, 2):
        raise ValueError(f"Toybox facts name {len(objects)} objects, expected 1 or 2.")
    for thing in objects:
        if sorted(thing) != ["color", "shape"]:
            raise ValueError(f"A toybox object has the keys {sorted(thing)}, expected color and shape.")
        if thing["color"] not in COLORS or thing["shape"] not in (*SHAPES, PERSON):
            raise ValueError(
                f"Toybox object {thing} is unknown; colours {list(COLORS)}, shapes {[*SHAPES, PERSON]}."
            )
    pair = len(objects) == 2
    if pair and (objects[0]["color"] == objects[1]["color"] or objects[0]["shape"] == objects[1]["shape"]):
        raise ValueError(f"The two toybox objects {objects} must differ in colour and in shape.")
    if pair != (facts["relation"] is not None):
        raise ValueError(f"Toybox relation {facts['relation']!r} does not fit {len(objects)} object(s).")
    person = any(thing["shape"] == PERSON for thing in objects)
    if person != (facts["action"] is not None) or (person and pair):
        raise ValueError(f"Toybox action {facts['action']!r} does not fit the objects {objects}.")
    if facts["motion"] != "still" and (pair or person or facts["camera"] != FIXED):
        raise ValueError(f"Toybox motion {facts['motion']!r} needs a single shape and a fixed camera.")
    if facts["camera"] != FIXED and (pair or person or facts["style"] != PLAIN):
        raise ValueError(f"Toybox camera {facts['camera']!r} needs a single shape in the natural style.")


def facts_key(facts: Facts) -> str:
    """Canonical JSON of the facts: equal facts have equal keys."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":"))


def held_out(facts: Facts) -> bool:
    """Whether this combination is kept out of training (about one in ten, by hash of the facts)."""
    return hashlib.sha256(facts_key(facts).encode()).digest()[0] < _HELD_OUT_OF_256


def sample_any_facts(rng: np.random.Generator) -> Facts:
    """Facts drawn from the whole world, held-out combinations included."""

    def pick(values: Sequence[str]) -> str:
        return values[int(rng.integers(len(values)))]

    kind = str(rng.choice(list(_MIX), p=list(_MIX.values())))
    colors, scene = list(COLORS), pick(SCENES)
    if kind == "action":
        return make_facts([(pick(colors), PERSON)], scene, action=pick(ACTIONS))
    first = (pick(colors), pick(SHAPES))
    if kind == "pair":
        second = (pick([c for c in colors if c != first[0]]), pick([s for s in SHAPES if s != first[1]]))
        return make_facts([first, second], scene, relation=pick(RELATIONS))
    if kind == "camera":
        return make_facts([first], scene, camera=pick(CAMERAS[1:]))
    style = pick(STYLES[1:]) if kind == "style" else PLAIN
    return make_facts([first], scene, motion=pick(MOTIONS), style=style)


def sample_facts(rng: np.random.Generator) -> Facts:
    """Facts of one training clip: the whole world except the held-out combinations (`held_out`)."""
    while True:
        facts = sample_any_facts(rng)
        if not held_out(facts):
            return facts
