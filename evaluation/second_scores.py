"""Second scorings of the same clips: what they change, and which dimensions they are of. They stand beside a
row's own scores, in scores/<row>/second/<second>/, and enter nothing but "What the protocol moves".
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import get_args

from evaluation.dimensions import BoundsName
from evaluation.records import Prompt, SecondScoring

SECOND_DIMENSIONS: dict[BoundsName, dict[SecondScoring, tuple[str, ...]]] = {
    "toybox": {"extended_text": (), "unfiltered": ("temporal_flickering",)},
    "vbench": {
        "extended_text": ("temporal_style", "overall_consistency"),
        "unfiltered": ("temporal_flickering",),
    },
}
"""Dimensions whose scores a second scoring changes. No checker of the toybox reads a text; of VBench's, the
two by ViCLIP read the prompt and the others facts (evaluation/vbench/README.md#the-text-that-scores).
"""


def add_second(parser: argparse.ArgumentParser) -> None:
    """The flag of jobs that can score once more."""
    parser.add_argument(
        "--second", choices=get_args(SecondScoring), help="score once more: otherwise in this"
    )


def seen_prompts(second: SecondScoring | None, prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts as a scoring sees them: unfiltered, a still prompt has its first samples alone, as many as
    the static filter may keep.
    """
    if second != "unfiltered":
        return list(prompts)
    return [
        p if p.keep is None else p.model_copy(update={"samples": min(p.keep, p.samples), "keep": None})
        for p in prompts
    ]


def seen_samples(
    second: SecondScoring | None, prompts: Sequence[Prompt], kept: Mapping[str, Sequence[int]]
) -> Mapping[str, Sequence[int]]:
    """The samples of each prompt that a scoring counts. kept: what the static filter left."""
    if second != "unfiltered":
        return kept
    return {prompt.id: range(prompt.samples) for prompt in seen_prompts(second, prompts)}
