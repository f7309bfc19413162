"""Score one part of a row's clips on one dimension by the official VBench, which runs in its own
environment.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.command import run
from evaluation.records import read_json, write_json
from evaluation.second_scores import add_second, seen_samples
from evaluation.selection import RowInputs, ScoredPrompt, compare_inputs, read_row
from evaluation.shards import parse_shard
from evaluation.vbench.pieces import PieceSet, long_clips_of, piece_entries
from evaluation.vbench.plan import (
    ScorePart,
    entries_of,
    entries_of_part,
    full_info,
    link_clips,
    named_clips,
)
from workflow.scoring.vbench_process import part_command, run_worker, work_folder

log = logging.getLogger("score")


def score_part(flags: argparse.Namespace) -> None:
    """Write the ScorePart of one part."""
    inputs = read_row(flags.row, flags.prompts, flags.manifest, flags.filtered)
    clips = flags.clips
    if flags.pieces is None:
        kept = seen_samples(flags.second, inputs.prompts, inputs.kept)
        every = entries_of(flags.dimension, inputs.prompts, inputs.manifest, kept)
    else:
        clips = flags.pieces
        every = cut_entries(flags.dimension, inputs, flags.pieces)
    if not every:
        raise ValueError(
            f"The static filter kept no clip of row {flags.row} for {flags.dimension}, so nothing can be "
            "scored; leave the dimension out, or bring samples that stand still."
        )
    entries = entries_of_part(every, *parse_shard(flags.part))
    names = [name for name, _ in named_clips(entries)]
    answer: dict[str, Any] = {"score": None, "rows": [], "versions": {}}
    if entries:
        with work_folder(flags.output) as work:
            links = work / "clips"
            links.mkdir()
            link_clips(entries, clips, links)
            job = flags.scorer | {
                "dimension": flags.dimension,
                "entries": [full_info(flags.dimension, entry.prompt, flags.second) for entry in entries],
                "names": names,
                "videos": str(links.resolve()),
            }
            answer = run_worker(flags, "evaluation.vbench.worker.runner", job, work)
    part = ScorePart(
        suite=flags.suite, row=flags.row, dimension=flags.dimension, second=flags.second, part=flags.part,
        inputs=inputs.sha256, names=tuple(names), score=answer["score"], rows=tuple(answer["rows"]),
        versions=answer["versions"],
    )  # fmt: skip
    write_json(flags.output, part)
    log.info("%s of %s, part %s: %d clips", flags.dimension, flags.row, flags.part, len(names))


def cut_entries(dimension: str, inputs: RowInputs, folder: Path) -> list[ScoredPrompt]:
    """The pieces of the row's clips that the dimension scores, cut from the clips that are there."""
    cut = read_json(PieceSet, folder / "pieces.json")
    compare_inputs(
        f"The pieces in {folder}", cut.inputs, inputs.sha256.model_copy(update={"filtered": None}), "cut"
    )
    clips = long_clips_of(dimension, inputs.prompts, inputs.manifest, inputs.kept)
    return piece_entries(dimension, clips, {piece.clip_id: piece for piece in cut.pieces})


def main(arguments: Sequence[str] | None = None) -> int:
    parser = part_command(__doc__, "suite", "dimension", "filtered")
    parser.add_argument(
        "--scorer", required=True, type=json.loads, help="JSON of evaluation/vbench/scorers.py's as_job"
    )
    add_second(parser)
    parser.add_argument("--pieces", type=Path, help="folder of the row's pieces, where clips are long")
    return run(parser, arguments, score_part)


if __name__ == "__main__":
    sys.exit(main())
