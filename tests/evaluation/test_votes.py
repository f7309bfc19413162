"""Votes files and what they say together: closed forms, worked examples of papers, refusals, coverage."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import spearmanr

from evaluation.records import Prompt, parse
from evaluation.vote_statistics import (
    Clusters,
    all_can_be_compared,
    bradley_terry,
    codes,
    krippendorff_alpha,
    rank_correlation,
    share_interval,
    strength_intervals,
    two_way_error,
)
from evaluation.votes import Ballot, VoteSummary, read_ballots, run_id, summarise

CLIPS = {"a": "1" * 64, "b": "2" * 64, "c": "3" * 64}
PROMPTS = [
    Prompt(id=f"p{n}", prompt="x", extended="x", dimensions=("color",), samples=2, facts={})
    for n in range(12)
]


def vote(answer: str, prompt: int = 0, left: str = "a", right: str = "b", sample: int = 0) -> dict:
    return {"prompt": f"p{prompt}", "sample": sample, "left": left, "right": right, "answer": answer,
            "seconds": 2.5}  # fmt: skip


def ballot(name: str, votes: list[dict], **changes: object) -> dict:
    return {
        "schema_version": 1, "suite": "toybox", "run": run_id("toybox", CLIPS), "clips": CLIPS,
        "voter": name, "seed": 7, "shown": "clips", "votes": votes, **changes,
    }  # fmt: skip


def summary(*ballots: dict, scores: dict | None = None) -> VoteSummary:
    made = [parse(Ballot, json.dumps(each), "x") for each in ballots]
    return summarise(made, scores or {}, ["color"] if scores else [])


def files(folder: Path, *ballots: dict) -> list[Path]:
    paths = []
    for number, each in enumerate(ballots):
        paths.append(folder / f"{number}.json")
        paths[-1].write_text(json.dumps(each), encoding="utf-8")
    return paths


def test_a_side_is_not_a_row() -> None:
    """The same preference counts the same, on whichever side its clip was."""
    one = summary(ballot("ada", [vote("left", n) for n in range(6)]))
    turned = [vote("left", n) if n % 2 else vote("right", n, "b", "a") for n in range(6)]
    assert summary(ballot("ada", turned)) == one
    (pair,) = one.pairs
    assert (pair.a, pair.b, pair.votes) == ("a", "b", 6)
    assert pair.won is not None and pair.won.mean == 100


def test_all_votes_for_one() -> None:
    """Wilson's interval of n of n, n / (n + z^2), is not of zero width, and no strength is made up; of
    several voters, it is that of so many voters.
    """
    votes = [vote("left", n) for n in range(12)]
    found = summary(ballot("ada", votes))
    for n, each in ((12, found), (3, summary(*(ballot(name, votes) for name in ("ada", "bob", "cy"))))):
        won = each.rows[0].won
        assert won is not None and (won.mean, won.high) == (100, pytest.approx(100))
        assert won.low == pytest.approx(100 * n / (n + 1.959964**2), abs=1e-4)
    assert [row.row for row in found.rows] == ["a", "b"]
    assert [row.strength for row in found.rows] == [None, None]
    assert found.alpha is None


def test_only_ties() -> None:
    """Everything is 50 %, the interval has a width, and a strength that cannot have one is left out."""
    found = summary(ballot("ada", [vote("tie", n, right=row) for n in range(12) for row in "bc"]))
    assert found.ties == found.votes == 24
    for row in found.rows:
        assert row.won is not None and row.won.mean == 50
        assert row.won.low < 40 < 60 < row.won.high
        assert row.strength is None


def test_two_voters_who_disagree_on_everything() -> None:
    """Half each; agreement is below chance, by the closed form 1 - (n - 1) / (n / 2) of n values; little
    follows for other voters.
    """
    ada, bob = ([vote(answer, n) for n in range(6)] for answer in ("left", "right"))
    found = summary(ballot("ada", ada), ballot("bob", bob))
    assert found.alpha == pytest.approx(1 - 11 / 6)
    assert (found.shared, found.prompts) == (6, 6)
    won = found.rows[0].won
    assert won is not None and won.mean == 50
    assert won.high - won.low > 95


def test_nothing_is_said_of_one_prompt_or_no_vote() -> None:
    """From one prompt nothing follows for others."""
    assert summary(ballot("ada", [vote("left")])).rows[0].won is None
    empty = summary(ballot("ada", []))
    assert (empty.votes, empty.rows, empty.alpha) == (0, (), None)


def test_a_dimension_agrees_with_people() -> None:
    """Fraction of votes with the sign of the scores: ties of people are left out, equal scores are half."""
    better = {n: {f"p{n}-0": 60.0} for n in range(4)}
    scores = {
        "a": {"color": {k: v for each in better.values() for k, v in each.items()}},
        "b": {"color": {"p0-0": 50.0, "p1-0": 70.0, "p2-0": 60.0}},
    }
    votes = [vote("left", 0), vote("left", 1), vote("left", 2), vote("left", 3), vote("tie", 0, sample=1)]
    (color,) = summary(ballot("ada", votes), scores=scores).dimensions
    assert color.correlation is not None and color.correlation.high > color.correlation.low
    assert color.votes == 3
    assert color.agrees is not None and color.agrees.mean == pytest.approx(50)


def test_alpha_is_that_of_krippendorffs_example() -> None:
    """Krippendorff (2011), the data of section C to E, four observers and twelve units: interval metric
    0.849.
    """
    gone = float("nan")
    observers = np.array([
        [1, 2, 3, 3, 2, 1, 4, 1, 2, gone, gone, gone],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, gone, 3],
        [gone, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, gone],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, gone],
    ])  # fmt: skip
    found = krippendorff_alpha([unit[~np.isnan(unit)] for unit in observers.T])
    assert found == pytest.approx(0.849, abs=0.0005)


BASEBALL = """Milwaukee 0 7 9 7 7 9 11 Detroit 6 0 7 5 11 9 9 Toronto 4 6 0 7 7 8 12 New_York 6 8 6 0 6 7 10
Boston 6 2 6 7 0 7 12 Cleveland 4 4 5 6 6 0 6 Baltimore 2 4 1 3 1 7 0"""
"""Wins over Milwaukee, Detroit, ... in 1987, Agresti, Categorical Data Analysis (2002), table 10.10."""


def test_bradley_terry_is_that_of_agrestis_example() -> None:
    """Agresti (2002), section 10.6.2: strengths over Baltimore 1.58, 1.44, 1.29, 1.25, 1.11 and 0.68."""
    wins = np.array([word for word in BASEBALL.split() if word.isdigit()], dtype=int).reshape(7, 7)
    games = [(i, j) for i in range(7) for j in range(7) for _ in range(wins[i, j])]
    first, second = (np.array([game[side] for game in games]) for side in (0, 1))
    found, influence = bradley_terry(first, second, np.ones(len(games)), 7)
    assert (found - found[6])[:6] == pytest.approx([1.58, 1.44, 1.29, 1.25, 1.11, 0.68], abs=0.005)
    assert found.sum() == pytest.approx(0)
    assert influence.sum(axis=0) == pytest.approx(np.zeros(7), abs=1e-8)


@pytest.mark.parametrize(
    ("votes", "exist"),
    [
        ([(0, 1, 1.0), (1, 2, 1.0), (2, 0, 1.0)], True),
        ([(0, 1, 0.5), (1, 2, 0.5)], True),
        ([(0, 1, 1.0), (1, 2, 1.0), (0, 2, 1.0)], False),
        ([(0, 1, 0.5)], False),
    ],
    ids=["circle", "ties", "one always wins", "one without votes"],
)
def test_strengths_exist_if_no_group_always_wins(votes: list[tuple[int, int, float]], exist: bool) -> None:
    """Ford's condition: otherwise a strength would be infinite or arbitrary."""
    first, second, outcomes = (np.array(each) for each in zip(*votes, strict=True))
    assert all_can_be_compared(first, second, outcomes, 3) is exist


