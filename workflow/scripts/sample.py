"""Sample one shard of a native row: a causal network rolled out chunk by chunk as its baseline says."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import run
from evaluation.records import Prompt, read_jsonl
from evaluation.selection import first_samples
from workflow.sampling.setup import open_row
from workflow.sampling.shard import make_shard, shard_command, wanted_clips, write_shard


def main(arguments: Sequence[str] | None = None) -> int:
    parser = shard_command(__doc__, "baseline", "weights", "codec", "text", "samples")
    parser.add_argument("--embeddings", required=True, type=Path, help="folder of prompt embeddings")
    parser.add_argument("--checksums", type=Path, help="sha256 of fetched files, as the fetch stage verified")
    parser.add_argument("--own", type=Path, help="record of weights of the user's own, as they were proven")
    parser.add_argument("--noise", required=True, choices=("portable", "upstream"))
    parser.add_argument("--device", required=True, choices=("cpu", "cuda", "auto"))
    parser.add_argument("--spread", type=int, help="make this many clips only, spread over the whole row")
    return run(parser, arguments, sample)


def sample(flags: argparse.Namespace) -> None:
    prompts = first_samples(read_jsonl(Prompt, flags.prompts), flags.samples)
    wanted = wanted_clips(flags.prompts, flags.chosen, flags.spread, flags.samples)
    row = open_row(flags, prompts, wanted)
    write_shard(make_shard(row.job, row.maker.start, wanted), flags.manifest, flags.timings)


if __name__ == "__main__":
    sys.exit(main())
