"""Sample one shard of a native row: a causal network rolled out chunk by chunk under its baseline's settings."""

import logging

from workflow.sampling.setup import add_row_flags, open_row
from workflow.sampling.shard import chosen_clips, make_shard, shard_parser, write_shard


def main() -> None:
    parser = shard_parser(__doc__)
    add_row_flags(parser)
    flags = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    chosen = chosen_clips(flags.prompts, flags.chosen)
    row = open_row(flags, shard=flags.shard, folder=flags.clips, only=chosen)
    write_shard(make_shard(row.job, row.maker.start, chosen), flags.manifest, flags.timings)


if __name__ == "__main__":
    main()
