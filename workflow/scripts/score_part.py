"""Score one part of a row's clips on one dimension by the official VBench, which runs in its own environment."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.records import Clip, FilteredSet, Prompt, read_json, read_jsonl, write_json
from evaluation.shards import parse_shard
from evaluation.vbench.plan import Entry, entries_of, link_clips, part_of
from evaluation.vbench.results import Part

log = logging.getLogger("score")


def part_entries(flags: argparse.Namespace) -> list[Entry]:
    """The prompts and clips of this part."""
    filtered = read_json(FilteredSet, flags.filtered)
    manifest = read_jsonl(Clip, flags.manifest)
    rows = {clip.row for clip in manifest} | {filtered.row}
    if rows != {flags.row}:
        raise ValueError(
            f"{flags.manifest} and {flags.filtered} are of the rows {sorted(rows)}, expected {flags.row} alone; give the files of one row."
        )
    entries = entries_of(flags.dimension, read_jsonl(Prompt, flags.prompts), manifest, filtered.kept)
    if not entries:
        raise ValueError(
            f"The static filter kept no clip of row {flags.row} for {flags.dimension}; nothing can be scored."
        )
    return part_of(entries, *parse_shard(flags.part))


def run_worker(command: Sequence[str | Path], threads: int) -> None:
    """Run a module in VBench's environment. Raises RuntimeError with one sentence if it ends badly; the log above has its own."""
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    done = subprocess.run(list(map(str, command)), env=os.environ | limits, check=False)  # noqa: S603
    if done.returncode < 0:
        raise RuntimeError(
            f"VBench's process was killed by signal {-done.returncode} (9: most often for memory); give the job more memory. Parts that are "
            "done are kept, this one starts anew."
        )
    if done.returncode:
        raise RuntimeError("VBench's process failed; the sentence above says why. Nothing was written.")


def score(entries: Sequence[Entry], flags: argparse.Namespace) -> dict[str, Any]:
    """What the worker says of the clips: score, rows, versions."""
    work = flags.output.with_name(f"{flags.output.name}.work")
    shutil.rmtree(work, ignore_errors=True)  # of a job that was killed
    links = work / "clips"
    links.mkdir(parents=True)
    try:
        link_clips(entries, flags.clips, links)
        weights = json.loads(flags.weights.read_text(encoding="utf-8"))
        job = {
            "entries": [entry.full_info(flags.dimension) for entry in entries],
            "names": [item.name for entry in entries for item in entry.wanted],
            "videos": str(links.resolve()),
            "cache": str(flags.weights.parent.resolve() / "cache"),
            "sizes": {name: entry["size"] for name, entry in weights.items()},
            "device": flags.device,
            "threads": flags.threads,
            "output": str((work / "rows.json").resolve()),
        }
        path = work / "job.json"
        path.write_text(json.dumps(job, indent=1), encoding="utf-8")
        run_worker(
            [flags.python, "-m", f"evaluation.vbench.scorers.{flags.dimension}", "--job", path], flags.threads
        )
        outcome: dict[str, Any] = json.loads((work / "rows.json").read_text(encoding="utf-8"))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return outcome


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", required=True)
    parser.add_argument("--row", required=True)
    parser.add_argument("--dimension", required=True)
    parser.add_argument("--part", required=True, help="<i>-of-<n>")
    parser.add_argument("--prompts", required=True, type=Path)
    parser.add_argument("--manifest", required=True, type=Path)
    parser.add_argument("--filtered", required=True, type=Path)
    parser.add_argument("--clips", required=True, type=Path, help="folder of the row")
    parser.add_argument("--weights", required=True, type=Path, help="weights.json, with the cache beside it")
    parser.add_argument("--python", required=True, type=Path, help="of VBench's environment")
    parser.add_argument("--device", required=True, choices=("cpu", "cuda", "auto"))
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--output", required=True, type=Path)
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
