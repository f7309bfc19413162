"""Check every clip of a row and merge its shards' manifests. Names each wrong clip, deletes nothing."""

import argparse
import json
import logging
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation.clip_reader import read_clip
from evaluation.clips import ClipShape, clip_errors, frames_sha256
from evaluation.command import command, run
from evaluation.degenerate import degenerate
from evaluation.files import file_sha256
from evaluation.records import Clip, ClipTiming, Prompt, read_jsonl, write_jsonl
from evaluation.shards import samples_to_render

log = logging.getLogger("check")


def wrong_clips(
    row: str,
    folder: Path,
    clips: Sequence[Clip],
    expected: Sequence[str],
    shape: ClipShape,
    *,
    allow_degenerate: bool = False,
) -> list[str]:
    """One message per clip of the row that is missing, extra, changed, undecodable, wrong in shape, constant,
    doubled, or holds no picture.

    allow_degenerate: near-black, flat and noise clips are logged and are no errors.
    """
    errors = _completeness(row, clips, expected)
    contents: dict[str, str] = {}
    for number, clip in enumerate(clips, 1):
        path, where = folder / clip.file, f"Clip {clip.clip_id} of row {row}"
        try:
            if path.is_file() and file_sha256(path) != clip.sha256:
                errors.append(f"{where} is not the file that was sampled (its sha256 differs): {path}.")
                continue
            decoded = read_clip(path, shape)
        except (FileNotFoundError, ValueError) as error:
            errors.append(f"{where}: {error}")
            continue
        found = [f"{where} {error}: {path}." for error in clip_errors(decoded, shape)]
        errors += found
        # A constant clip is black or flat too: it is named once, and not allowed.
        if not found and (lack := degenerate(decoded.frames)) is not None:
            message = f"{where} (prompt {clip.prompt_id}, sample {clip.sample}) {lack}: {path}."
            if allow_degenerate:
                log.info("%s It is allowed.", message)
            else:
                errors.append(message)
        content = frames_sha256(decoded.frames)
        if content in contents:
            errors.append(f"{where} shows the same frames as {contents[content]}: {path}.")
        contents.setdefault(content, clip.clip_id)
        if number % 100 == 0:
            log.info("%s: %d of %d clips", row, number, len(clips))
    return errors


def _completeness(row: str, clips: Sequence[Clip], expected: Sequence[str]) -> list[str]:
    listed = Counter(clip.clip_id for clip in clips)
    missing = [name for name in expected if not listed[name]]
    errors = [f"Clip {name} of row {row} is missing from the shards' manifests." for name in missing]
    errors += [f"Clip {name} of row {row} belongs to no prompt." for name in listed.keys() - set(expected)]
    errors += [f"Clip {name} of row {row} is in {n} shards." for name, n in listed.items() if n > 1]
    return errors + [f"Clip {c.clip_id} is of row {c.row}, not of row {row}." for c in clips if c.row != row]


def in_order(
    clips: Mapping[str, Clip], timings: Mapping[str, ClipTiming], expected: Sequence[str]
) -> tuple[list[Clip], list[ClipTiming]]:
    """Clips and timings in the order of the samples. Imported clips have no timings: nobody knows them."""
    return [clips[name] for name in expected], [timings[name] for name in expected if timings]


def check_row(flags: argparse.Namespace) -> None:
    """Write manifest and timings of the row. Raises ValueError if a clip is wrong."""
    every = {sample.clip_id for sample in samples_to_render(read_jsonl(Prompt, flags.prompts))}
    expected = [sample.clip_id for sample in samples_to_render(read_jsonl(Prompt, flags.chosen))]
    left_out = every - set(expected)
    listed = [clip for path in flags.manifests for clip in read_jsonl(Clip, path)]
    clips = [clip for clip in listed if clip.clip_id not in left_out]
    timings = {timing.clip_id: timing for path in flags.timings for timing in read_jsonl(ClipTiming, path)}
    errors = wrong_clips(
        flags.row,
        flags.clips,
        clips,
        expected,
        ClipShape(**json.loads(flags.clip)),
        allow_degenerate=flags.allow_degenerate,
    )
    for error in errors:
        log.error("%s", error)
    if errors:
        raise ValueError(
            f"Row {flags.row} has {len(errors)} errors in {len(expected)} clips, so nothing of it is scored. "
            "Nothing was deleted: delete the files named above and rerun, the sample stage makes exactly "
            "those again. Clips without a picture go on to scoring where the suite's `allow_degenerate` "
            "names the row."
        )
    ordered, ordered_timings = in_order({clip.clip_id: clip for clip in clips}, timings, expected)
    write_jsonl(flags.output_timings, ordered_timings)
    write_jsonl(flags.output, ordered)
    log.info("%s: %d clips are complete", flags.row, len(ordered))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "row", "prompts", "clips", "output")
    parser.add_argument("--manifests", required=True, type=Path, nargs="+", help="of every shard")
    parser.add_argument("--timings", required=True, type=Path, nargs="+", help="of every shard")
    parser.add_argument("--clip", required=True, help="JSON of the clip's shape")
    parser.add_argument(
        "--chosen", required=True, type=Path, help="the prompts of this run: all, or what a subset keeps"
    )
    parser.add_argument("--output-timings", required=True, type=Path)
    parser.add_argument(
        "--allow-degenerate", action="store_true", help="near-black, flat and noise clips are no errors"
    )
    return run(parser, arguments, check_row)


if __name__ == "__main__":
    sys.exit(main())
