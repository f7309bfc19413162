"""Pack a row's official results as VBench's leaderboard takes them, check such a zip, or print the totals of
any results. Uses no network.

raven-bench leaderboard --results results/vbench/scores/raven/*.json --output raven.zip
raven-bench leaderboard --check raven.zip      # read as VBench's own script reads a zip
raven-bench leaderboard --totals anybodys.zip results/vbench/scores/raven
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.aggregate import totals
from evaluation.command import command, run
from evaluation.dimensions import NAMES
from evaluation.files import file_sha256, load_json, utf8_text, written_whole
from evaluation.metrics import metrics
from evaluation.records import DimensionResult, read_json
from evaluation.vbench.leaderboard import check_leaderboard, leaderboard_zip, official_scores, passed_over

log = logging.getLogger("leaderboard")
SHOWN_NAMES_PASSED = 5


def totals_text(paths: Sequence[Path]) -> str:
    """A table of the results in each path: Total, Quality, Semantic, then every dimension, raw and normalised
    (percent). Raises ValueError, naming what is missing: VBench's own script counts that as 0.
    """
    known = metrics("vbench")
    lines: list[str] = []
    for path in paths:
        raw = {name: 100.0 * score for name, score in official_scores(path).items()}
        normalised = {name: known[name].normalise(value) for name, value in raw.items()}
        try:
            found = totals({name: np.asarray(value) for name, value in normalised.items()})
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        lines += [str(path), *(f"  {name:24}{float(value):8.2f}" for name, value in found._asdict().items())]
        lines += [f"  {name:24}{normalised[name]:8.2f}  (raw {raw[name]:.2f})" for name in NAMES]
    return "\n".join(lines)


def refuse_others(paths: Sequence[Path]) -> None:
    """Compare VBench's JSON of a row with the records beside them. Raises ValueError naming a file that was
    edited, or is of another row or dimension than the others.
    """
    rows: dict[str, Path] = {}
    for path in paths:
        record = path.with_name(f"{path.stem}.result.json")
        if record.is_file():
            said = read_json(DimensionResult, record)
            rows.setdefault(said.row, path)
            if (said.dimension, said.official_sha256) != (path.stem, file_sha256(path)):
                raise ValueError(
                    f"{path} is not the file that {record.name} was written with: it was edited, swapped or "
                    "damaged; score it again."
                )
    if len(rows) > 1:
        found = ", ".join(f"{path} of {row}" for row, path in rows.items())
        raise ValueError(f"The results are of {len(rows)} rows ({found}); give those of one row.")


def pack_or_check(flags: argparse.Namespace) -> None:
    """Write the zip, print totals, or raise ValueError with everything that is wrong."""
    if (flags.output is None) != (flags.results is None) or [
        flags.check, flags.output, flags.totals
    ].count(None) != 2:  # fmt: skip
        raise ValueError("give --results and --output, or --check, or --totals.")
    if flags.totals is not None:
        print(totals_text(flags.totals))
        return
    if flags.check is not None:
        content = flags.check.read_bytes()
        if errors := check_leaderboard(content):
            raise ValueError("\n".join(f"{flags.check}: {error}" for error in errors))
        others = [name[:80] for name in passed_over(content)]
        more = f" and {len(others) - SHOWN_NAMES_PASSED} more" if len(others) > SHOWN_NAMES_PASSED else ""
        log.info(
            "%s is complete. It was read as VBench's scripts/cal_final_score.py does: JSON at the top and "
            "one folder below, without names that begin with . or __; passed over: %s%s",
            flags.check, ", ".join(map(repr, others[:SHOWN_NAMES_PASSED])) or "nothing", more,
        )  # fmt: skip
        return
    refuse_others([path for path in flags.results if path.stem in NAMES])
    results = {
        path.stem: utf8_text(path.read_bytes(), str(path)) for path in flags.results if path.stem in NAMES
    }
    content = leaderboard_zip(results)
    with written_whole(flags.output) as unfinished:
        unfinished.write_bytes(content)
    scores = {name: load_json(text, name)[name][0] for name, text in results.items()}
    log.info("%s: %s", flags.output, json.dumps(scores))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument(
        "--results", type=Path, nargs="+", help="<dimension>.json, all sixteen; other files are passed over"
    )
    parser.add_argument("--output", type=Path)
    parser.add_argument("--check", type=Path)
    parser.add_argument(
        "--totals", type=Path, nargs="+", help="zips, folders or files of anybody's VBench results"
    )
    return run(parser, arguments, pack_or_check)


if __name__ == "__main__":
    sys.exit(main())
