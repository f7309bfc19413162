"""Imports go one way: models <- baselines, evaluation <- reports; only workflow may import all four."""

import ast
import json
import re
from pathlib import Path

import pytest

from workflow.planning.code_digest import imported_files

ROOT = Path(__file__).parents[1]
WORKER = "evaluation.vbench.worker."
MAIN_REQUIREMENTS = (
    "pydantic",
    "av",
    "diffusers",
    "peft",
    "snakemake",
    "pandas",
    "jinja2",
    "yaml",
    "safetensors",
)
"""Packages of the main environment that VBench's lacks, or has by chance."""
ALLOWED = {
    "models": {"models"},
    "baselines": {"baselines", "models"},
    "evaluation": {"evaluation"},
    "reports": {"reports", "evaluation"},
    "workflow": {"workflow", "models", "baselines", "evaluation", "reports"},
}
HEAVY = {"torch", "av", "diffusers", "transformers", "pandas", "matplotlib"}


def imports_of(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Root names of every module a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}


SHARED_NAMES = {
    "main": "what runs a file as a command",
    "log": "the logger of its module",
    "score": "how a dimension's file scores a clip",
    "soft": "how a toybox scorer rewards a clip",
    "score_later": "how a toybox scorer scores a window behind a long clip's first",
    **dict.fromkeys(("TITLE", "UNIT", "WORST", "BEST", "BENCHMARKS"), "what a custom dimension declares"),
}
"""Names that are an interface, by what they mean in every module that defines them."""
LEAF = "evaluation.files"
"""Needs the standard library alone, so that every package may import it."""
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for package in sorted(ALLOWED)
    for path in sorted((ROOT / package).rglob("*.py"))
    if path.name != "__init__.py"
}
"""Every module of the product by its dotted name."""


def imports_in(module: str) -> set[str]:
    """Modules of the product that a module imports itself."""
    names = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names & MODULES.keys()


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_go_one_way(package: str) -> None:
    """Guards against a scorer that needs our models, or models that need the scorers: two environments must
    stay apart.
    """
    for module in MODULES:
        if module.startswith(f"{package}."):
            wrong = {
                name for name in imports_in(module) - {LEAF} if name.split(".")[0] not in ALLOWED[package]
            }
            assert not wrong, f"{module} imports {sorted(wrong)}"


@pytest.mark.parametrize("package", ["evaluation", "reports"])
def test_scoring_and_reports_need_no_torch(package: str) -> None:
    """Guards against torch in the scorers: only those of evaluation/vbench/worker, whose environment has a
    torch of its own, may use it.
    """
    for path in sorted((ROOT / package).rglob("*.py")):
        if not path.is_relative_to(ROOT / "evaluation/vbench/worker"):
            assert "torch" not in imports_of(path), path.relative_to(ROOT)


def test_no_import_goes_round_in_a_circle() -> None:
    """Guards against two modules that can only be read together. Imports inside functions and for types count
    too.
    """
    reached = {module: imports_in(module) for module in MODULES}
    waiting = set(reached)
    while free := {module for module in waiting if not reached[module] & waiting}:
        waiting -= free
    assert not waiting, f"these modules lead back to themselves: {sorted(waiting)}"


def test_planning_needs_no_torch() -> None:
    """Guards against every `snakemake -n`, and every Slurm job, paying for torch or pandas while the workflow
    is parsed.
    """
    for module in MODULES:
        if module.startswith("workflow.planning."):
            for path in imported_files(ROOT, module):
                heavy = imports_of(ROOT / path, top_level_only=True) & HEAVY
                assert not heavy, f"{module} reaches {path}, which imports {sorted(heavy)}"


def test_only_tables_need_pandas() -> None:
    """Guards against jobs on GPUs that wait for pandas, or die for want of it."""
    using = {path.relative_to(ROOT).as_posix() for path in MODULES.values() if "pandas" in imports_of(path)}
    reached = json.loads((ROOT / "tests/golden/stage_files.json").read_text(encoding="utf-8"))
    stages = {stage for stage, files in reached.items() if using & set(files)}
    assert stages == {"workflow.scripts.aggregate", "workflow.scripts.report"}


