"""A suite that a command planned, in files of its own: written to its folder, and run as any other."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.files import write_text
from workflow.external.score_plan import ScorePlan
from workflow.planning.snakemake_options import with_summary


class RunFailedError(ValueError):
    """Snakemake, which has said why, did not finish."""


def own_and_other_flags(parser: argparse.ArgumentParser, given: Sequence[str]) -> tuple[list[str], list[str]]:
    """Arguments of ours, and those of Snakemake: each flag that is not ours with the words behind it, up to
    the next one of ours.
    """
    ours = {name for action in parser._actions for name in action.option_strings}
    mine, others = list[str](), list[str]()
    taken = mine
    for word in given:
        if word.startswith("-"):
            taken = mine if word.split("=")[0] in ours else others
        taken.append(word)
    return mine, others


def write_plan(plan: ScorePlan, output: Path, root: Path) -> None:
    """Write the suite and link its results to the output folder. A file that is the same is not touched.

    Raises ValueError if the folder holds something else.
    """
    if output.is_dir() and any(output.iterdir()) and not (output / "suite.yaml").is_file():
        raise ValueError(
            f"{output} is not empty and holds no suite of raven-bench; name a new folder as --output."
        )
    for path, text in plan.files.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
    link = root / "results" / plan.suite
    link.parent.mkdir(exist_ok=True)
    if link.is_symlink() and link.readlink() != output:
        link.unlink()
    if not link.is_symlink():
        link.symlink_to(output, target_is_directory=True)


def run_plan(output: Path, root: Path, others: Sequence[str]) -> None:
    """Run a written plan to its report, in the repository at root. others: Snakemake's own flags.

    Raises RunFailedError.
    """
    profile = [] if "--profile" in others else ["--profile", "local"]
    words = [
        "reports/table.html",
        *profile,
        "--configfile",
        str(output / "suite.yaml"),
        *with_summary(others),
    ]
    os.chdir(root)
    done = subprocess.run([sys.executable, "-m", "workflow.scripts.start_snakemake", *words], check=False)
    if done.returncode:
        reason = "the reason is above" if done.returncode > 0 else f"ended by signal {-done.returncode}"
        raise RunFailedError(f"The run did not finish ({reason}); the same command goes on in {output}.")
