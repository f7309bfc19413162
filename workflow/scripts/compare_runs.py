"""What changed between two runs, from their run.json: inputs, and scores with paired tests on common prompts.

raven-bench compare --before old/run.json --after new/run.json --output changes.html

Inputs: code, environment locks and packages, prompts, weights, scorer, settings, machines. Scores: after
minus before of every row that both runs scored, on the prompts that both have, with Holm's correction. One
sentence on standard output says how many of each differ. --output ends in .html for a page, .md for Markdown.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import command, run
from evaluation.files import write_text
from evaluation.records import read_json
from reports.changes import changes_of
from reports.changes_text import changes_html, changes_markdown
from reports.run import Run


def compare_runs(flags: argparse.Namespace) -> None:
    """Read both records and write the comparison whole."""
    if flags.output.suffix not in (".html", ".md"):
        raise ValueError(f"--output is {flags.output}; name a file that ends in .html or .md")
    changes = changes_of(read_json(Run, flags.before), read_json(Run, flags.after))
    as_text = changes_html if flags.output.suffix == ".html" else changes_markdown
    write_text(flags.output, as_text(changes))
    print(changes.summary)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "output")
    parser.add_argument("--before", required=True, type=Path, help="run.json of the earlier run")
    parser.add_argument("--after", required=True, type=Path, help="run.json of the later run")
    return run(parser, arguments, compare_runs)


if __name__ == "__main__":
    sys.exit(main())