def test_a_two_way_error_is_that_of_the_larger_source() -> None:
    """Where all votes of a voter are alike it is that of the voters' means, and the other way round."""
    voters, prompts = (grid.ravel() for grid in np.meshgrid(range(4), range(5), indexing="ij"))
    by_voter = np.array([0.0, 0.2, 0.5, 0.9])
    found = two_way_error((by_voter[voters] - by_voter.mean()) / 20, Clusters(voters, prompts))
    assert found is not None and found.se == pytest.approx(by_voter.std(ddof=1) / 2)
    assert found.df == 3
    turned = two_way_error((by_voter[voters] - by_voter.mean()) / 20, Clusters(prompts, voters))
    assert turned == pytest.approx(found)


def test_a_rank_correlation_is_spearmans_of_votes_both_ways_round() -> None:
    """Against scipy; its influence values against leaving each vote out."""
    rng = np.random.default_rng(0)
    d = rng.normal(size=60).round(1)
    y = np.sign(d + 1.5 * rng.normal(size=60)) * (rng.random(60) < 0.8)
    value, influence = rank_correlation(d, y) or (0, np.zeros(60))
    assert value == pytest.approx(spearmanr(np.r_[d, -d], np.r_[y, -y]).statistic)
    less = [rank_correlation(np.delete(d, n), np.delete(y, n)) for n in range(60)]
    assert influence == pytest.approx([59 / 60 * (value - each[0]) for each in less if each], abs=1e-3)
    assert rank_correlation(np.zeros(3), np.ones(3)) is None


