"""Compare clips that were sampled again with those of the results, and write <results>/replay.json.

`sample --spread` made the new clips of each row in <results>/replay/<row>. That folder is removed in any
case, so that the next replay samples anew. The exit code is 1 if a clip differs on a device of the type that
made it, if its file was changed, or if nothing can be compared.
"""

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import command, run
from evaluation.files import file_sha256
from evaluation.records import Clip, ClipTiming, read_jsonl, write_json
from reports.replay import Replay, ReplayedRow, replay_message
from workflow.sampling.replay import compare_clip
from workflow.sampling.shard import timestamp

log = logging.getLogger("replay")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "suite")
    parser.add_argument("--results", required=True, type=Path, help="results folder of the suite")
    parser.add_argument("--rows", required=True, nargs="*", help="names of the rows")
    return run(parser, arguments, compare_rows)


def compare_rows(flags: argparse.Namespace) -> None:
    """Raises ValueError if a clip failed, FileNotFoundError if a row was never sampled."""
    again = flags.results / "replay"
    try:
        rows = tuple(replayed_row(row, flags.results / "clips" / row, again / row) for row in flags.rows)
    finally:
        for row in flags.rows:
            shutil.rmtree(again / row)
    found = Replay(suite=flags.suite, finished=timestamp(), rows=rows)
    write_json(flags.results / "replay.json", found)
    for one in rows:
        log.info("%s: %s", one.row, one.verdict)
    log.info("%s written; the next report shows it", flags.results / "replay.json")
    if failed := [replay_message(one.row, clip) for one in rows for clip in one.clips if clip.failed]:
        raise ValueError("; ".join(failed))


def replayed_row(row: str, results: Path, again: Path) -> ReplayedRow:
    """Compare the clips of the folder `again` with those of the same names in the folder `results`.

    Raises FileNotFoundError if the row was never sampled, ValueError if the suite has other settings now.
    """
    manifest = results / "manifest.jsonl"
    if not manifest.is_file():
        raise FileNotFoundError(f"{manifest} does not exist; run the suite first, then replay it.")
    clips = {clip.clip_id: clip for clip in read_jsonl(Clip, manifest)}
    timings = {timing.clip_id: timing for timing in read_jsonl(ClipTiming, results / "timings.jsonl")}
    news = read_jsonl(ClipTiming, again / "timings.jsonl")
    compared = []
    for clip, timing in zip(read_jsonl(Clip, again / "manifest.jsonl"), news, strict=True):
        then = clips.get(clip.clip_id)
        if then is None:
            raise ValueError(
                f"{manifest} does not list clip {clip.clip_id}; run the suite again, then replay it."
            )
        stored, made = results / then.file, again / clip.file
        compared.append(compare_clip(then, stored, timings[clip.clip_id].device, clip, made, timing.device))
        log.info("%s", replay_message(row, compared[-1]))
    first = timings[news[0].clip_id]
    return ReplayedRow(
        row=row,
        manifest_sha256=file_sha256(manifest),
        commit_then=first.commit,
        commit_now=news[0].commit,
        software_then=first.software,
        software_now=news[0].software,
        clips=tuple(compared),
    )


if __name__ == "__main__":
    sys.exit(main())
