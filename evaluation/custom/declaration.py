"""Custom dimensions: a Python file with a function clip -> number, and what that number means.

The file declares, as plain constants, TITLE, UNIT, WORST and BEST (raw values that normalise to 0 and to 100,
in either order; no score may lie outside) and BENCHMARKS (where it means something), and defines one of
FORMS: score_parts(parts, prompt), to which a clip's frames come a few at a time, or score(frames, prompt),
which has them all in memory; for a network, open_parts_scorer(resources, device) or open_scorer(resources,
device) and, if need be, RESOURCES (groups of workflow/resources.yaml), BATCH (clips scored at once) and
CLIPS. It is read, not run, while the workflow is planned. It may import packages of the main environment;
modules of this project only if it lies in one of its packages, where a change is noticed.
evaluation/README.md says how to add one; colour_drift.py is an example, workflow/scoring/dynamic_judge.py one
with a network.
"""

import ast
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from evaluation.dimensions import NAMES
from evaluation.files import plain_text
from evaluation.records import CustomDimension
from evaluation.selection import ALL_PROMPTS

CONSTANTS = {"TITLE": str, "UNIT": str, "WORST": float, "BEST": float, "BENCHMARKS": tuple}
OPTIONAL_CONSTANTS: dict[str, Any] = {"RESOURCES": (), "BATCH": 1, "CLIPS": "kept"}
"""Constants that a file may leave out, with what then holds."""
KNOWN = CONSTANTS | {name: type(value) for name, value in OPTIONAL_CONSTANTS.items()}
FORMS = {
    "score": ("frames", "prompt"),
    "score_parts": ("parts", "prompt"),
    "open_scorer": ("resources", "device"),
    "open_parts_scorer": ("resources", "device"),
}
"""Functions of which a file has one, with their arguments."""
PROJECT_ROOT = Path(__file__).resolve().parents[2]
PROJECT = ("models", "baselines", "evaluation", "reports", "workflow")
TAKEN = (*NAMES, "total", "quality", "semantic", "frame_quality", ALL_PROMPTS)
"""Names that mean something else in a table."""


class Declaration(NamedTuple):
    """What a file says about its scores, without running it."""

    title: str
    unit: str
    worst: float
    best: float
    benchmarks: tuple[str, ...]
    sha256: str
    """Of the file."""
    function: str
    """One of FORMS."""
    resources: tuple[str, ...]
    """Groups of workflow/resources.yaml that it needs."""
    batch: int
    """Clips that are scored at once."""
    clips: Literal["kept", "all"]
    """Of a still prompt: the samples that the static filter kept, or all."""

    @property
    def opens(self) -> bool:
        """Whether the function opens something once a job, such as a network."""
        return self.function.startswith("open_")

    @property
    def by_parts(self) -> bool:
        """Whether frames come a few at a time, and never all together."""
        return self.function in ("score_parts", "open_parts_scorer")


def read_declaration(path: Path) -> Declaration:
    """The declaration in a file. Raises ValueError if it is not there or not whole, or FileNotFoundError."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; write the dimension there, or correct its `file`.")
    content = path.read_bytes()
    try:
        tree = ast.parse(content, filename=str(path))
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no Python ({error}); correct it.") from error
    function = _check_code(tree, path)
    values = _constants(tree, path)
    ends = [values[name] for name in ("WORST", "BEST")]
    if not all(abs(end) <= sys.float_info.max for end in ends) or float(ends[0]) == float(ends[1]):
        shown = " and BEST ".join(str(end)[:30] for end in ends)
        raise ValueError(f"{path}: WORST is {shown}; give two different, finite numbers.")
    worst, best = map(float, ends)
    benchmarks = tuple(str(benchmark) for benchmark in values["BENCHMARKS"])
    for name in ("TITLE", "UNIT"):
        plain_text(values[name], where=f"{path}: {name}")
    if not benchmarks:
        raise ValueError(
            f"{path}: BENCHMARKS is empty; say in which benchmarks the dimension means something."
        )
    batch, clips = values["BATCH"], values["CLIPS"]
    declared = Declaration(
        values["TITLE"], values["UNIT"], worst, best, benchmarks, hashlib.sha256(content).hexdigest(),
        function, tuple(map(str, values["RESOURCES"])), batch, clips,
    )  # fmt: skip
    if batch < 1 or clips not in ("kept", "all") or (batch != 1 and not declared.opens):
        raise ValueError(
            f"{path}: BATCH is {batch} and CLIPS {clips!r}; expected 1 or more ({function}() takes one clip "
            "at a time), and kept or all."
        )
    return declared


def project_module(path: Path) -> str | None:
    """The dotted name of a file in one of the project's packages; None for any other file."""
    place = path.resolve()
    parts = (
        place.relative_to(PROJECT_ROOT).with_suffix("").parts if place.is_relative_to(PROJECT_ROOT) else ("",)
    )
    return ".".join(parts) if parts[0] in PROJECT else None


