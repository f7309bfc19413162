"""Fetch a suite's files and prove them by sha256; with --verify, only prove what is there (no network)."""

import argparse
import json
import logging
import sys
from pathlib import Path

from evaluation.files import write_text
from workflow.fetching.downloads import Sources, fetch, prove_all
from workflow.planning.resources import missing_resources, needed_resources, read_lock, scorer_resources
from workflow.planning.suite import read_suite

RESOURCES = Path("resources")

log = logging.getLogger("fetch")


def sources_of(mirror: Path | None) -> Sources:
    """The mirror, and offline mode if HF_HUB_OFFLINE says so. Raises ValueError if the mirror is no folder."""
    from huggingface_hub import constants  # only here: slow to import, and --verify needs none of it

    if mirror is not None and not mirror.is_dir():
        raise ValueError(
            f"The mirror {mirror} is no folder; pass one laid out as <repo>/<file> or as resources/ is."
        )
    return Sources(mirror=mirror, offline=constants.HF_HUB_OFFLINE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=Path, help="a suite's file")
    parser.add_argument(
        "--replace",
        type=json.loads,
        default={},
        help='JSON of top-level keys to replace, {"weights": "released"}',
    )
    parser.add_argument(
        "--mirror", type=Path, help="folder asked before the network: <repo>/<file>, or as resources/"
    )
    parser.add_argument("--verify", action="store_true", help="no network: prove what is there")
    parser.add_argument("--output", type=Path, help="write the hashes of the suite's files here")
    parser.add_argument("--checkpoints", type=Path, help="write here what was found in every checkpoint")
    flags = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    for name in ("httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)  # it logs addresses, some of them signed
    root = Path.cwd()
    suite = read_suite(flags.config, root, flags.replace)
    entries = needed_resources(root, suite)
    if not flags.verify:
        entries += scorer_resources(root, suite)  # proven by a rule of their own, vbench_weights
    if flags.verify and (screen := missing_resources(root, suite)):
        log.error("%s", screen)
        return 1
    try:
        if flags.verify:
            fetched = prove_all(entries, RESOURCES, read_lock(RESOURCES))
        else:
            fetched = fetch(entries, RESOURCES, sources_of(flags.mirror))
    except ValueError as fault:
        log.error("%s", fault)
        return 1
    except KeyboardInterrupt:
        log.error("Stopped; what was brought stays, and the next `make fetch` goes on where this one was.")
        return 130
    for sentence in fetched.faults:
        log.error("%s", sentence)
    if fetched.faults:
        log.error(
            "%d of %d files are wrong or absent; the others are kept.", len(fetched.faults), len(entries)
        )
        return 1
    if flags.checkpoints:
        from workflow.fetching.checkpoints import describe_checkpoints  # only here: imports torch

        checkpoints = describe_checkpoints(root, suite, entries, fetched.hashes, RESOURCES)
        for sentence in checkpoints.faults:
            log.error("%s", sentence)
        if checkpoints.faults:
            return 1
        write_text(flags.checkpoints, json.dumps(checkpoints.described, indent=1, sort_keys=True) + "\n")
        for path, one in checkpoints.described.items():
            log.info(
                "%s: %s, %d tensors %s, level %s",
                path,
                one["flavour"],
                one["tensors"],
                one["dtypes"],
                one["level"],
            )
    if flags.output:
        hashes = {entry.path: fetched.hashes[entry.path] for entry in entries}
        write_text(flags.output, json.dumps(hashes, indent=1) + "\n")
    log.info("%d files are present and proven", len(entries))
    return 0


if __name__ == "__main__":
    sys.exit(main())
