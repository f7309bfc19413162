"""The custom dimensions of a suite: its plan and the declarations in its files. Apart from the settings,
which many stages import.
"""

from pathlib import Path

from evaluation.custom.declaration import custom_dimension
from evaluation.records import CustomDimension
from workflow.planning.suite import Suite


def custom_dimensions(suite: Suite, root: Path) -> list[CustomDimension]:
    """The suite's custom dimensions, as their files declare them. Raises ValueError or FileNotFoundError."""
    return [
        custom_dimension(
            name,
            root / plan.file,
            shown=Path(plan.file).name if Path(plan.file).is_absolute() else plan.file,
            prompts=plan.prompts,
            benchmark=suite.benchmark,
            dimensions=suite.dimensions,
        )
        for name, plan in suite.custom_dimensions.items()
    ]
