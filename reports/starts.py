"""Starts of a run: when jobs were begun, by which command, from which code, at what expected cost."""

from pathlib import Path
from typing import Any

from pydantic import Field

from evaluation.files import append_line, whole_lines
from evaluation.records import Sha256, VersionedRecord, log_line, parse_log_line
from reports.cost import CostEstimate

STARTS_FILE = "starts.jsonl"


class Start(VersionedRecord):
    """One start: a line of starts.jsonl."""

    started: str
    """UTC."""
    command: str
    """Scrubbed, as `config` is."""
    config: str
    config_sha256: Sha256
    """Of the suite's file."""
    replaced: dict[str, Any] = Field(default_factory=dict)
    """What `--config` put in the place of the file's values, by key, dotted ones too."""
    commit: str
    dirty: bool | None
    jobs: int
    """That were to be run."""
    estimate: CostEstimate


def note_start(results_dir: Path, start: Start) -> None:
    """Add a line to starts.jsonl."""
    results_dir.mkdir(parents=True, exist_ok=True)
    append_line(results_dir / STARTS_FILE, log_line(start))


def read_starts(results_dir: Path) -> list[Start]:
    """Every start, oldest first; none in a folder made without Snakemake."""
    path = results_dir / STARTS_FILE
    return [parse_log_line(Start, line, f"{path} line {n}") for n, line in enumerate(whole_lines(path), 1)]
