"""Which dimensions can score a prompt of which nothing but the text is known, by benchmark. Data only.

VBench: its documentation names the six dimensions of its mode for a user's prompts; the six of VBENCH_FACTS
compare with `auxiliary_info` of VBench_full_info.json; human_action takes its label from the file name and
knows the hundred actions of VBench alone, so that no list can be scored on it.
Toybox: the scorers that do not read `facts`, which tests/evaluation/test_prompt_lists.py verifies.
"""

TEXT_ONLY: dict[str, tuple[str, ...]] = {
    "toybox": ("background_consistency", "dynamic_degree", "aesthetic_quality", "imaging_quality"),
    "vbench": (
        "subject_consistency",
        "background_consistency",
        "motion_smoothness",
        "dynamic_degree",
        "aesthetic_quality",
        "imaging_quality",
    ),
}
"""What a list's prompt is scored on when the list does not say."""

ON_REQUEST: dict[str, tuple[str, ...]] = {
    "toybox": ("temporal_flickering",),
    "vbench": ("temporal_flickering", "temporal_style", "overall_consistency"),
}
"""Need no facts, but mean something for some prompts only: static scenes, or texts written for them."""

VBENCH_FACTS: tuple[str, ...] = (
    "object_class",
    "multiple_objects",
    "color",
    "spatial_relationship",
    "scene",
    "appearance_style",
)
"""Official dimensions that need facts[<dimension>]."""

TEXT_ONLY_CONTROLS: tuple[str, ...] = ("noise",)
"""Control rows that render nothing of a prompt's facts."""
