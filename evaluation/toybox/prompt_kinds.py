"""Kinds of toybox prompts, the dimensions each is scored on, and which list some facts belong to.

The suite's, the training and the check prompts are disjoint for every seed, by hash of the facts: each list
has its own share of the world. Combinations that `facts.held_out` keeps out of training appear in the suite
only.
"""

import hashlib

from evaluation.records import Prompt
from evaluation.toybox.captions import caption, extended_caption
from evaluation.toybox.facts import FIXED, PLAIN, Facts, facts_key, held_out

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


def prompt_kind(facts: Facts) -> str:
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


def share_of(facts: Facts) -> str:
    """ "suite", "check" or "train": the list these facts belong to."""
    byte = hashlib.sha256(facts_key(facts).encode()).digest()[1]
    if held_out(facts) or byte < 64:
        return "suite"
    return "check" if byte < 128 else "train"


def make_prompt(name: str, facts: Facts, *, samples: int, keep: int | None) -> Prompt:
    """The prompt of some facts, with captions and dimensions that follow from them."""
    return Prompt(
        id=name,
        prompt=caption(facts),
        extended=extended_caption(facts),
        dimensions=DIMENSIONS_OF_KIND[prompt_kind(facts)],
        samples=samples,
        keep=keep,
        facts=facts,
    )
