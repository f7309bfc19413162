"""Pack a finished run into one archive for publication: report, run.json, scores of every clip, manifests,
logs and their hashes. Everything is computed again first, as raven-bench verify does for whoever gets it.

raven-bench bundle results/toybox
raven-bench bundle results/vbench --clips --output vbench.zip
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import command, run
from reports.bundle import pack
from reports.verification import verify_folder

log = logging.getLogger("bundle")


def bundle(flags: argparse.Namespace) -> None:
    """Verify, pack, and say what to publish beside the file: its hash."""
    root = Path(__file__).resolve().parents[2]
    found = verify_folder(flags.results, root).run
    output = flags.output or Path(f"{flags.results.resolve().name}-bundle.zip")
    packed = pack(flags.results, found, root, output, clips=flags.clips, keep_paths=flags.keep_paths)
    if packed.contents.scrubbed:
        log.info("machine paths were taken out of %s", ", ".join(packed.contents.scrubbed))
    print(
        f"{output}: {len(packed.contents.files)} files, {packed.size / 1e6:.1f} MB, clips: "
        f"{packed.contents.clips}\nsha256 {packed.sha256}\nWhoever gets it: raven-bench verify {output.name}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("results", type=Path, help="results/<suite>, or results/<suite>/subsets/<id>")
    parser.add_argument("--clips", action="store_true", help="the clips too, not their hashes alone")
    parser.add_argument("--output", type=Path, help="the archive (default: <suite>-bundle.zip, here)")
    parser.add_argument(
        "--keep-paths", action="store_true", help="pack files that name paths of this machine as they are"
    )
    return run(parser, arguments, bundle)


if __name__ == "__main__":
    sys.exit(main())
