"""Fetch a suite's files and verify them by sha256. With --verify, only verify what is there; with --plan,
only list them with sizes, sources and licences: both use no network.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import add_suite, command, run
from evaluation.files import write_text
from workflow.external.changed_files import remember_fetched
from workflow.fetching.checksums import FETCHED_FOLDER
from workflow.fetching.downloads import Fetched, FetchSources, fetch, plan_listing, verify_present
from workflow.planning.resources import (
    custom_resources,
    missing_resources,
    needed_resources,
    read_lock,
    scorer_resources,
    with_shards,
)
from workflow.planning.suite_file import RELEASED, read_suite

log = logging.getLogger("fetch")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__)
    add_suite(parser, "vbench", ahead=True, released=True)
    parser.add_argument("--mirror", type=Path, help="folder to ask first: <repo>/<file>, or as resources/")
    parser.add_argument("--verify", action="store_true", help="no network: verify what is there")
    parser.add_argument(
        "--plan", action="store_true", help="no network: list what would be fetched, and stop"
    )
    parser.add_argument("--dimension", help="with --verify: the files of this custom dimension alone")
    parser.add_argument("--output", type=Path, help="write the hashes of the suite's files here")
    parser.add_argument("--checkpoints", type=Path, help="write here what was found in every checkpoint")
    return run(parser, arguments, fetch_suite)


def fetch_suite(flags: argparse.Namespace) -> None:
    """Raises ValueError if a file is missing, wrong or not to be had. Each is in the log, others are kept."""
    for name in ("httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)  # it logs addresses, some of them signed
    root, folder = Path.cwd(), Path(FETCHED_FOLDER)
    suite = read_suite(flags.config, root, flags.replace)
    asked = [flags.dimension] if flags.dimension else []
    entries = custom_resources(root, suite, asked) if asked else needed_resources(root, suite)
    if flags.verify:
        released = flags.replace.get("weights") == RELEASED
        if screen := missing_resources(root, suite, needed=entries, released=released):
            raise ValueError(screen)
        fetched = verify_present(entries, folder, read_lock(folder))
    else:
        # these are verified by rules of their own, vbench_weights and custom_resources
        apart = scorer_resources(root, suite) + custom_resources(root, suite)
        entries += [entry for entry in apart if entry not in entries]
        if flags.plan:
            sys.stdout.write(plan_listing(entries, folder, sources_of(flags.mirror)) + "\n")
            return
        try:
            sources = sources_of(flags.mirror)
            fetched = fetch(entries, folder, sources)
            shards = [entry for entry in with_shards(root, entries) if entry not in entries]
            if shards:  # their names were not known before
                named = fetch(shards, folder, sources)
                entries += shards
                fetched = Fetched(fetched.hashes | named.hashes, fetched.errors + named.errors)
        except KeyboardInterrupt:
            log.error(
                "Stopped; what was brought stays, and the next `make fetch` goes on where this one was."
            )
            raise SystemExit(130) from None
    stop_at(fetched.errors, f"of {len(entries)} files are wrong or absent; the others are kept")
    if flags.checkpoints:
        from workflow.fetching.checkpoints import describe_checkpoints  # only here: imports torch

        checkpoints = describe_checkpoints(root, suite, entries, fetched.hashes, folder)
        stop_at(checkpoints.errors, "checkpoints are not what they should be")
        write_text(flags.checkpoints, json.dumps(checkpoints.described, indent=1, sort_keys=True) + "\n")
        for path, one in checkpoints.described.items():
            facts = (one["flavour"], one["tensors"], one["dtypes"], one["level"])
            log.info("%s: %s, %d tensors %s, level %s", path, *facts)
    if flags.output:
        hashes = {entry.path: fetched.hashes[entry.path] for entry in entries}
        if not asked:
            remember_fetched(flags.output.parent, folder, hashes)
        write_text(flags.output, json.dumps(hashes, indent=1) + "\n")
    log.info("%d files are present and verified", len(entries))


def sources_of(mirror: Path | None) -> FetchSources:
    """The mirror, VBench's cache where there is one, and offline if HF_HUB_OFFLINE says so.

    Raises ValueError if the mirror is no folder.
    """
    from huggingface_hub import constants  # only here: slow to import, and --verify needs none of it

    if mirror is not None and not mirror.is_dir():
        raise ValueError(
            f"The mirror {mirror} is no folder; pass one laid out as <repo>/<file> or as resources/ is."
        )
    cache = Path(os.environ.get("VBENCH_CACHE_DIR") or Path.home() / ".cache" / "vbench")
    return FetchSources(
        mirror=mirror, offline=constants.HF_HUB_OFFLINE, vbench_cache=cache if cache.is_dir() else None
    )


def stop_at(errors: Sequence[str], what: str) -> None:
    """Log all errors. Raises ValueError, saying how many there are of `what`, if there is one."""
    for error in errors:
        log.error("%s", error)
    if errors:
        raise ValueError(f"{len(errors)} {what}.")


if __name__ == "__main__":
    sys.exit(main())
