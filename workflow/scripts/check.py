"""Prove every clip of a row and merge its shards' manifests; deletes nothing, and stops naming each faulty
clip.
"""

import argparse
import json
import logging
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation.clips import ClipShape, clip_errors, content_sha256, read_clip
from evaluation.files import file_sha256
from evaluation.records import Clip, ClipTiming, Prompt, read_jsonl, write_jsonl
from evaluation.shards import samples_to_render

log = logging.getLogger("check")


def wrong_clips(
    row: str, folder: Path, clips: Sequence[Clip], expected: Sequence[str], shape: ClipShape
) -> list[str]:
    """One sentence per clip of the row that is missing, extra, changed, undecodable, wrong in shape, constant
    or doubled.
    """
    faults = _completeness(row, clips, expected)
    contents: dict[str, str] = {}
    for number, clip in enumerate(clips, 1):
        path = folder / clip.file
        try:
            if path.is_file() and file_sha256(path) != clip.sha256:
                faults.append(
                    f"Clip {clip.clip_id} of row {row} is not the file that was sampled (its sha256 "
                    f"differs): {path}."
                )
                continue
            decoded = read_clip(path)
        except (FileNotFoundError, ValueError) as error:
            faults.append(f"Clip {clip.clip_id} of row {row}: {error}")
            continue
        faults += [
            f"Clip {clip.clip_id} of row {row} {fault}: {path}." for fault in clip_errors(decoded, shape)
        ]
        content = content_sha256(decoded.frames)
        if content in contents:
            faults.append(
                f"Clip {clip.clip_id} of row {row} shows the same frames as {contents[content]}: {path}."
            )
        contents.setdefault(content, clip.clip_id)
        if number % 100 == 0:
            log.info("%s: %d of %d clips", row, number, len(clips))
    return faults


def _completeness(row: str, clips: Sequence[Clip], expected: Sequence[str]) -> list[str]:
    listed = Counter(clip.clip_id for clip in clips)
    wanted = set(expected)
    faults = [
        f"Clip {name} of row {row} is missing from the shards' manifests."
        for name in expected
        if not listed[name]
    ]
    faults += [f"Clip {name} of row {row} belongs to no prompt." for name in listed if name not in wanted]
    faults += [
        f"Clip {name} of row {row} is in {times} shards." for name, times in listed.items() if times > 1
    ]
    return faults + [f"Clip {c.clip_id} is of row {c.row}, not of row {row}." for c in clips if c.row != row]


def in_order(
    clips: Mapping[str, Clip], timings: Mapping[str, ClipTiming], expected: Sequence[str]
) -> tuple[list[Clip], list[ClipTiming]]:
    """Clips and timings in work-list order. Imported clips have no timings at all: nobody knows what they
    cost.
    """
    return [clips[name] for name in expected], [timings[name] for name in expected if timings]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", required=True)
    parser.add_argument("--prompts", required=True, type=Path, help="all prompts of the suite")
    parser.add_argument(
        "--chosen", required=True, type=Path, help="the prompts of this run: all, or what a subset keeps"
    )
    parser.add_argument("--manifests", required=True, type=Path, nargs="+")
    parser.add_argument("--timings", required=True, type=Path, nargs="+")
    parser.add_argument("--clip", required=True, help="JSON of the clip's shape")
    parser.add_argument("--clips", required=True, type=Path, help="folder of the row")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--output-timings", required=True, type=Path)
    flags = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    every = [sample.clip_id for sample in samples_to_render(read_jsonl(Prompt, flags.prompts))]
    expected = [sample.clip_id for sample in samples_to_render(read_jsonl(Prompt, flags.chosen))]
    left_out = set(every) - set(expected)
    listed = [clip for path in flags.manifests for clip in read_jsonl(Clip, path)]
    clips = [clip for clip in listed if clip.clip_id not in left_out]
    timings = {timing.clip_id: timing for path in flags.timings for timing in read_jsonl(ClipTiming, path)}
    faults = wrong_clips(flags.row, flags.clips, clips, expected, ClipShape(**json.loads(flags.clip)))
    if faults:
        for fault in faults:
            log.error("%s", fault)
        log.error(
            "Row %s has %d faults in %d clips, so nothing of it is scored. Nothing was deleted: delete the "
            "files named above and rerun, the sample stage makes exactly those again.",
            flags.row,
            len(faults),
            len(expected),
        )
        return 1
    ordered, ordered_timings = in_order({clip.clip_id: clip for clip in clips}, timings, expected)
    write_jsonl(flags.output_timings, ordered_timings)
    write_jsonl(flags.output, ordered)
    log.info("%s: %d clips are complete", flags.row, len(ordered))
    return 0


if __name__ == "__main__":
    sys.exit(main())