def _check_code(tree: ast.Module, path: Path) -> str:
    """The file's function. Raises ValueError if it is not one, or imports what is not followed."""
    functions = {
        node.name: len(node.args.posonlyargs) + len(node.args.args)
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }
    found = [name for name, arguments in FORMS.items() if functions.get(name) == len(arguments)]
    if len(found) != 1:
        forms = ", ".join(f"{name}({', '.join(arguments)})" for name, arguments in FORMS.items())
        raise ValueError(
            f"{path} defines {' and '.join(found) or 'no function that scores'}; expected one of {forms}; "
            "see evaluation/custom/colour_drift.py for the form."
        )
    for node in ast.walk(tree) if project_module(path) is None else ():
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        relative = isinstance(node, ast.ImportFrom) and node.level
        if ours := next((name for name in names if relative or name.split(".")[0] in PROJECT), None):
            raise ValueError(
                f"{path} imports {ours!r} of this project, whose changes would not be noticed; a dimension "
                "is one file: copy what it needs into it."
            )
    return found[0]


def _constants(tree: ast.Module, path: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if not isinstance(target, ast.Name) or target.id not in KNOWN:
                continue
            try:
                values[target.id] = ast.literal_eval(node.value)
            except (ValueError, TypeError, RecursionError) as error:
                raise ValueError(
                    f"{path} line {node.lineno}: {target.id} must be a plain constant, it is read without "
                    "running the file."
                ) from error
    missing = [name for name in CONSTANTS if name not in values]
    if missing:
        raise ValueError(
            f"{path} does not set {', '.join(missing)}; a dimension declares {', '.join(CONSTANTS)}."
        )
    values = OPTIONAL_CONSTANTS | values
    for name, kind in KNOWN.items():
        wanted = int | float if kind is float else kind
        if not isinstance(values[name], wanted) or isinstance(values[name], bool):
            raise ValueError(f"{path}: {name} is {values[name]!r}, expected a {kind.__name__}.")
    return values


def custom_dimension(
    name: str, path: Path, *, shown: str, prompts: str, benchmark: str, dimensions: Sequence[str]
) -> CustomDimension:
    """The record of one dimension of a suite.

    shown: how the report calls its file; dimensions: of the sixteen, those of the suite.
    Raises ValueError for a name that is taken, a benchmark it is not made for, or prompts that nothing is
    scored on.
    """
    if name in TAKEN:
        raise ValueError(f"custom_dimensions.{name}: the name {name} is taken; choose another one.")
    declared = read_declaration(path)
    if benchmark not in declared.benchmarks:
        raise ValueError(
            f"custom_dimensions.{name}: {shown} says that it means something in "
            f"{', '.join(declared.benchmarks)}, but this suite's benchmark is {benchmark}; take it out, or "
            "add the benchmark to its BENCHMARKS if that is true."
        )
    if prompts not in (ALL_PROMPTS, *dimensions):
        raise ValueError(
            f"custom_dimensions.{name}.prompts is {prompts!r}, expected {ALL_PROMPTS} or a dimension of "
            f"the suite ({', '.join(dimensions)})."
        )
    return CustomDimension(
        name=name, title=declared.title, unit=declared.unit, worst=declared.worst, best=declared.best,
        prompts=prompts, clips=declared.clips, file=shown, sha256=declared.sha256,
    )  # fmt: skip
