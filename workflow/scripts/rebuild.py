"""Build a report again from its run.json:
`python -m workflow.scripts.rebuild --run run.json --output report.html`.
"""

import argparse
import logging
from pathlib import Path

from evaluation.files import write_text
from evaluation.records import read_json
from reports.page import render
from reports.run import Run

log = logging.getLogger("rebuild")


def main() -> None:
    """Parse flags, read the record, write the page whole or not at all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--run", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    flags = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    page = render(read_json(Run, flags.run))
    write_text(flags.output, page)
    log.info("%s: %.1f MB", flags.output, len(page) / 1e6)


if __name__ == "__main__":
    main()
