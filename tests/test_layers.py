"""Imports go one way: models <- baselines, evaluation <- reports; only workflow may import all four."""

import ast
import re
from pathlib import Path

import pytest

from workflow.planning.code_digest import imported_files

ROOT = Path(__file__).parents[1]
VBENCH = ROOT / "evaluation/vbench"
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


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_go_one_way(package: str) -> None:
    """Guards against a scorer that needs our models, or models that need the scorers: two environments must stay apart."""
    for path in sorted((ROOT / package).rglob("*.py")):
        wrong = (imports_of(path) & set(ALLOWED)) - ALLOWED[package]
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


@pytest.mark.parametrize("package", ["evaluation", "reports"])
def test_scoring_and_reports_need_no_torch(package: str) -> None:
    """Guards against torch in the scorers: only those of evaluation/vbench, whose environment has a torch of its own, may use it."""
    for path in sorted((ROOT / package).rglob("*.py")):
        if not path.is_relative_to(VBENCH):
            assert "torch" not in imports_of(path), path.relative_to(ROOT)


def test_only_its_own_programs_import_what_runs_beside_vbench() -> None:
    """Guards against the harness importing evaluation/vbench/worker/networks.py and the like, whose packages its environment lacks."""
    needs = {path for path in VBENCH.rglob("*.py") if imports_of(path) & {"torch", "vbench", "pyiqa", "clip"}}
    assert needs
    for package in sorted(ALLOWED):
        for path in sorted((ROOT / package).rglob("*.py")):
            if not path.is_relative_to(VBENCH):
                module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                reached = {ROOT / file for file in imported_files(ROOT, module.removesuffix(".__init__"))}
                assert not reached & needs, f"{module} reaches {sorted(reached & needs)}"


VBENCH_ENVIRONMENT = (
    "scorers",
    "runner",
    "static_filter",
    "guard",
    "files",
    "loading",
    "probe",
    "read_ahead",
    "decisions",
    "frame_values",
)
MAIN_ONLY = {"pydantic", "av", "diffusers", "peft", "snakemake"}


def test_the_worker_needs_no_package_of_the_main_environment() -> None:
    """Guards against a worker that dies in VBench's environment, which has neither pydantic nor PyAV."""
    folder = ROOT / "evaluation/vbench"
    modules = [
        path
        for path in folder.rglob("*.py")
        if path.relative_to(folder).parts[0].removesuffix(".py") in VBENCH_ENVIRONMENT
    ]
    assert len(modules) >= 20
    for module in modules:
        name = ".".join(module.relative_to(ROOT).with_suffix("").parts)
        for path in imported_files(ROOT, name):
            wrong = imports_of(ROOT / path) & MAIN_ONLY
            assert not wrong, f"{path}, reached from {name}, imports {sorted(wrong)}"


def test_the_main_environment_parses_the_worker_s_plan_without_torch() -> None:
    """Guards against a planner, reducer or joiner that needs torch: they run in every job of the main environment."""
    for name in ("plan", "reduce", "results", "still"):
        for path in imported_files(ROOT, f"evaluation.vbench.{name}"):
            assert "torch" not in imports_of(ROOT / path), f"{path}, reached from evaluation.vbench.{name}"


def test_parsing_the_workflow_imports_nothing_heavy() -> None:
    """Guards against a slow `snakemake -n`, and against every Slurm job paying for torch or pandas while it parses."""
    smk = (ROOT / "workflow/rules/common.smk").read_text(encoding="utf-8")
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
