"""Why a dimension of the sixteen has no score in a run: one phrase each, for the table that greys it. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.dimensions import NAMES, BoundsName
from evaluation.text_only_dimensions import ON_REQUEST, WITHOUT_FACTS


def left_out_reasons(
    benchmark: BoundsName, asked: Sequence[str], config: Mapping[str, Any], subset: str | None
) -> dict[str, str]:
    """By dimension that the run was not asked for. config: the suite's settings; subset: what a subset run
    leaves out.
    """
    own_list = config["prompts"]["list"] is not None
    reasons = {}
    for name in (name for name in NAMES if name not in asked):
        if subset is not None and name in config["dimensions"]:
            reasons[name] = "left out of this subset run"
        elif not own_list:
            reasons[name] = "left out by the suite's settings"
        elif benchmark == "vbench" and name == "human_action":
            reasons[name] = "knows the hundred actions of VBench's own list only"
        elif name in ON_REQUEST[benchmark]:
            reasons[name] = "means something for prompts written for it only; the list asks for it nowhere"
        elif name in WITHOUT_FACTS[benchmark]:
            reasons[name] = "left out by the suite's settings"
        else:
            reasons[name] = "compares with facts, which the list does not give"
    return reasons
