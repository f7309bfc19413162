"""Score one part of a row's clips on one dimension by the official VBench, which runs in its own environment."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.records import write_json
from evaluation.selection import read_row
from evaluation.shards import parse_shard
from evaluation.vbench.parts import Part
from evaluation.vbench.plan import Entry, entries_of, link_clips, part_of
from workflow.scoring.vbench_process import job_of, part_parser, run_worker, work_folder

log = logging.getLogger("score")


def part_entries(flags: argparse.Namespace) -> list[Entry]:
    """The prompts and clips of this part."""
    inputs = read_row(flags.row, flags.prompts, flags.manifest, flags.filtered)
    entries = entries_of(flags.dimension, *inputs)
    if not entries:
        raise ValueError(
            f"The static filter kept no clip of row {flags.row} for {flags.dimension}; nothing can be scored."
        )
    return part_of(entries, *parse_shard(flags.part))


def score(entries: Sequence[Entry], flags: argparse.Namespace) -> dict[str, Any]:
    """What the worker says of the clips: score, rows, versions."""
    with work_folder(flags.output) as work:
        links = work / "clips"
        links.mkdir()
        link_clips(entries, flags.clips, links)
        job = job_of(flags, work) | {
            "entries": [entry.full_info(flags.dimension) for entry in entries],
            "names": [item.name for entry in entries for item in entry.wanted],
            "videos": str(links.resolve()),
        }
        return run_worker(flags, f"evaluation.vbench.worker.scorers.{flags.dimension}", job, work)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = part_parser(__doc__)
    parser.add_argument("--suite", required=True)
    parser.add_argument("--dimension", required=True)
    parser.add_argument("--filtered", required=True, type=Path)
    flags = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        entries = part_entries(flags)
        outcome = score(entries, flags) if entries else {"score": None, "rows": [], "versions": {}}
    except (ValueError, OSError, RuntimeError) as fault:
        log.error("%s", fault)
        return 1
    names = tuple(item.name for entry in entries for item in entry.wanted)
    part = Part(
        suite=flags.suite, row=flags.row, dimension=flags.dimension, part=flags.part, names=names,
        score=outcome["score"], rows=tuple(outcome["rows"]), versions=outcome["versions"],
    )  # fmt: skip
    write_json(flags.output, part)
    log.info("%s of %s, part %s: %d clips", flags.dimension, flags.row, flags.part, len(names))
    return 0


if __name__ == "__main__":
    sys.exit(main())
