"""The static filter's rule: of the many samples of a static prompt, the first static ones are scored.

Samples go in numeric order (RAVEN's rule; VBench's own order of names has sample 10 before 2), and the first
`keep` static ones are kept. With fewer, only those are kept and the gap is recorded, never filled.
How much a clip moves, and from where on it is not static, each benchmark says itself:
evaluation/toybox/motion.py, evaluation/vbench/filter_join.py.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from evaluation.records import FilteredPrompt, FilteredSet, Inputs, Prompt

log = logging.getLogger("filter")


class Judgement(NamedTuple):
    """What was found of one sample; `motion` is in the benchmark's unit."""

    motion: float
    static: bool


def filter_prompt(prompt_id: str, samples: Sequence[Judgement], keep: int) -> FilteredPrompt:
    """Keep the first `keep` static samples; `short` counts what is lacking."""
    kept = tuple(index for index, found in enumerate(samples) if found.static)[:keep]
    return FilteredPrompt(
        prompt_id=prompt_id,
        motion=tuple(found.motion for found in samples),
        static=tuple(found.static for found in samples),
        kept=kept,
        short=keep - len(kept),
    )


def filtered_set(
    row: str,
    inputs: Inputs,
    prompts: Sequence[Prompt],
    judged: Mapping[str, Sequence[Judgement]],
    threshold: float,
    samples: int | None = None,
) -> FilteredSet:
    """Which samples of each prompt are scored; logs how it went for every prompt with a `keep`.

    judged: prompt id -> its samples in order, for those prompts. threshold: the motion from which on they
    were not static, for the record, as inputs are. samples: see FilteredSet; prompts are the row's own.
    """
    filtered = tuple(filter_prompt(p.id, judged[p.id], p.keep) for p in prompts if p.keep is not None)
    for entry in filtered:
        log.log(
            logging.WARNING if entry.short else logging.INFO,
            "%s: %d of %d samples are static, kept %s, %d short",
            entry.prompt_id,
            sum(entry.static),
            len(entry.static),
            list(entry.kept),
            entry.short,
        )
    outcome = {entry.prompt_id: entry.kept for entry in filtered}
    kept = {p.id: outcome[p.id] if p.id in outcome else tuple(range(p.samples)) for p in prompts}
    return FilteredSet(
        row=row, inputs=inputs, threshold=threshold, filtered=filtered, kept=kept, samples=samples
    )
