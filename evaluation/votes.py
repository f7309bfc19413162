"""Blind votes between clips: the file that a voter exports, its checks, and what all voters say together.

The report's page writes a Ballot. It belongs to a run: to the clips that its manifests name.
"""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from evaluation.aggregate import RANKED_KINDS
from evaluation.files import file_sha256
from evaluation.metrics import Metric, metrics
from evaluation.records import (
    DimensionResult,
    Identifier,
    Interval,
    Prompt,
    Record,
    ScoresTable,
    Sha256,
    VersionedRecord,
    clip_id,
    read_json,
    read_jsonl,
)
from evaluation.vote_statistics import (
    Clusters,
    all_can_be_compared,
    bradley_terry,
    codes,
    correlation_interval,
    krippendorff_alpha,
    share_interval,
    strength_intervals,
)

OUTCOMES = {"left": 1.0, "tie": 0.5, "right": 0.0}
"""Share of a vote that goes to the clip on the left."""
FEW_VOTERS = 5
"""Below so many voters the intervals say little about other people."""

Nickname = Annotated[str, Field(pattern=r"^\w[\w .-]*$", max_length=40)]


class Vote(Record):
    """One answer to: which of these two clips is better?"""

    prompt: Identifier
    sample: Annotated[int, Field(ge=0)]
    left: Identifier
    """The row whose clip was on the left; the voter saw no name."""
    right: Identifier
    answer: Literal["left", "right", "tie"]
    seconds: Annotated[float, Field(ge=0)]
    """From when both clips were shown to the answer."""


class Ballot(VersionedRecord):
    """The votes file of one voter. A browser that cannot hash (a page from plain http) writes no checksum."""

    checksum_required: ClassVar = False
    suite: Identifier
    run: Sha256
    """See run_id."""
    clips: dict[Identifier, Sha256]
    """Sha256 of the manifest of every row that could be voted on."""
    voter: Nickname
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    """Of the sides, and of every second question."""
    shown: Literal["clips", "copies"]
    """Whether the voter saw the clips or the smaller copies inside a page."""
    votes: tuple[Vote, ...]


class RowVotes(Record):
    """What people say of one row."""

    row: Identifier
    votes: int
    won: Interval | None
    """Percent of its votes, ties as half. None, as every interval here, if too little was voted on."""
    strength: Interval | None
    """Bradley-Terry's, in log-odds; the mean over rows is 0."""


class PairVotes(Record):
    """What people say of two rows."""

    a: Identifier
    b: Identifier
    votes: int
    won: Interval | None
    """Percent of votes for `a`, ties as half."""


class DimensionVotes(Record):
    """How far a dimension's scores of the same two clips agree with people."""

    dimension: str
    votes: int
    """Of clips that both have a score."""
    agrees: Interval | None
    """Percent of the votes that are no ties in which the preferred clip has the higher score; equal scores
    count half."""
    correlation: Interval | None
    """Rank correlation of the difference in score with the answer, see vote_statistics.rank_correlation."""


class VoteSummary(Record):
    """What all voters say."""

    voters: tuple[str, ...]
    copies: tuple[str, ...]
    """Voters who saw smaller copies of the clips."""
    votes: int
    ties: int
    prompts: int
    rows: tuple[RowVotes, ...]
    """Most preferred first."""
    pairs: tuple[PairVotes, ...]
    alpha: float | None
    """Krippendorff's, of answers to the same question. None if no question was answered twice, or all answers
    are the same."""
    shared: int
    """Questions that several voters answered."""
    dimensions: tuple[DimensionVotes, ...]


ClipScores = Mapping[str, Mapping[str, Mapping[str, float]]]
"""row -> dimension -> clip id -> normalised score."""


