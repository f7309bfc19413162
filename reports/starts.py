"""Starts of a run: every time that jobs were begun, with which command, from which code, and what they were
expected to cost.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from evaluation.records import Sha256, read_jsonl
from reports.cost import Estimate

FILE = "starts.jsonl"


class Start(BaseModel):
    """One start. command, config: scrubbed; config_sha256: of the suite's file; jobs: that were to be run;
    started: UTC.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: Literal[1] = 1
    started: str
    command: str
    config: str
    config_sha256: Sha256
    commit: str
    dirty: bool | None
    jobs: int
    estimate: Estimate


def note_start(results_dir: Path, start: Start) -> None:
    """Add a line to starts.jsonl."""
    results_dir.mkdir(parents=True, exist_ok=True)
    with (results_dir / FILE).open("a", encoding="utf-8") as stream:
        stream.write(start.model_dump_json() + "\n")


def read_starts(results_dir: Path) -> list[Start]:
    """Every start, oldest first; empty for a folder made without Snakemake. Raises ValueError naming file and
    line.
    """
    path = results_dir / FILE
    return read_jsonl(Start, path) if path.is_file() else []
