"""Measure clip-to-clip consistency of a row's long clips: networks of an environment of their own see the
first frame of every piece.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from baselines.strict_yaml import load_yaml
from evaluation.command import command, run
from evaluation.records import Clip, read_json, read_jsonl, write_json
from evaluation.selection import compare_inputs, hashes_of
from evaluation.vbench.long_reduce import FUSED, BetweenScale, between_pieces
from evaluation.vbench.long_results import BetweenResult, BetweenVideo
from evaluation.vbench.pieces import PieceSet, first_frames, piece_entries
from evaluation.vbench.weights import BETWEEN_TABLES
from workflow.scoring.vbench_process import add_scorer_flags, run_worker, work_folder

log = logging.getLogger("between")


def measure_between(flags: argparse.Namespace) -> None:
    """Write the BetweenResult of a row."""
    manifest, cut = read_jsonl(Clip, flags.manifest), read_json(PieceSet, flags.pieces / "pieces.json")
    inputs = hashes_of(flags.prompts, flags.manifest)
    compare_inputs(f"The pieces in {flags.pieces}", cut.inputs, inputs, "cut")
    made = {piece.clip_id: piece for piece in cut.pieces}
    scales = {dimension: read_scale(flags.weights.parent / "cache", dimension) for dimension in FUSED}
    with work_folder(flags.output) as work:
        files = {}
        for clip in manifest:
            pieces = [entry.clips[0] for entry in piece_entries("between", [clip], made)]
            path = (work / f"{clip.clip_id}.npy").resolve()
            np.save(path, first_frames(flags.pieces, pieces, cut.encoding, work))
            files[clip.clip_id] = str(path)
        answer = run_worker(flags, "evaluation.vbench.worker.between", {"videos": files}, work)
    if answer["videos"].keys() != files.keys():
        raise ValueError(
            f"{len(answer['videos'])} of {len(files)} clips of row {flags.row} came back measured; score "
            "again."
        )
    videos = []
    for name, found in answer["videos"].items():
        previous, first = ({d: tuple(found[d][part]) for d in FUSED} for part in ("previous", "first"))
        mapped = {d: scales[d](between_pieces(previous[d], first[d])) for d in FUSED}
        videos.append(BetweenVideo(clip_id=name, previous=previous, first=first, mapped=mapped))
    write_json(
        flags.output,
        BetweenResult(
            suite=flags.suite, row=flags.row, inputs=inputs, encoding=cut.encoding, videos=tuple(videos),
            versions=answer["versions"],
        ),
    )  # fmt: skip
    log.info("%s: between the pieces of %d clips", flags.row, len(videos))


def read_scale(cache: Path, dimension: str) -> BetweenScale:
    """The fetched map of clip-to-clip consistency of a dimension. Raises ValueError if it is none."""
    path = cache / BETWEEN_TABLES[dimension]
    table = load_yaml(path.read_text(encoding="utf-8"))
    try:
        return BetweenScale.of_table({float(knot): value for knot, value in table.items()}, path.name)
    except (AttributeError, TypeError) as error:
        raise ValueError(
            f"{path.name} is no table of numbers; delete it in resources/weights/vbench/between and run "
            "`make fetch`."
        ) from error


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "suite", "row", "prompts", "manifest", "output")
    add_scorer_flags(parser)
    parser.add_argument("--pieces", required=True, type=Path, help="folder of the row's pieces")
    return run(parser, arguments, measure_between)


if __name__ == "__main__":
    sys.exit(main())