WRONG = {
    "another suite": ({"suite": "tiny"}, [vote("left")], "votes on suite tiny, expected toybox"),
    "another run": ({"run": "0" * 64}, [vote("left")], "names run 000000000000"),
    "other clips": (
        {"clips": CLIPS | {"b": "9" * 64}, "run": run_id("toybox", CLIPS | {"b": "9" * 64})},
        [vote("left")],
        "other clips of row b",
    ),
    "unknown row": ({}, [vote("left", right="z")], "Vote 1 of .* is about row z, which is not voted on"),
    "itself": ({}, [vote("left"), vote("left", 1, right="a")], "Vote 2 of .* has row a on both sides"),
    "unknown prompt": ({}, [vote("left", 99)], "prompt p99, sample 0, which this run does not have"),
    "unknown sample": ({}, [vote("left", 1, sample=2)], "prompt p1, sample 2, which this run"),
    "twice": ({}, [vote("left"), vote("tie", 0, "b", "a")], "Vote 2 of .* is the second one of ada"),
    "answer": ({}, [vote("both")], "votes.0.answer: Input should be 'left', 'right' or 'tie'"),
    "seconds": ({}, [vote("left") | {"seconds": -1}], "votes.0.seconds"),
    "more keys": ({"names": 1}, [vote("left")], "names: Extra inputs are not permitted"),
    "voter": ({"voter": "../ada"}, [vote("left")], "voter: String should match"),
    "version": ({"schema_version": 2}, [vote("left")], "has schema_version 2, expected 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_votes_are_refused(tmp_path: Path, case: str) -> None:
    """One sentence that names the file, and no traceback."""
    changes, votes, says = WRONG[case]
    paths = files(tmp_path, ballot("ada", votes, **changes))
    with pytest.raises(ValueError, match=says) as raised:
        read_ballots(paths, "toybox", CLIPS, PROMPTS)
    assert "0.json" in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"{}", b"votes\n", b"\xff\xfe{", b"[]"])
