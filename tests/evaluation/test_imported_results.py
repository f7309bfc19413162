"""Somebody's results as records of ours: a round trip to the last digit, names as tools write them."""

from pathlib import Path

import pytest

from evaluation.aggregate import AggregateSettings, RowLabel
from evaluation.dimensions import NAMES
from evaluation.imported_results import (
    ForeignScore,
    PromptFinder,
    filtered_of,
    imported_results,
    match_results,
    parsed_name,
    read_foreign_results,
)
from evaluation.records import DimensionResult, FilteredSet, Inputs, Prompt, RowSummary
from evaluation.vbench.plan import entries_of
from evaluation.vbench.results import dimension_result
from tests.evaluation import standard_results as made
from tests.evaluation.made_up import ZERO, aggregate

JUDGED = Inputs(prompts=ZERO, manifest=ZERO)
SCORED = Inputs(prompts=ZERO, manifest=ZERO, filtered=ZERO)


def own_row(row: str, seed: int, shift: float) -> tuple[list[DimensionResult], FilteredSet, bytes]:
    """The records of a row that was scored here, and its zip."""
    listed = made.prompts()
    kept = made.filtered(row, listed, JUDGED)
    rows = made.results(row, listed, kept, seed, shift)
    clips = made.manifest(row, listed)
    results = [
        dimension_result("s", row, n, rows[n], entries_of(n, listed, clips, kept.kept), {}, SCORED)
        for n in NAMES
    ]
    return results, kept, made.zip_of(rows)


def imported_row(row: str, path: Path, listed: list[Prompt]) -> tuple[list[DimensionResult], FilteredSet]:
    found = read_foreign_results(path)
    matched = match_results(found, listed, NAMES)
    records = imported_results("s", row, found, matched, SCORED, "VBench 0.1.5")
    return list(records.values()), filtered_of(row, matched, listed, JUDGED)


def test_a_row_that_was_exported_and_imported_has_the_scores_intervals_and_tests_of_the_row(
    tmp_path: Path,
) -> None:
    """Guards the way through the leaderboard's zip: not a digit changes. Still prompts are short of clips, of
    some clips no colour is seen, and kept samples are numbered anew.
    """
    listed = made.prompts()
    settings = AggregateSettings(
        bounds="vbench", dimensions=NAMES, draws=640, seed=7,
        rows={"a": RowLabel(label="A", kind="native"), "b": RowLabel(label="B", kind="native")},
    )  # fmt: skip
    tables = []
    own, foreign = [], []
    for row, seed, shift in (("a", 1, 0.0), ("b", 2, 0.02)):
        results, kept, content = own_row(row, seed, shift)
        (tmp_path / f"{row}.zip").write_bytes(content)
        own.append((results, kept))
        foreign.append(imported_row(row, tmp_path / f"{row}.zip", listed))
    for rows in (own, foreign):
        results = [result for found, _ in rows for result in found]
        tables.append(aggregate("s", listed, results, [kept for _, kept in rows], settings))
    assert tables[0] == tables[1]
    assert tables[0].rows[0].total is not None and tables[0].power is not None
    summary: RowSummary = tables[1].rows[0]
    assert summary.dimensions["temporal_flickering"].clips < 375 and summary.dimensions["color"].left_out
    for (results, _), (again, _) in zip(own, foreign, strict=True):
        for one, other in zip(results, again, strict=True):
            assert (one.mean, one.several_processes) == (other.mean, other.several_processes)
            assert [clip.value for clip in one.clips] == [clip.value for clip in other.clips]


NAMES_OF = {
    "a red thing-3.mp4": ("a red thing-3.mp4", "a red thing", 3),
    "/home/x/v/a red thing-3.mp4": ("a red thing-3.mp4", "a red thing", 3),
    "D:\\v\\a red thing-3.mp4": ("a red thing-3.mp4", "a red thing", 3),
    "a 2-in-1 thing-0.gif": ("a 2-in-1 thing-0.gif", "a 2-in-1 thing", 0),
    "three -12.MP4": ("three -12.MP4", "three ", 12),
    "a red thing.mp4": None,
    "-3.mp4": None,
    "a-3": None,
    "": None,
}


@pytest.mark.parametrize(("path", "expected"), NAMES_OF.items())
def test_names_are_read_as_vbench_writes_them(path: str, expected: tuple[str, str, int] | None) -> None:
    """The prompt may hold hyphens and numbers; the sample is what follows the last hyphen."""
    assert parsed_name(path) == expected


def test_a_long_name_may_be_cut_where_one_prompt_alone_begins_so() -> None:
    """Tools cut names at 100 or 180 characters; a cut that two prompts share is of neither."""
    listed = [
        Prompt(id=f"p{n}", prompt="a very long red thing " * 8 + end, extended="x", dimensions=("scene",),
               samples=1, facts={})
        for n, end in enumerate(("on a hill", "in a house", "in a hut"))
    ]  # fmt: skip
    finder = PromptFinder(listed)
    for length, expected in ((176, None), (177, "p0"), (60, None)):
        text = listed[0].prompt[:length]
        found = finder.find(ForeignScore(f"{text}-0.mp4", text, 0, 0.5))
        assert (found.id if found else None) == expected, length
    text = listed[1].prompt[:178]
    assert finder.find(ForeignScore("x", text, 0, 0.5)) is None


def test_a_folder_is_read_as_the_zip_is(tmp_path: Path) -> None:
    """VBench leaves a folder of files; its lists of prompts beside them are passed over."""
    listed = made.prompts(12)
    kept = made.filtered("a", listed, JUDGED)
    texts = made.texts(made.results("a", listed, kept, 1))
    for name, text in texts.items():
        (tmp_path / f"{name}_eval_results.json").write_text(text)
    (tmp_path / "x_full_info.json").write_text("[]")
    found = read_foreign_results(tmp_path)
    assert list(found.dimensions) == list(NAMES)
    matched = match_results(found, listed, NAMES)
    assert {name: len(clips) for name, clips in matched.clips.items()} == {
        name: len(dimension.scores) for name, dimension in found.dimensions.items()
    }
    (tmp_path / "scene_eval_results.json").unlink()
    with pytest.raises(ValueError, match=r"has no result of scene; it holds subject_consistency"):
        match_results(read_foreign_results(tmp_path), listed, NAMES)
