"""Check every clip of a row and merge its shards' manifests. Names each wrong clip, deletes nothing."""

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation.clip_reader import ClipError
from evaluation.clips import ClipShape, WatchedFrames, shape_errors
from evaluation.command import command, run
from evaluation.degenerate import degenerate
from evaluation.files import load_json
from evaluation.records import UNKNOWN_NOISE, Clip, ClipTiming, Prompt, read_jsonl, write_jsonl
from evaluation.selection import first_samples
from evaluation.shards import samples_to_render
from evaluation.verified_clips import open_verified_clip

log = logging.getLogger("check")

ONE_A_ROW = ("settings_sha256", "weights_sha256", "noise", "batch_size")
"""What the clips of a row have in common."""


def wrong_clips(
    row: str,
    folder: Path,
    clips: Sequence[Clip],
    expected: Sequence[str],
    shape: ClipShape | None,
    *,
    allow_degenerate: bool = False,
) -> list[str]:
    """One message per clip of the row that is missing, extra, changed, undecodable, wrong in shape, constant,
    doubled, or holds no picture, and per line of its manifest that contradicts the suite or the others.

    shape: of every clip; None where each may have its own, which is then that of its line.
    allow_degenerate: near-black, flat and noise clips are logged and are no errors.
    """
    errors = [*_completeness(row, clips, expected), *_contradictions(row, clips, shape)]
    contents: dict[str, str] = {}
    for number, clip in enumerate(clips, 1):
        path, where = folder / clip.file, f"Clip {clip.clip_id} of row {row}"
        try:
            look, shown = open_verified_clip(folder, clip)
            frames = WatchedFrames(shown, (look.frames, look.height, look.width, 3))
            lack = degenerate(frames)
        except FileNotFoundError as error:
            errors.append(str(error))
            continue
        except ValueError as error:
            errors.append(f"{where}: {error}" if isinstance(error, ClipError) else str(error))
            continue
        said = shape_errors(look.frames, look.height, look.width, look.rate, shape or _said(clip))
        said += [frames.constant] if frames.constant else []
        errors += [f"{where} {error}: {path}." for error in said]
        # A constant clip is black or flat too: it is named once, and not allowed.
        if not said and lack is not None:
            message = f"{where} (prompt {clip.prompt_id}, sample {clip.sample}) {lack}: {path}."
            if allow_degenerate:
                log.info("%s It is allowed.", message)
            else:
                errors.append(message)
        content = frames.sha256
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


def _said(clip: Clip) -> ClipShape:
    return ClipShape(pixel_frames=clip.pixel_frames, height=clip.height, width=clip.width, fps=clip.fps)


def _contradictions(row: str, clips: Sequence[Clip], shape: ClipShape | None) -> list[str]:
    """What a manifest says that cannot be true of one row of this suite."""
    errors = []
    for clip in clips:
        if shape is not None and _said(clip) != shape:
            errors.append(
                f"Clip {clip.clip_id} of row {row} is listed as {_shown(_said(clip))}, the suite's are "
                f"{_shown(shape)}."
            )
    for key in ONE_A_ROW:
        values = Counter(getattr(clip, key) for clip in clips)
        for value in [value for value, _ in values.most_common()][1:]:
            other = next(clip for clip in clips if getattr(clip, key) == value)
            errors.append(
                f"Clip {other.clip_id} of row {row} has {key} {value}, expected "
                f"{values.most_common(1)[0][0]} as the others: it was made differently."
            )
    if len({clip.latents_sha256 is None for clip in clips}) > 1:
        errors.append(f"Row {row} has clips with latents and clips without: they were made differently.")
    return errors


def _shown(shape: ClipShape) -> str:
    return f"{shape.pixel_frames} frames of {shape.width}x{shape.height} at {shape.fps} per second"


def _check_timings(row: str, clips: Sequence[Clip], timings: Sequence[ClipTiming]) -> None:
    """Raise ValueError unless the timings are of exactly these clips; nobody timed imported ones."""
    expected = Counter((row, clip.clip_id) for clip in clips if clip.noise != UNKNOWN_NOISE)
    found = Counter((timing.row, timing.clip_id) for timing in timings)
    if found != expected:
        odd = sorted((found - expected) or (expected - found))[0]
        raise ValueError(
            f"The timings of row {row} are {found.total()}, of its clips {expected.total()} should have one; "
            f"the first that is wrong is of clip {odd[1]} of row {odd[0]}; sample the row's shards again."
        )


def in_order(
    clips: Mapping[str, Clip], timings: Mapping[str, ClipTiming], expected: Sequence[str]
) -> tuple[list[Clip], list[ClipTiming]]:
    """Clips and timings in the order of the samples. Imported clips have no timings: nobody knows them."""
    return [clips[name] for name in expected], [timings[name] for name in expected if timings]


def check_row(flags: argparse.Namespace) -> None:
    """Write manifest and timings of the row. Raises ValueError if a clip is wrong."""
    listed_prompts, chosen = (
        first_samples(read_jsonl(Prompt, path), flags.samples) for path in (flags.prompts, flags.chosen)
    )
    every = {sample.clip_id for sample in samples_to_render(listed_prompts)}
    expected = [sample.clip_id for sample in samples_to_render(chosen)]
    shape = load_json(flags.clip, "--clip")
    left_out = every - set(expected)
    listed = [clip for path in flags.manifests for clip in read_jsonl(Clip, path)]
    clips = [clip for clip in listed if clip.clip_id not in left_out]
    timed = [timing for path in flags.timings for timing in read_jsonl(ClipTiming, path)]
    _check_timings(flags.row, listed, timed)
    errors = wrong_clips(
        flags.row,
        flags.clips,
        clips,
        expected,
        ClipShape(**shape) if shape else None,
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
    timings = {timing.clip_id: timing for timing in timed}
    ordered, ordered_timings = in_order({clip.clip_id: clip for clip in clips}, timings, expected)
    write_jsonl(flags.output_timings, ordered_timings)
    write_jsonl(flags.output, ordered)
    log.info("%s: %d clips are complete", flags.row, len(ordered))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "row", "prompts", "clips", "output", "samples")
    parser.add_argument("--manifests", required=True, type=Path, nargs="+", help="of every shard")
    parser.add_argument("--timings", required=True, type=Path, nargs="+", help="of every shard")
    parser.add_argument("--clip", required=True, help="JSON of the clip's shape; {}: each its own")
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
