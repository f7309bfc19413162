"""Cut the long clips of a row into the pieces that the official scorer takes for clips."""

import argparse
import logging
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import get_args

from evaluation.command import command, run
from evaluation.records import Clip, read_jsonl, write_json
from evaluation.selection import hashes_of
from evaluation.vbench.pieces import PieceEncoding, PieceSet, cut_clip

log = logging.getLogger("pieces")


def cut_row(flags: argparse.Namespace) -> None:
    """Fill the output folder: mp4s, and pieces.json when all are there."""
    manifest = read_jsonl(Clip, flags.manifest)
    if strange := [clip for clip in manifest if clip.row != flags.row]:
        raise ValueError(
            f"{flags.manifest} holds clip {strange[0].clip_id} of row {strange[0].row}, expected row "
            f"{flags.row} alone; give the row's own manifest."
        )
    one = partial(cut_clip, flags.clips, folder=flags.output, encoding=flags.encoding)
    with ThreadPoolExecutor(flags.threads) as pool:
        made = [piece for pieces in pool.map(one, manifest) for piece in pieces]
    cut = PieceSet(
        row=flags.row,
        encoding=flags.encoding,
        inputs=hashes_of(flags.prompts, flags.manifest),
        pieces=tuple(made),
    )
    write_json(flags.output / "pieces.json", cut)
    log.info("%s: %d clips, %d pieces (%s)", flags.row, len(manifest), len(made), flags.encoding)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "row", "prompts", "manifest", "clips", "output")
    parser.add_argument("--encoding", required=True, choices=get_args(PieceEncoding))
    parser.add_argument("--threads", required=True, type=int)
    return run(parser, arguments, cut_row)


if __name__ == "__main__":
    sys.exit(main())
