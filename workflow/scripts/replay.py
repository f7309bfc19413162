"""Render a few finished clips again and say whether they come out the same.

`row`: five clips of one native row, spread over its work list, by the code that samples, in full batches,
into a scratch folder that is removed again.
`join`: all rows into results/<suite>/replay.json; exit code 1 if a clip differs on a device of the type that
made it, or its file was changed.
"""

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.code_state import this_commit
from evaluation.files import file_sha256
from evaluation.records import Clip, ClipTiming, Prompt, read_json, read_jsonl, write_json
from evaluation.shards import samples_to_render
from reports.replay import Replay, ReplayedRow, replay_message
from workflow.sampling.replay import chosen_samples, compare
from workflow.sampling.setup import add_row_flags, open_row
from workflow.sampling.shard import make_shard, now

log = logging.getLogger("replay")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    row = commands.add_parser("row", help="render clips of one row again")
    row.add_argument("--row", required=True)
    row.add_argument("--prompts", required=True, type=Path)
    row.add_argument("--settings", required=True, help="JSON of the row's sampling settings")
    row.add_argument("--code", required=True, help="digest of the code that makes the clips")
    row.add_argument("--clips", required=True, type=Path, help="folder of the row's finished clips")
    row.add_argument(
        "--scratch", required=True, type=Path, help="folder for the clips made again; it is removed"
    )
    row.add_argument("--output", required=True, type=Path)
    add_row_flags(row)
    join = commands.add_parser("join", help="all rows into one record")
    join.add_argument("--suite", required=True)
    join.add_argument(
        "--rows", required=True, type=Path, nargs="*", help="outputs of `row`; they are removed"
    )
    join.add_argument("--output", required=True, type=Path)
    flags = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        return replay_row(flags) if flags.command == "row" else join_rows(flags)
    except (ValueError, FileNotFoundError) as fault:
        log.error("%s", fault)
        return 2


def replay_row(flags: argparse.Namespace) -> int:
    """Raises FileNotFoundError if the row was never sampled, ValueError if the suite has other settings now."""
    manifest = flags.clips / "manifest.jsonl"
    if not manifest.is_file():
        raise FileNotFoundError(f"{manifest} does not exist; run the suite first, then replay it.")
    clips = {clip.clip_id: clip for clip in read_jsonl(Clip, manifest)}
    timings = {timing.clip_id: timing for timing in read_jsonl(ClipTiming, flags.clips / "timings.jsonl")}
    chosen = {
        sample.clip_id for sample in chosen_samples(samples_to_render(read_jsonl(Prompt, flags.prompts)))
    }
    shutil.rmtree(flags.scratch, ignore_errors=True)
    row = open_row(flags, shard="0-of-1", folder=flags.scratch, only=chosen)
    entries = make_shard(row.job, row.maker.start, chosen)
    found = []
    for entry in entries:
        name = entry.clip.clip_id
        if name not in clips:
            raise ValueError(f"{manifest} does not list clip {name}; run the suite again, then replay it.")
        stored, made = flags.clips / clips[name].file, flags.scratch / entry.clip.file
        found.append(
            compare(clips[name], stored, timings[name].device, entry.clip, made, entry.timing.device)
        )
        log.info("%s", replay_message(flags.row, found[-1]))
    first = timings[entries[0].clip.clip_id]
    write_json(
        flags.output,
        ReplayedRow(
            row=flags.row, manifest_sha256=file_sha256(manifest), commit_then=first.commit, commit_now=this_commit(),
            software_then=first.software, software_now=row.job.software, clips=tuple(found),
        ),
    )  # fmt: skip
    shutil.rmtree(flags.scratch)
    return 0


def join_rows(flags: argparse.Namespace) -> int:
    """1 if a clip failed. The rows' own files are removed, so that the next replay renders anew."""
    rows = tuple(read_json(ReplayedRow, path) for path in flags.rows)
    replay = Replay(suite=flags.suite, finished=now(), rows=rows)
    write_json(flags.output, replay)
    for path in flags.rows:
        path.unlink()
    for row in rows:
        log.info("%s: %s", row.row, row.verdict)
        for clip in row.clips:
            if clip.failed:
                log.error("%s", replay_message(row.row, clip))
    log.info("%s written; the next report shows it", flags.output)
    return 1 if replay.failed else 0


if __name__ == "__main__":
    sys.exit(main())
