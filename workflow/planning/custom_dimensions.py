"""The own dimensions of a suite: its plan and the declarations in its files. Apart from the settings, which many stages import."""

from __future__ import annotations

from pathlib import Path

from evaluation.custom.declaration import own_dimension
from evaluation.records import OwnDimension
from workflow.planning.suite import Suite


def own_dimensions(suite: Suite, root: Path) -> list[OwnDimension]:
    """The suite's own dimensions, as their files declare them. Raises ValueError or FileNotFoundError, one sentence."""
    return [
        own_dimension(
            name,
            root / plan.file,
            shown=Path(plan.file).name if Path(plan.file).is_absolute() else plan.file,
            prompts=plan.prompts,
            world=suite.world,
            dimensions=suite.dimensions,
        )
        for name, plan in suite.own_dimensions.items()
    ]
