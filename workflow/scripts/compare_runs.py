"""What changed between two runs, from their run.json: inputs, and scores with paired tests on common prompts.

python -m workflow.scripts.compare_runs --before old/run.json --after new/run.json --output changes.html

Inputs: code, environment locks and packages, prompts, weights, scorer, settings, machines. Scores: after
minus before of every row that both runs scored, on the prompts that both have, with Holm's correction. One
sentence on standard output says how many of each differ.
"""

import argparse
import logging
from pathlib import Path

from evaluation.files import write_text
from evaluation.records import read_json
from reports.changes import changes_of
from reports.changes_text import changes_html, changes_markdown
from reports.run import Run

log = logging.getLogger("compare_runs")


def main() -> None:
    """Parse flags, read both records, write the comparison whole or not at all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", required=True, type=Path, help="run.json of the earlier run")
    parser.add_argument("--after", required=True, type=Path, help="run.json of the later run")
    parser.add_argument(
        "--output", required=True, type=Path, help="file to write: .html for a page, .md for Markdown"
    )
    flags = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    if flags.output.suffix not in (".html", ".md"):
        parser.error(f"--output is {flags.output}; name a file that ends in .html or .md")
    changes = changes_of(read_json(Run, flags.before), read_json(Run, flags.after))
    write_text(
        flags.output, changes_html(changes) if flags.output.suffix == ".html" else changes_markdown(changes)
    )
    print(changes.summary)
    log.info("%s written", flags.output)


if __name__ == "__main__":
    main()
