"""Prove the scorer's fetched checkpoints and lay them out as VBench looks for them. Uses no network:
`make fetch` does.
"""

import argparse
import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.files import write_text
from evaluation.vbench.weights import FETCHED, lay_out
from workflow.fetching.downloads import prove_all
from workflow.planning.resources import read_lock, scorer_resources
from workflow.planning.suite import read_suite

RESOURCES = Path("resources")

log = logging.getLogger("vbench_weights")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=Path, help="a suite's file")
    parser.add_argument("--replace", type=json.loads, default={}, help="JSON of top-level keys to replace")
    parser.add_argument("--python", required=True, type=Path, help="of VBench's environment")
    parser.add_argument(
        "--output", required=True, type=Path, help="weights.json; the cache is made beside it"
    )
    flags = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    entries = scorer_resources(Path.cwd(), read_suite(flags.config, Path.cwd(), flags.replace))
    proven = prove_all(entries, RESOURCES, read_lock(RESOURCES))
    absent = [entry.path for entry in entries if not (RESOURCES / entry.path).is_file()]
    faults = [*proven.faults, *(f"resources/{path} is missing; run `make fetch`." for path in absent)]
    for sentence in faults:
        log.error("%s", sentence)
    if faults:
        return 1
    names = [entry.path.removeprefix(f"{FETCHED}/") for entry in entries]

    def save_tensors(source: Path, target: Path) -> None:
        command = [flags.python, "-m", "evaluation.vbench.worker.amt_tensors", source, target]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError((done.stderr.strip().splitlines() or ["no reason given"])[-1])

    try:
        laid_out = lay_out(RESOURCES / FETCHED, names, flags.output.parent / "cache", save_tensors)
    except (ValueError, OSError) as fault:
        log.error("%s", fault)
        return 1
    write_text(flags.output, json.dumps(laid_out, indent=1) + "\n")
    log.info("%d files are proven and where VBench looks for them", len(laid_out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
