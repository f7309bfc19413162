"""A copy of the project with small random models, in which tests may run Snakemake and edit anything."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.workflow.embedded import write_embedded
from tests.workflow.planner import dry_run

ROOT = Path(__file__).parents[2]
LEFT_OUT = (
    ".venv",
    ".venvs",
    ".git",
    ".snakemake",
    "results",
    "resources",
    "tests",
    "__pycache__",
    ".*_cache",
    "embedded",
    "*.tmp",
    "table.html",
)

Job = tuple[str, ...]
"""(rule, row, dimension) as far as a job has them."""


def copy_project(folder: Path, config: str) -> None:
    """The project at `folder`, with random models and the suite `config` as workflow/config/<suite>.yaml."""
    shutil.copytree(ROOT, folder, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    write_embedded(folder / "models/embedded")
    suite = re.search(r"^suite: (\w+)", config, re.MULTILINE)
    assert suite, "the config names its suite"
    (folder / f"workflow/config/{suite[1]}.yaml").write_text(config)


def command_line(suite: str, *arguments: str) -> list[str]:
    """Arguments of Snakemake for a suite's report, with the local profile on two cores."""
    profile = ["--cores", "2", "--profile", "local", "--configfile", f"workflow/config/{suite}.yaml"]
    return ["reports/table.html", *arguments, *profile]


def snakemake(folder: Path, suite: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake with the local profile on two cores; output is captured."""
    command = [sys.executable, "-m", "snakemake", *command_line(suite, *arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=580)


def planned(folder: Path, suite: str, *arguments: str) -> set[Job]:
    """What `snakemake -n` would run."""
    output = folder / "plan.tmp"
    code = dry_run(folder, command_line(suite, *arguments), output)
    text = output.read_text()
    assert code == 0, text[-3000:]
    return jobs_in(text)


def jobs_in(text: str) -> set[Job]:
    """The jobs that a dry run lists."""
    jobs = set()
    for block in re.split(r"\n(?=(?:local)?(?:rule|checkpoint) \w+:\n)", text):
        if rule := re.match(r"(?:local)?(?:rule|checkpoint) (\w+):\n", block):
            wildcards = re.search(r"^    wildcards: (.*)$", block, re.MULTILINE)
            values = dict(pair.split("=") for pair in wildcards[1].split(", ")) if wildcards else {}
            jobs.add((rule[1], *(values[name] for name in ("row", "dimension") if name in values)))
    return jobs


def replace_in(path: Path, old: str, new: str) -> None:
    """Edit a file of the copy; the text to replace must be there."""
    text = path.read_text()
    assert old in text, f"{path} does not hold {old!r}"
    path.write_text(text.replace(old, new, 1))