def run_id(suite: str, clips: Mapping[str, str]) -> str:
    """The id of a run's clips. clips: row -> sha256 of its manifest."""
    text = json.dumps([suite, sorted(clips.items())], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def manifest_digests(folder: Path, table: ScoresTable) -> dict[str, str]:
    """Sha256 of the manifest of every row that is voted on: the ranked ones that have clips."""
    return {
        row.row: file_sha256(folder / "clips" / row.row / "manifest.jsonl")
        for row in table.rows
        if row.kind in RANKED_KINDS and row.kind != "results" and row.dimensions
    }


def check_ballot(
    ballot: Ballot, where: str, suite: str, clips: Mapping[str, str], prompts: Mapping[str, int]
) -> None:
    """Raise ValueError unless the ballot is about clips of this run. prompts: id -> samples.

    Rows that were added since do no harm: the rows that were voted on must be the same.
    """
    if ballot.suite != suite:
        raise ValueError(
            f"{where} has votes on suite {ballot.suite}, expected {suite}; give the votes of this run."
        )
    if ballot.run != run_id(ballot.suite, ballot.clips):
        raise ValueError(
            f"{where} names run {ballot.run[:12]}, which its own clips do not give: the file was edited; "
            "export it from the page again."
        )
    seen: set[tuple[str, int, frozenset[str]]] = set()
    for number, vote in enumerate(ballot.votes, 1):
        place = f"Vote {number} of {where}"
        for row in (vote.left, vote.right):
            if row not in clips or row not in ballot.clips:
                raise ValueError(
                    f"{place} is about row {row}, which is not voted on in this run ({', '.join(clips)}); "
                    "give the votes of this run."
                )
            if clips[row] != ballot.clips[row]:
                raise ValueError(
                    f"{where} has votes on other clips of row {row}: it is of run {ballot.run[:12]}, this "
                    f"is run {run_id(suite, clips)[:12]}; give the votes of this run."
                )
        if vote.left == vote.right:
            raise ValueError(
                f"{place} has row {vote.left} on both sides; export the file from the page again."
            )
        if vote.sample >= prompts.get(vote.prompt, 0):
            raise ValueError(
                f"{place} is about prompt {vote.prompt}, sample {vote.sample}, which this run does not have; "
                "give the votes of this run."
            )
        question = (vote.prompt, vote.sample, frozenset((vote.left, vote.right)))
        if question in seen:
            raise ValueError(
                f"{place} is the second one of {ballot.voter} on {vote.prompt}-{vote.sample} of {vote.left} "
                f"and {vote.right}; a voter answers once: export the file from the page again."
            )
        seen.add(question)


def read_ballot(path: Path) -> Ballot:
    """One votes file. Raises ValueError or FileNotFoundError, naming it."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; name votes files that the report's page exported.")
    try:
        return read_json(Ballot, path)
    except ValueError as error:
        said = str(error).rsplit(";", 1)[0].rstrip(".").replace("its stage wrote it", "the page wrote it")
        where = "" if str(path) in said else f"{path} is no votes file: "
        raise ValueError(f"{where}{said}; export it from the report's page again.") from error


def read_ballots(
    files: Sequence[Path], suite: str, clips: Mapping[str, str], prompts: Sequence[Prompt]
) -> list[Ballot]:
    """The votes files of a run, checked. clips: row -> sha256 of its manifest.

    Raises ValueError naming the file that is wrong, or FileNotFoundError.
    """
    samples = {prompt.id: prompt.samples for prompt in prompts}
    found: dict[str, Path] = {}
    ballots = []
    for path in files:
        ballot = read_ballot(path)
        check_ballot(ballot, str(path), suite, clips, samples)
        if ballot.voter in found:
            raise ValueError(
                f"{path} and {found[ballot.voter]} are both by {ballot.voter!r}; give the later file of a "
                "voter alone, or have one of two people of that name vote under another."
            )
        found[ballot.voter] = path
        ballots.append(ballot)
    return ballots


def summarise(ballots: Sequence[Ballot], scores: ClipScores, order: Sequence[str] = ()) -> VoteSummary:
    """What the votes say together. order: names of dimensions, as they are listed."""
    cast = [(ballot.voter, vote) for ballot in ballots for vote in ballot.votes]
    clusters = Clusters(codes(voter for voter, _ in cast), codes(vote.prompt for _, vote in cast))
    # Every vote with its two rows in alphabetical order: the outcome is the first one's share.
    names = sorted({row for _, vote in cast for row in (vote.left, vote.right)})
    pairs = [tuple(sorted((vote.left, vote.right))) for _, vote in cast]
    outcomes = np.array([
        OUTCOMES[vote.answer] if vote.left == pair[0] else 1.0 - OUTCOMES[vote.answer]
        for (_, vote), pair in zip(cast, pairs, strict=True)
    ])  # fmt: skip
    first, second = (np.array([names.index(pair[side]) for pair in pairs], dtype=np.intp) for side in (0, 1))
    strengths: Sequence[Interval | None] = [None] * len(names)
    if cast and all_can_be_compared(first, second, outcomes, len(names)):
        strengths = strength_intervals(*bradley_terry(first, second, outcomes, len(names)), clusters)
    rows = []
    for number, row in enumerate(names):
        own = (first == number) | (second == number)
        shares = np.where(first == number, outcomes, 1.0 - outcomes)[own]
        won = share_interval(shares, clusters.take(own))
        rows.append(RowVotes(row=row, votes=int(own.sum()), won=won, strength=strengths[number]))
    found = []
    for a, b in itertools.combinations(range(len(names)), 2):
        own = (first == a) & (second == b)
        if own.any():
            won = share_interval(outcomes[own], clusters.take(own))
            found.append(PairVotes(a=names[a], b=names[b], votes=int(own.sum()), won=won))
    units: dict[tuple[str, int, tuple[str, ...]], list[float]] = {}
    for (_, vote), pair, outcome in zip(cast, pairs, outcomes, strict=True):
        units.setdefault((vote.prompt, vote.sample, pair), []).append(float(outcome))
    return VoteSummary(
        voters=tuple(ballot.voter for ballot in ballots),
        copies=tuple(ballot.voter for ballot in ballots if ballot.shown == "copies"),
        votes=len(cast),
        ties=int((outcomes == 0.5).sum()),
        prompts=len({vote.prompt for _, vote in cast}),
        rows=tuple(sorted(rows, key=lambda row: (row.won is None, -row.won.mean if row.won else 0, row.row))),
        pairs=tuple(found),
        alpha=krippendorff_alpha(units.values()),
        shared=sum(len(values) > 1 for values in units.values()),
        dimensions=tuple(
            _dimension_votes(name, [vote for _, vote in cast], pairs, outcomes, clusters, scores)
            for name in order
        ),
    )


def _dimension_votes(
    name: str,
    votes: Sequence[Vote],
    pairs: Sequence[tuple[str, ...]],
    outcomes: np.ndarray,
    clusters: Clusters,
    scores: ClipScores,
) -> DimensionVotes:
    values = []
    for vote, pair in zip(votes, pairs, strict=True):
        clip = clip_id(vote.prompt, vote.sample)
        a, b = (scores.get(row, {}).get(name, {}).get(clip, np.nan) for row in pair)
        values.append(a - b)
    differences = np.array(values, dtype=float)
    scored = ~np.isnan(differences)
    decided = scored & (outcomes != 0.5)
    same_sign = 0.5 + 0.5 * np.sign(differences[decided]) * np.sign(outcomes[decided] - 0.5)
    answers = 2 * outcomes[scored] - 1
    return DimensionVotes(
        dimension=name,
        votes=int(scored.sum()),
        agrees=share_interval(same_sign, clusters.take(decided)),
        correlation=correlation_interval(differences[scored], answers, clusters.take(scored)),
    )


def clip_scores(folder: Path, rows: Sequence[str], known: Mapping[str, Metric]) -> ClipScores:
    """Normalised scores of clips. folder: of the run, results/<suite>."""
    return {
        row: {
            name: {
                clip.clip_id: metric.normalise(metric.factor * clip.value)
                for clip in read_json(DimensionResult, path).clips
            }
            for name, metric in known.items()
            if (path := folder / f"scores/{row}/{name}.result.json").is_file()
        }
        for row in rows
    }


def votes_of_run(folder: Path, files: Sequence[Path]) -> VoteSummary:
    """What votes files say of a finished run.

    folder: results/<suite>, or a subset's folder. Raises ValueError for files that are not of this run, and
    FileNotFoundError for an unfinished run.
    """
    path = folder / "aggregate/scores.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: these votes are about a run that is not here; build its report first "
            "(raven-bench report), or name its folder with --results."
        )
    table = read_json(ScoresTable, path)
    prompts = read_jsonl(Prompt, folder / "prompts/prompts.jsonl")
    ballots = read_ballots(files, table.suite, manifest_digests(folder, table), prompts)
    known = metrics(table.benchmark, table.custom)
    voted = sorted({row for ballot in ballots for vote in ballot.votes for row in (vote.left, vote.right)})
    listed = (*table.dimensions, *(custom.name for custom in table.custom))
    return summarise(ballots, clip_scores(folder, voted, known), listed)
