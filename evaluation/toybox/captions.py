"""Captions of toybox facts: lower-case words of one fixed list, no punctuation, at most 32 words."""

from evaluation.toybox.facts import (
    ACTIONS,
    COLORS,
    FIXED,
    MOTIONS,
    PERSON,
    RELATIONS,
    SCENES,
    SHAPES,
    STYLES,
    Facts,
)

MAX_WORDS = 32

_MOTION = {motion: f"moving {motion}" for motion in MOTIONS} | {"still": "standing still"}
_LONG_MOTION = {motion: f"moving slowly and evenly {motion}" for motion in MOTIONS} | {
    "still": "standing still"
}
_RELATION = {"left": "left of", "right": "right of", "above": "above", "below": "below"}
_LONG_RELATION = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"}
_ACTION = {"wave": "waving", "jump": "jumping", "walk": "walking", "bow": "bowing", "sit": "sitting down"}
_LONG_ACTION = {
    "wave": "waving one hand",
    "jump": "jumping up and down",
    "walk": "walking to the right",
    "bow": "bowing forward",
    "sit": "sitting down",
}
_LONG_SCENE = {
    "meadow": "grassy meadow",
    "desert": "sandy desert",
    "night": "starry night",
    "stone": "paved stone",
}
_STYLE = {
    "natural": "natural colors",
    "monochrome": "black and white style",
    "sepia": "sepia style",
    "neon": "neon style",
    "negative": "negative style",
}
_CAMERA = {
    "pan_left": "camera pans left",
    "pan_right": "camera pans right",
    "zoom_in": "camera zooms in",
    "zoom_out": "camera zooms out",
    "shake": "camera shakes",
}


def caption(facts: Facts) -> str:
    """Short caption: names every fact that is not plain."""
    names = [f"a {thing['color']} {thing['shape']}" for thing in facts["objects"]]
    if facts["relation"] is not None:
        words = f"{names[0]} {_RELATION[facts['relation']]} {names[1]}"
    elif facts["action"] is not None:
        words = f"{names[0]} {_ACTION[facts['action']]}"
    else:
        words = f"{names[0]} {_MOTION[facts['motion']]}"
    words += f" on {facts['scene']}"
    if facts["camera"] != FIXED:
        words += f" the {_CAMERA[facts['camera']]}"
    if facts["style"] != "natural":
        words += f" in {_STYLE[facts['style']]}"
    return words


def extended_caption(facts: Facts) -> str:
    """Long caption of the same facts, at most MAX_WORDS words: also says what is plain."""
    names = [f"{thing['color']} {thing['shape']}" for thing in facts["objects"]]
    if facts["relation"] is not None:
        subject = f"one {names[0]} {_LONG_RELATION[facts['relation']]} one {names[1]} both standing still"
    elif facts["action"] is not None:
        subject = f"one large bright {names[0]} {_LONG_ACTION[facts['action']]}"
    else:
        subject = f"one large bright {names[0]} {_LONG_MOTION[facts['motion']]}"
    camera = "with a fixed camera" if facts["camera"] == FIXED else f"while the {_CAMERA[facts['camera']]}"
    scene = _LONG_SCENE[facts["scene"]]
    return f"this short clip shows {subject} on the soft {scene} {camera} in {_STYLE[facts['style']]}"


def _vocabulary() -> tuple[str, ...]:
    phrases = [
        "a on the in one both large bright soft standing still this short clip shows with fixed camera while"
    ]
    short = (_MOTION, _RELATION, _ACTION, _STYLE, _CAMERA)
    long = (_LONG_MOTION, _LONG_RELATION, _LONG_ACTION, _LONG_SCENE)
    phrases += [phrase for table in short + long for phrase in table.values()]
    phrases += [*COLORS, *SHAPES, PERSON, *SCENES]
    return tuple(sorted({word for phrase in phrases for word in phrase.split()}))


VOCABULARY: tuple[str, ...] = _vocabulary()

assert set(_ACTION) == set(ACTIONS), "every action needs its words"
assert set(_STYLE) == set(STYLES), "every style needs its words"
assert set(_RELATION) == set(RELATIONS), "every relation needs its words"
assert set(_LONG_SCENE) == set(SCENES), "every scene needs its words"
