"""Votes from the command line to the page, on a synthetic run."""

import json
import re
from pathlib import Path

import pytest

from evaluation.files import file_sha256
from evaluation.votes import run_id
from reports.page import render_page, render_section
from reports.run import Run, read_run
from reports.sections.limits import not_comparable
from reports.sections.methods import methods_markdown
from reports.terminal import terminal_text
from tests.reports import synthetic
from tests.reports.synthetic import ROOT, settings_of
from workflow.scripts import votes

RANKED = [row for row, (_, kind, _) in synthetic.ROWS.items() if kind == "native"]


def write_ballot(finished: Path, folder: Path, voter: str, answers: str = "llrt", **changes: object) -> Path:
    """A votes file on the first two rows: left, right or tie, an answer a prompt."""
    rows = [row for row in RANKED if row in synthetic.ROWS]
    clips = {row: file_sha256(finished / f"clips/{row}/manifest.jsonl") for row in rows}
    cast = [
        {"prompt": f"move_{n:02d}", "sample": 0, "left": RANKED[0], "right": RANKED[1], "seconds": 1.5,
         "answer": {"l": "left", "r": "right", "t": "tie"}[answer]}
        for n, answer in enumerate(answers)
    ]  # fmt: skip
    path = folder / f"{voter}.json"
    path.write_text(json.dumps({
        "schema_version": 1, "suite": "toybox", "run": run_id("toybox", clips), "clips": clips,
        "voter": voter, "seed": 1, "shown": "clips", "votes": cast, **changes,
    }))  # fmt: skip
    return path


def test_the_page_shows_votes_and_what_few_of_them_do_not_say(finished: Path, tmp_path: Path) -> None:
    """Numbers of voters and votes, win rates, the dimensions' agreement, and the warning."""
    files = [write_ballot(finished, tmp_path, "ada"), write_ballot(finished, tmp_path, "bob", "lrrt")]
    run = read_run(finished / "aggregate/scores.json", finished, settings_of(), ROOT, votes=files)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", render_section(run, "watch")))
    assert "8 blind votes of 2 voters (ada, bob) on 4 prompts; 2 ties" in text
    assert "2 voters : too few" in text.replace("voters:", "voters :")
    assert run.votes is not None
    assert run.votes.rows[0].won is not None and run.votes.rows[0].won.mean == 50
    assert [one.votes for one in run.votes.dimensions if one.dimension == "color"] == [8]
    assert run.votes.alpha == pytest.approx(1 - (2 / 8) / (2 * 8 * 1.5 / (8 * 7)))
    none = read_run(finished / "aggregate/scores.json", finished, settings_of(), ROOT)
    assert "What people prefer" not in render_section(none, "watch")


def test_the_command_merges_and_keeps_votes(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what the page will show; --add keeps a file a voter, once; a wrong file is one sentence."""
    folder = tmp_path / "results"
    folder.mkdir()
    for name in ("aggregate", "prompts", "clips", "scores"):
        (folder / name).symlink_to(finished / name)
    files = [str(write_ballot(finished, tmp_path, voter)) for voter in ("ada", "bob")]
    assert votes.main([*files, "--results", str(folder), "--json", str(tmp_path / "all.json")]) == 0
    assert "Votes: 8 on 4 prompts, 2 ties among them. Voters: 2 (ada, bob)." in capsys.readouterr().out
    assert json.loads((tmp_path / "all.json").read_text())["votes"] == 8
    assert votes.main([files[0], "--results", str(folder), "--add"]) == 0
    assert votes.main([*files, "--results", str(folder), "--add"]) == 0
    assert sorted(path.name for path in (folder / "votes").iterdir()) == ["ada.json", "bob.json"]
    empty = write_ballot(finished, tmp_path, "zoe", "")
    capsys.readouterr()
    assert votes.main([str(empty), "--results", str(folder)]) == 1  # guards against headings of nothing
    said = capsys.readouterr()
    assert said.out == "" and f"{empty}: no vote is in it; answer some pairs" in said.err
    wrong = write_ballot(finished, tmp_path, "eve", suite="tiny")
    capsys.readouterr()
    assert votes.main([files[0], str(wrong), "--results", str(folder)]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "votes on suite tiny, expected toybox" in said[0]
    assert votes.main([files[0], "--results", str(tmp_path / "nowhere")]) == 1
    assert "build its report first" in capsys.readouterr().err


def test_one_of_a_thing_is_no_plural(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against "1 pairs" and "1 ties": two models, one control, one voter's tie, in every text."""
    few = {row: synthetic.ROWS[row] for row in ("raven", "cm_grpo", "truth")}
    monkeypatch.setattr(synthetic, "ROWS", few)
    scores = synthetic.make_results(tmp_path)
    files = [write_ballot(tmp_path, tmp_path, "ada", "t")]
    run = read_run(scores, tmp_path, settings_of(), ROOT, votes=files)
    texts = [
        render_page(run),
        methods_markdown(run),
        terminal_text(run),
        *not_comparable(run, published=True),
        votes.votes_text(run.votes, run.table) if run.votes else "",
    ]
    assert "1 blind vote of 1 voter (ada) on 1 prompt; 1 tie counts half" in texts[0]
    for text in texts:
        shown = re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", text, flags=re.DOTALL)
        assert re.findall(r"(?<![\w.,-])1 [a-z]*[a-rt-z]s\b.{0,20}", shown) == []


def test_dimensions_that_tell_nothing_are_not_ranked_by_what_they_tell(finished_run: Run) -> None:
    """Guards against "subject consistency tells most apart (0 of 36 pairs)"."""
    said = [
        re.findall(r"<summary>.*?<span>(\d+ dimensions of .*?)</span>", render_page(run))
        for run in (
            finished_run,
            finished_run.model_copy(update={"table": finished_run.table.model_copy(update={"pairs": tuple(
                pair.model_copy(update={"holm": 1.0}) for pair in finished_run.table.pairs
            )})}),
        )
    ]  # fmt: skip
    (first,) = said[0]
    assert re.match(
        r"16 dimensions of 5 models: .* tells most apart \([1-9]\d* of 10 pairs\), \d+ tell", first
    )
    assert said[1] == ["16 dimensions of 5 models: none tells any of 10 pairs apart."]
