"""What every command line of ours has in common: how it speaks to a person, and to a log."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WRONG = "from evaluation.command import *; start_log('[rank 1] '); ended(lambda: int('x'))"


def said(stderr: int) -> str | None:
    """What a command that fails writes to its standard error, where that is a pipe."""
    command = [sys.executable, "-c", WRONG]
    return subprocess.run(command, cwd=ROOT, stderr=stderr, text=True, check=False).stderr


def test_a_person_reads_the_sentence_alone() -> None:
    """Guards against a time and the name of a module of ours in front of what is wrong."""
    assert said(subprocess.PIPE) == "[rank 1] invalid literal for int() with base 10: 'x'\n"


def test_a_log_says_when_and_where(tmp_path: Path) -> None:
    with (tmp_path / "job.txt").open("w") as log:
        said(log.fileno())
    stamped = r"\d{4}-\d\d-\d\d [\d:,]+ \[rank 1\] evaluation\.command invalid literal .*\n"
    assert re.fullmatch(stamped, (tmp_path / "job.txt").read_text())
