"""Run the static filter over one row and write which samples of each prompt are scored."""

import argparse
import logging
from pathlib import Path

from evaluation.clips import read_clip
from evaluation.records import Clip, Prompt, read_jsonl, write_json
from evaluation.static_filter import filtered_set, motion

log = logging.getLogger("filter")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", required=True)
    parser.add_argument("--prompts", required=True, type=Path)
    parser.add_argument("--manifest", required=True, type=Path)
    parser.add_argument("--clips", required=True, type=Path, help="folder of the row")
    parser.add_argument("--output", required=True, type=Path)
    flags = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    prompts = read_jsonl(Prompt, flags.prompts)
    clips = {(clip.prompt_id, clip.sample): clip for clip in read_jsonl(Clip, flags.manifest)}
    values = {
        prompt.id: [
            motion(read_clip(flags.clips / clips[prompt.id, sample].file).frames)
            for sample in range(prompt.samples)
        ]
        for prompt in prompts
        if prompt.keep is not None
    }
    outcome = filtered_set(flags.row, prompts, values)
    for entry in outcome.filtered:
        log.info(
            "%s: %d of %d samples are static, kept %s, %d short",
            entry.prompt_id,
            sum(entry.static),
            len(entry.static),
            list(entry.kept),
            entry.short,
        )
    write_json(flags.output, outcome)


if __name__ == "__main__":
    main()
