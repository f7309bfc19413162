"""Verify the scorer's fetched checkpoints and lay them out as VBench looks for them. Uses no network: `make
fetch` does.
"""

import argparse
import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import command, run
from evaluation.files import write_text
from evaluation.vbench.weights import SCORER_WEIGHTS, lay_out
from workflow.external.changed_files import remember_fetched
from workflow.fetching.downloads import verify_present
from workflow.planning.resources import read_lock, scorer_resources
from workflow.planning.suite_file import read_suite

log = logging.getLogger("vbench_weights")


def lay_out_weights(flags: argparse.Namespace) -> None:
    """Make the cache beside the output, and list in the output what is in it."""
    root, resources = Path.cwd(), Path("resources")
    entries = scorer_resources(root, read_suite(flags.config, root, flags.replace))
    found = verify_present(entries, resources, read_lock(resources))
    errors = list(found.errors)
    errors += [
        f"resources/{entry.path} is missing; run `make fetch`."
        for entry in entries
        if not (resources / entry.path).is_file()
    ]
    if errors:
        raise ValueError("\n".join(errors))
    names = [entry.path.removeprefix(f"{SCORER_WEIGHTS}/") for entry in entries]

    def save_tensors(source: Path, target: Path) -> None:
        saving = [flags.python, "-m", "evaluation.vbench.worker.networks", source, target]
        done = subprocess.run(saving, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError((done.stderr.strip().splitlines() or ["no reason given"])[-1])

    laid_out = lay_out(resources / SCORER_WEIGHTS, names, flags.output.parent / "cache", save_tensors)
    remember_fetched(flags.output.parent, resources, found.hashes)
    write_text(flags.output, json.dumps(laid_out, indent=1) + "\n")
    log.info("%d files are verified and where VBench looks for them", len(laid_out))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "config", "output")
    parser.add_argument("--replace", type=json.loads, default={}, help="JSON of top-level keys to replace")
    parser.add_argument("--python", required=True, type=Path, help="of VBench's environment")
    return run(parser, arguments, lay_out_weights)


if __name__ == "__main__":
    sys.exit(main())
