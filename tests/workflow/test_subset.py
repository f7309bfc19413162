"""A part of a suite, chosen on the command line: what it means, what is refused, and that the whole run stays
untouched.
"""

from pathlib import Path
from typing import Any

import pytest

from evaluation.dimensions import NAMES
from evaluation.records import CustomDimension, Prompt, read_jsonl
from evaluation.toybox.suite import toybox_prompts
from workflow.planning.subset import Subset, choose_subset, chosen_prompts, make_subset_folder, parse_only

ROWS = ("raven", "causvid", "truth")
PROMPTS = toybox_prompts(0)
CUSTOM = CustomDimension(
    name="mine", title="mine", unit="x", worst=0, best=1, prompts="color", file="m.py", sha256="0" * 64
)


def choose(text: Any) -> Subset | None:
    return choose_subset(text, rows=ROWS, dimensions=NAMES, custom=[CUSTOM], listed=lambda: PROMPTS)


def test_what_is_left_is_in_the_suites_order_and_what_is_not_is_said() -> None:
    found = choose("dimensions=scene,color rows=truth,raven prompts=move_01,move_00 samples=0")
    assert found is not None
    assert (found.rows, found.dimensions, found.custom) == (("raven", "truth"), ("color", "scene"), ())
    assert (found.prompts, found.samples, found.of_prompts) == (("move_00", "move_01"), 1, True)
    assert found.note.startswith(
        "Subset run, not comparable with a whole run of this suite. Left out: the rows causvid; "
    )
    assert "all but 2 of 76 prompts (move_00, move_01); all samples but the first." in found.note
    assert "overall_consistency, mine" in found.note
    again = choose("samples=0 rows=raven,truth prompts=move_00,move_01 dimensions=color,scene")
    assert again is not None
    assert again.id == found.id, "the same choice has one folder, however it is typed"


def test_prompts_decide_which_dimensions_are_left() -> None:
    """Guards against a run that stops because a dimension has no prompt among the chosen ones."""
    found = choose("prompts=still_00")
    assert found is not None
    assert found.dimensions == PROMPTS[0].dimensions
    assert "the dimensions subject_consistency" in found.note
    with pytest.raises(ValueError, match=r"chooses human_action, but none of the prompts"):
        choose("prompts=still_00 dimensions=human_action")


def test_rows_and_dimensions_keep_the_whole_runs_prompts() -> None:
    found = choose("rows=raven")
    assert found is not None
    assert not found.of_prompts
    assert found.dimensions == NAMES
    assert found.custom == ("mine",)


@pytest.mark.parametrize(
    "text", ["rows=truth,causvid,raven", "samples=0,1,2,3,4", f"dimensions={','.join(NAMES)},mine"]
)
def test_a_choice_of_everything_is_the_whole_run(text: str) -> None:
    assert choose(text) is None


MISTAKES = {
    "": r"only is ''; write it as only=",
    "color": r"only has 'color', expected one of rows=\.\.\., dimensions=",
    "row=raven": r"only has 'row=raven'",
    "rows=": r"only has 'rows='",
    "rows=raven rows=truth": r"only names rows twice",
    "rows=ravn": r"the row 'ravn', which this suite does not have; it has raven, causvid, truth\.",
    "dimensions=colour": r"the dimension 'colour'.*it has subject_consistency, .*, mine\.",
    "prompts=move_1": r"the prompt 'move_1'.*76 from still_00 to action_11, the nearest are move_1",
    "samples=1": r"samples=1; give 0, or 0,1 and so on",
    "samples=first": r"samples=first; give 0",
}  # fmt: skip


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_are_answered_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match=MISTAKES[text]) as caught:
        choose(text)
    assert "\n" not in str(caught.value)


def test_only_text_of_the_form_is_read() -> None:
    assert parse_only("rows=a,b,a samples=0") == {"rows": ["a", "b"], "samples": ["0"]}
    with pytest.raises(ValueError, match="write it as"):
        parse_only({"rows": ["a"]})


def test_prompts_keep_their_text_and_still_ones_their_filter() -> None:
    """The filter chooses among all samples; a sample subset keeps the first of those it would keep."""
    still, other = PROMPTS[0], next(p for p in PROMPTS if p.keep is None)
    kept = chosen_prompts([still, other], choose("samples=0"))
    assert [(p.samples, p.keep) for p in kept] == [(25, 1), (1, None)]
    assert chosen_prompts(PROMPTS, choose(f"prompts={other.id}")) == [other]
    assert chosen_prompts(PROMPTS, None) == PROMPTS


def test_links_lead_to_what_is_shared_and_only_there(tmp_path: Path) -> None:
    for text, linked in (
        ("rows=raven", {"train", "weights", "prompts", "clips", "filter", "scores"}),
        ("prompts=move_00 rows=raven", {"train", "weights", "clips/raven/mp4", "clips/raven/journal"}),
    ):
        subset = choose(text)
        assert subset is not None
        make_subset_folder(tmp_path, subset, lambda: PROMPTS)
        folder = tmp_path / "subsets" / subset.id
        listed = folder / "prompts/prompts.jsonl"
        before = listed.stat().st_mtime_ns if listed.is_file() else None
        make_subset_folder(tmp_path, subset, lambda: PROMPTS)
        found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_symlink()}
        assert set(found) == linked
        for name, link in found.items():
            assert link.resolve() == (tmp_path / name).resolve()
        if subset.of_prompts:
            assert [prompt.id for prompt in read_jsonl(Prompt, listed)] == ["move_00"]
            assert listed.stat().st_mtime_ns == before, "a list that is right is not written again"
