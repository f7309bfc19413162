"""The custom dimensions of a suite: its plan and the declarations in its files. Apart from the settings,
which many stages import.
"""

from pathlib import Path

from evaluation.custom.declaration import custom_dimension, project_module, read_declaration
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


def dimension_modules(suite: Suite, root: Path, name: str) -> list[str]:
    """The module that a dimension's file is, if it lies in a package of ours, whose imports then count."""
    module = project_module(root / suite.custom_dimensions[name].file)
    return [module] if module else []


def needs_gpu(suite: Suite, root: Path, name: str) -> bool:
    """Whether a job of a custom dimension asks for a GPU: where it opens a network, and not on CPUs."""
    return read_declaration(root / suite.custom_dimensions[name].file).opens and suite.device != "cpu"
