"""Compute every number of a bundle (raven-bench bundle) again, offline: hashes, means, intervals, p-values,
order and totals. One line says that all agree; the first difference is one sentence and exit code 1.

raven-bench verify toybox-bundle.zip
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import command, run
from reports.bundle import BundleIndex, check_bundled_clips, unpack
from reports.verification import VerifiedFolder, verify_folder


def verdict_line(bundle: Path, index: BundleIndex, verdict: VerifiedFolder) -> str:
    """What was found to agree, in one line."""
    table, made = verdict.run.table, str(verdict.record.provenance.get("commit"))[:12]
    scored = sum(len(result.clips) for found in verdict.run.results.values() for result in found.values())
    totals = sum(row.total is not None for row in table.rows)
    clips = "clips as the manifests say" if index.clips == "inside" else "no clips inside, their hashes are"
    page = "the page is what run.json gives"
    if verdict.other_code:
        page = f"not compared, since other code (commit {made}) wrote them: {', '.join(verdict.other_code)}"
    return (
        f"{bundle}: all agrees. {scored} clip scores give the {len(table.rows)} rows, {totals} totals, "
        f"{len(table.pairs)} paired tests and their order; {len(index.files)} files as hashed; {clips}; "
        f"{page}."
    )


def verify(flags: argparse.Namespace) -> None:
    """Raises ValueError with the bundle's name and the first difference."""
    root = Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory(prefix="raven-bench-verify-") as place:
        folder = Path(place)
        index = unpack(flags.bundle, folder)
        try:
            verdict = verify_folder(folder, root)
            check_bundled_clips(index.files, verdict.run)
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(f"{flags.bundle}: {str(error).replace(f'{folder}/', '')}") from error
    print(verdict_line(flags.bundle, index, verdict))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("bundle", type=Path, help="a zip that raven-bench bundle wrote")
    return run(parser, arguments, verify)


if __name__ == "__main__":
    sys.exit(main())
