"""Toybox prompts for training RAVEN and CM-GRPO, and for the paired check of CM-GRPO."""

import numpy as np

from evaluation.records import Prompt
from evaluation.toybox.facts import facts_key, sample_facts
from evaluation.toybox.prompt_kinds import make_prompt, share_of


def _drawn(name: str, share: str, count: int, rng: np.random.Generator, *, distinct: bool) -> list[Prompt]:
    prompts: list[Prompt] = []
    taken: set[str] = set()
    while len(prompts) < count:
        facts = sample_facts(rng)
        if share_of(facts) != share or (distinct and facts_key(facts) in taken):
            continue
        taken.add(facts_key(facts))
        prompts.append(make_prompt(f"{name}_{len(prompts):04d}", facts, samples=1, keep=None))
    return prompts


def training_prompts(count: int, seed: int) -> list[Prompt]:
    """Prompts for RAVEN and CM-GRPO, drawn as training clips are; a prompt may come twice. Disjoint from the
    suite.
    """
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
