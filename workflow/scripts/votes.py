"""What voters say of a run's clips: win rates, Bradley-Terry strengths, agreement with each other and with
every dimension, with intervals over prompts and voters.

raven-bench votes ada.json bob.json                 say it
raven-bench votes ada.json bob.json --add           and keep the files, so that the next report shows it
raven-bench votes *.json --results results/toybox/subsets/1a2b3c --json votes.json

The files come from the report: "Vote blind" among its clips, then "Export votes". Every file is checked
against the run: its clips, rows and prompts, and one file a voter. --add copies them to <results>/votes/,
whose files are what `raven-bench report` shows; files that lie there already count as well.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import command, run
from evaluation.records import Interval, ScoresTable, read_json, write_json
from evaluation.votes import VoteSummary, read_ballot, votes_of_run
from evaluation.words import numbered

RESULTS = Path(__file__).resolve().parents[2] / "results"


def cell(found: Interval | None, digits: int) -> str:
    """`62 [48, 75]`."""
    if found is None:
        return "-"
    return f"{found.mean:z.{digits}f} [{found.low:z.{digits}f}, {found.high:z.{digits}f}]"


def votes_text(found: VoteSummary, table: ScoresTable) -> str:
    """All of a summary as lines of plain text, in the order of the page."""
    labels = {row.row: row.label for row in table.rows}
    width = max((len(labels[row.row]) for row in found.rows), default=0)
    alpha = "not known" if found.alpha is None else f"{found.alpha:.2f}"
    lines = [
        f"Votes: {found.votes} on {numbered(found.prompts, 'prompt')}, {numbered(found.ties, 'tie')} among "
        "them. "
        f"Voters: {len(found.voters)} ({', '.join(found.voters)}).",
        f"Agreement between voters (Krippendorff's alpha, {numbered(found.shared, 'question')} answered by "
        f"several): {alpha}",
        "",
        "Won, % (ties as half), 95 % intervals over voters and prompts; Bradley-Terry strength, log-odds",
        *(
            f"  {labels[row.row]:{width}}  {cell(row.won, 0):16} {cell(row.strength, 2):22} "
            f"{numbered(row.votes, 'vote')}"
            for row in found.rows
        ),
        "",
        "Pairs, % for the first",
        *(
            f"  {labels[pair.a]} over {labels[pair.b]}: {cell(pair.won, 0)}, {numbered(pair.votes, 'vote')}"
            for pair in found.pairs
        ),
        "",
        "Dimensions: % of decided votes with the sign of the scores; rank correlation",
        *(
            f"  {one.dimension:24} {cell(one.agrees, 0):16} {cell(one.correlation, 2):22} "
            f"{numbered(one.votes, 'vote')}"
            for one in found.dimensions
            if one.votes
        ),
    ]
    return "\n".join(lines)


def merge_votes(flags: argparse.Namespace) -> None:
    """Check, merge and print; with --add, keep the files."""
    folder = flags.results or RESULTS / read_ballot(flags.votes[0]).suite
    given = {path.resolve() for path in flags.votes}
    kept = sorted((folder / "votes").glob("*.json")) if flags.add else []
    targets = {path: folder / "votes" / f"{read_ballot(path).voter}.json" for path in flags.votes}
    # A file that is given again takes the place of the one that was kept of its voter.
    others = [path for path in kept if path not in targets.values() and path.resolve() not in given]
    found = votes_of_run(folder, [*flags.votes, *others])
    if not found.votes:
        files = " and ".join(map(str, flags.votes))
        raise ValueError(f"{files}: no vote is in it; answer some pairs on the report's page, then export.")
    print(votes_text(found, read_json(ScoresTable, folder / "aggregate/scores.json")))
    if flags.json is not None:
        write_json(flags.json, found)
    if flags.add:
        for path, target in targets.items():
            target.parent.mkdir(exist_ok=True)
            if path.resolve() != target.resolve():
                shutil.copyfile(path, target)
        print(
            f"\nKept in {folder / 'votes'}: {len(targets)} of {len(targets) + len(others)}; the next report "
            "shows them."
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("votes", nargs="+", type=Path, metavar="FILE", help="a votes file of each voter")
    parser.add_argument("--results", type=Path, help="the run's folder; default: results/<suite>")
    parser.add_argument("--json", type=Path, help="write the summary as JSON too")
    parser.add_argument("--add", action="store_true", help="keep the files for the report")
    return run(parser, arguments, merge_votes)


if __name__ == "__main__":
    sys.exit(main())
