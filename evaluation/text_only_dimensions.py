"""Which dimensions can score a prompt of which nothing but the text is known, by benchmark. Data only;
imports nothing.

Source of the vbench rows: VBench's documentation names the six dimensions of its mode for one's own prompts;
`auxiliary_info` of VBench_full_info.json is what the six of VBENCH_FACTS compare with; human_action takes its
label from the file name and knows only VBench's own hundred actions, so that no list can be scored on it.
Toybox rows: the scorers that do not read `facts` (tests/evaluation/test_prompt_lists.py proves it).
"""

WITHOUT_FACTS: dict[str, tuple[str, ...]] = {
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
"""Need no facts, but mean something for some prompts only: still scenes, or texts written for the dimension.
"""

VBENCH_FACTS: tuple[str, ...] = (
    "object_class",
    "multiple_objects",
    "color",
    "spatial_relationship",
    "scene",
    "appearance_style",
)
"""Official dimensions that need facts[<dimension>]."""

CONTROLS_WITHOUT_FACTS: tuple[str, ...] = ("noise",)
"""Control rows that render nothing of a prompt's facts."""