OPENERS = {
    "json.load": "evaluation.files",
    "json.loads": "evaluation.files",
    "csv.reader": "evaluation.files",
    "csv.DictReader": "evaluation.files",
    "zipfile.ZipFile": "evaluation.files",
    "safe_open": "models.checkpoints.containers",
    "load_file": "models.checkpoints.containers",
    "torch.load": "models.checkpoints.containers",
    "pickle.load": "nowhere",
    "pickle.loads": "nowhere",
    "yaml.load": "baselines.strict_yaml",
    "yaml.safe_load": "baselines.strict_yaml",
}
"""The one module that opens each format, by what libraries call it."""
OPENED_APART = {
    ("evaluation.vbench.leaderboard", "zipfile.ZipFile"): "writes one",
    ("reports.bundle", "zipfile.ZipFile"): "writes one",
    ("reports.cost", "csv.DictReader"): "a table of Snakemake's, whose damage it says with other advice",
    ("reports.published", "yaml.safe_load"): "a file of its own package, which may not import baselines",
}


def test_each_format_is_opened_in_one_place() -> None:
    """Guards against a file of strangers that ends in a traceback: openers give every fault the file's name.

    Text is split into lines at line feeds alone (text_lines); splitlines is for what programs print.
    """
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and not module.startswith(WORKER):
                called = ast.unparse(node.func)
                home = OPENERS.get(called, module)
                assert home == module or (module, called) in OPENED_APART, f"{module} calls {called}"
                split = called.endswith(".splitlines") and "read_text" in called and "errors=" not in called
                assert not split, f"{module} line {node.lineno} splits a file by splitlines"


def test_the_worker_stands_alone() -> None:
    """Guards against a worker that dies in VBench's environment, and a harness that needs that environment's
    packages.
    """
    foreign = {name.split(".")[0] for name in MAIN_REQUIREMENTS} | set(ALLOWED)
    for module, path in MODULES.items():
        inside = module.startswith(WORKER)
        for imported in imports_in(module):
            assert imported.startswith(WORKER) == inside, f"{module} imports {imported}"
        if inside:
            wrong = {name for name in imports_of(path) & foreign if name != "evaluation"}
            assert not wrong, f"{module} imports {sorted(wrong)}"


def test_nothing_imports_a_script() -> None:
    """Guards against a library that parses flags: a script is an end, which other scripts do not build upon
    either.
    """
    for module in MODULES:
        scripts = {name for name in imports_in(module) if name.startswith("workflow.scripts")}
        assert not scripts, f"{module} imports {sorted(scripts)}"


def public_names(path: Path) -> set[str]:
    """Names that a module defines on its top level, but for private ones."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case (
                ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AnnAssign(target=ast.Name(id=name))
            ):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def test_no_public_name_is_defined_twice() -> None:
    """Guards against two things of one name, of which a reader finds the wrong one."""
    places: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for name in public_names(path) - SHARED_NAMES.keys():
            places.setdefault(name, []).append(module)
    assert not {name: found for name, found in places.items() if len(found) > 1}


def test_workflow_has_only_folders() -> None:
    """Guards against a module that does not say whether it runs while Snakemake parses or in a job."""
    assert not [path.name for path in (ROOT / "workflow").glob("*.py") if path.name != "__init__.py"]


def test_parsing_the_workflow_imports_nothing_heavy() -> None:
    """Guards against a slow `snakemake -n`, and against every Slurm job paying for torch or pandas while it
    parses.
    """
    rules = [ROOT / "Snakefile", *sorted((ROOT / "workflow/rules").glob("*.smk"))]
    smk = "\n".join(path.read_text(encoding="utf-8") for path in rules)
    parsed = re.findall(
        r"^from ((?:baselines|workflow|evaluation|models|reports)[\w.]*) import", smk, re.MULTILINE
    )
    assert len(parsed) >= 5
    for module in parsed:
        for path in imported_files(ROOT, module):
            heavy = imports_of(ROOT / path, top_level_only=True) & HEAVY
            assert not heavy, f"{path}, imported while the Snakefile is parsed, imports {sorted(heavy)}"


def test_the_lock_holds_no_torch() -> None:
    """Guards against a lock that pins one build of torch (or its CUDA libraries) for every machine."""
    lock = (ROOT / "envs/main/requirements.lock").read_text(encoding="utf-8")
    names = {line.split("==")[0] for line in lock.splitlines() if "==" in line and not line.startswith(" ")}
    assert len(names) > 50
    assert not {
        name for name in names if name in ("torch", "triton") or name.startswith(("nvidia-", "flash"))
    }