def test_what_is_no_votes_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """Whatever somebody sends is one sentence with the file's name, and says what to do."""
    path = tmp_path / "sent.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"sent\.json .*export it from the report's page again"):
        read_ballots([path], "toybox", CLIPS, PROMPTS)
    with pytest.raises(FileNotFoundError, match="name votes files"):
        read_ballots([tmp_path / "none.json"], "toybox", CLIPS, PROMPTS)


def test_a_voter_has_one_file(tmp_path: Path) -> None:
    """A file that was exported twice must not count twice."""
    paths = files(tmp_path, ballot("ada", [vote("left")]), ballot("ada", [vote("left"), vote("tie", 1)]))
    with pytest.raises(ValueError, match=r"1\.json and .*0\.json are both by 'ada'"):
        read_ballots(paths, "toybox", CLIPS, PROMPTS)


def test_rows_that_were_added_since_leave_votes_as_they_are(tmp_path: Path) -> None:
    """A new baseline does not void the votes on the others."""
    paths = files(tmp_path, ballot("ada", [vote("left")]))
    assert read_ballots(paths, "toybox", CLIPS | {"new": "4" * 64}, PROMPTS)[0].voter == "ada"
    with pytest.raises(ValueError, match="other clips of row a"):
        read_ballots(paths, "toybox", CLIPS | {"a": "4" * 64}, PROMPTS)


@pytest.mark.slow
@pytest.mark.parametrize("taste_sd", [0.4, 0.8])
@pytest.mark.parametrize(("voters", "prompts"), [(3, 30), (6, 30), (12, 60)])
def test_intervals_over_voters_and_prompts_hold_the_truth(voters: int, prompts: int, taste_sd: float) -> None:
    """500 simulated studies with tastes of voters and prompts of their own: 95 % intervals of a win rate and
    of Bradley-Terry strengths hold the truth 95 to 98 times of 100 from six voters up, and more with three.
    Two standard errors of 500 draws are 2.
    """
    rng = np.random.default_rng(1)
    truth = np.array([0.6, 0.0, -0.6])
    pairs = np.array([(0, 1), (0, 2), (1, 2)])
    held = np.zeros(4)
    target = None
    for _ in range(500):
        taste = rng.normal(0, taste_sd, (voters, 3))[:, None] + rng.normal(0, 0.7, (prompts, 3))[None]
        voter, prompt = (grid.ravel() for grid in np.meshgrid(range(voters), range(prompts), indexing="ij"))
        pair = pairs[rng.integers(0, 3, len(voter))]
        utility = truth + taste[voter, prompt]
        seen = np.take_along_axis(utility, pair, axis=1)
        outcomes = (rng.random(len(voter)) < expit(seen[:, 0] - seen[:, 1])).astype(float)
        outcomes[rng.random(len(voter)) < 0.1] = 0.5
        if target is None:
            target = _population(truth, pairs, taste_sd)
        clusters = Clusters(codes(voter), codes(prompt))
        strengths, influence = bradley_terry(pair[:, 0], pair[:, 1], outcomes, 3)
        intervals = strength_intervals(strengths, influence, clusters)
        own = (pair == [0, 1]).all(axis=1)
        intervals.append(share_interval(outcomes[own], clusters.take(own)))
        held += [
            each is not None and each.low <= aim <= each.high
            for each, aim in zip(intervals, target, strict=True)
        ]
    assert (held / 500 >= 0.93).all(), held / 500


def _population(truth: np.ndarray, pairs: np.ndarray, taste_sd: float) -> list[float]:
    """What endless voters and prompts would give: strengths of the mean outcomes, win rate of 0 over 1."""
    rng = np.random.default_rng(0)
    spread = rng.normal(0, (2 * (taste_sd**2 + 0.7**2)) ** 0.5, 400_000)
    shares = [0.05 + 0.9 * float(expit(truth[a] - truth[b] + spread).mean()) for a, b in pairs]
    strengths, _ = bradley_terry(pairs[:, 0], pairs[:, 1], np.array(shares), 3)
    return [*map(float, strengths), 100 * shares[0]]
