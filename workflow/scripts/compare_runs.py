"""What changed between two runs, from their run.json: inputs, and scores with paired tests, as Markdown."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from evaluation.records import read_json, write_text
from reports.changes import changes_markdown
from reports.run import Run

log = logging.getLogger("compare_runs")


def main() -> None:
    """Parse flags, read both records, write the comparison whole or not at all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--before", required=True, type=Path, help="run.json of the earlier run")
    parser.add_argument("--after", required=True, type=Path, help="run.json of the later run")
    parser.add_argument("--output", required=True, type=Path, help="Markdown file to write")
    flags = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    write_text(flags.output, changes_markdown(read_json(Run, flags.before), read_json(Run, flags.after)))
    log.info("%s written", flags.output)


if __name__ == "__main__":
    main()
