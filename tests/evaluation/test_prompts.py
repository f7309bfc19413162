"""Prompt lists are the pinned ones, and every line of theirs is rendered, once."""

import hashlib
import itertools
import json
import string
from pathlib import Path

import pytest

from evaluation.prompts import (
    choose,
    count_prompts,
    is_safe_name,
    list_notices,
    require_consistent,
    require_sha256,
    unrendered_lines,
    vbench_prompts,
)
from evaluation.records import Prompt, clip_id
from evaluation.shards import published_items

SHARED = Path(__file__).parents[2].parent / "shared" / "prompts"
FILES = ("VBench_full_info.json", "all_dimension.txt", "all_dimension_extended.txt")
COUNTS = {"samples": 5, "static_samples": 25, "static_keep": 5}

Lists = tuple[list[dict], list[str], list[str]]
"""Records of VBench_full_info.json, short prompts, extended prompts."""


def prompt(name: str, *dimensions: str, samples: int = 2, keep: int | None = None, text: str = "") -> Prompt:
    return Prompt(
        id=name,
        prompt=text or name,
        extended=f"{text or name}, at length",
        dimensions=dimensions,
        samples=samples,
        keep=keep,
        facts={},
    )


@pytest.fixture(scope="module")
def vbench() -> Lists:
    if not SHARED.is_dir():
        pytest.skip(f"VBench's prompt files are not in {SHARED}; they are not shipped with the repository")
    info, short, extended = ((SHARED / name).read_text(encoding="utf-8") for name in FILES)
    return json.loads(info), *(text.removesuffix("\n").split("\n") for text in (short, extended))


@pytest.fixture
def made_up() -> Lists:
    """946 lines of VBench's shape, with its two repeated prompts, that need no fetched file."""
    words = itertools.islice(itertools.product(string.ascii_lowercase, repeat=3), 946)
    short = ["".join(word) * 2 for word in words]
    short[748], short[746] = short[495], short[503]
    info = [
        {"prompt_en": text, "dimension": ["temporal_flickering" if i < 75 else "color"]}
        for i, text in enumerate(short)
    ]
    return info, short, [f"{text}, which is line {i} at length" for i, text in enumerate(short)]


def test_vbench_counts(vbench: Lists) -> None:
    """Guards against the 945 that `wc -l` prints, and against rendering a prompt twice: 946 lines, 944
    prompts, 6,220 clips.
    """
    prompts = vbench_prompts(*vbench, **COUNTS)
    counts = count_prompts(prompts)
    assert (counts.lines, counts.samples, counts.prompts, counts.clips) == (946, 6230, 944, 6220)
    assert str(counts) == "946 lines, 944 distinct prompts, 6,220 clips per row (of 6,230 samples asked for)"
    per_dimension = {
        d: sum(d in p.dimensions for p in prompts)
        for d in ("human_action", "temporal_flickering", "scene", "color")
    }
    assert per_dimension == {"human_action": 100, "temporal_flickering": 75, "scene": 86, "color": 85}
    assert [p.id for p in prompts if p.samples == 25] == [f"v{i:04d}" for i in range(75)]
    assert all((p.keep == 5) == ("temporal_flickering" in p.dimensions) for p in prompts)


def test_the_later_of_two_equal_lines_wins(vbench: Lists) -> None:
    """Guards against the race of upstream, where whichever finished last was scored
    (Vchitect/VBench#58: the later line).
    """
    info, short, extended = vbench
    doubled = [p for p in vbench_prompts(info, short, extended, **COUNTS) if len(p.facts["lines"]) > 1]
    assert {p.id: tuple(p.facts["lines"]) for p in doubled} == {"v0746": (503, 746), "v0748": (495, 748)}
    for p in doubled:
        assert p.extended == extended[p.facts["lines"][-1]] != extended[p.facts["lines"][0]]
        assert set(p.dimensions) == {
            "appearance_style",
            "overall_consistency",
            "aesthetic_quality",
            "imaging_quality",
        }


def test_seeds_count_the_lines_that_are_not_rendered(vbench: Lists) -> None:
    """Item 25 p + i of the first 75 lines, then 1875 + 5 (p - 75) + i, over all 946 lines and not over 944
    prompts (evaluation/vbench/README.md#prompts-and-clips).
    """
    prompts = vbench_prompts(*vbench, **COUNTS)
    items = published_items(prompts)
    assert len(items) == 6220
    for prompt in prompts:
        line = prompt.facts["lines"][-1]
        for index in range(prompt.samples):
            expected = 25 * line + index if line < 75 else 1875 + 5 * (line - 75) + index
            assert items[clip_id(prompt.id, index)] == expected
    assert max(items.values()) == 6229


def test_vbench_notices(vbench: Lists) -> None:
    """Guards against lines that vanish without a word, and against two prompts that share a file name
    unnoticed.
    """
    notices = list_notices(vbench_prompts(*vbench, **COUNTS), named_by_prompt=True)
    assert len(notices) == 2
    assert "lines 503 (v0746), 495 (v0748), counted from 0" in notices[0]
    assert "v0713 and v0734 differ in case only" in notices[1]
    assert all(is_safe_name(text, 25) for text in vbench[1])


def test_the_files_are_those_that_are_pinned(vbench: Lists) -> None:
    """Guards against the other list of extended prompts that circulates under nearly the same name."""
    from workflow.planning.resources import listed_resources

    pinned = {
        Path(e.path).name: e.sha256
        for e in listed_resources(Path(__file__).parents[2])
        if e.group == "prompts"
    }
    assert set(pinned) == set(FILES)
    files = {name: (SHARED / name).read_bytes() for name in FILES}
    require_sha256(files, pinned)
    files[FILES[2]] = files[FILES[1]]
    with pytest.raises(ValueError, match=r"all_dimension_extended\.txt has sha256 f9b50654"):
        require_sha256(files, pinned)


def test_a_made_up_list_of_the_same_shape_adds_up(made_up: Lists) -> None:
    """Counts of a list with two repeated lines, for any numbers of samples."""
    counts = count_prompts(vbench_prompts(*made_up, **COUNTS))
    assert (counts.lines, counts.samples, counts.prompts, counts.clips) == (946, 6230, 944, 6220)
    few = count_prompts(vbench_prompts(*made_up, samples=1, static_samples=2, static_keep=1))
    assert (few.samples, few.clips) == (75 * 2 + 871, 75 * 2 + 869)


def test_lines_that_are_not_rendered_are_named(made_up: Lists) -> None:
    """Guards against counting the rendered line among the others, and against lists that have no repeated
    prompt.
    """
    prompts = vbench_prompts(*made_up, **COUNTS)
    found = [(line, rendered, prompt.id) for line, rendered, prompt in unrendered_lines(prompts)]
    assert found == [(503, 746, "v0746"), (495, 748, "v0748")]
    plain = [p.model_copy(update={"facts": {}}) for p in prompts]
    assert unrendered_lines(plain) == []
    assert not any("Not rendered" in notice for notice in list_notices(plain, named_by_prompt=True))


def test_names_that_vbench_cannot_use() -> None:
    """Guards against an export in which two prompts share a file, or a prompt is cut or split by its own
    characters.
    """
    for unsafe in (
        "a/b",
        'a "b"',
        "a\\b",
        "$HOME",
        "a`b`",
        "a\nb",
        " a",
        "take-2",
        "x" * 250,
        "fac\u0327ade",
    ):
        assert not is_safe_name(unsafe, 5), unsafe
    for safe in ("Fireworks.", "a cat's bed", "fa\u00e7ade", "a well-kept garden", "x" * 249):
        assert is_safe_name(safe, 5), safe
    assert not is_safe_name("x" * 249, 25)
    prompts = [prompt("a", text="A cat"), prompt("b", text="a cat"), prompt("c", text="a/c")]
    assert [("a and b" in n, "(c)" in n) for n in list_notices(prompts, named_by_prompt=True)] == [
        (True, False),
        (False, True),
    ]
    assert list_notices(prompts, named_by_prompt=False) == []
    short = prompts[0].model_copy(update={"extended": "A cat"})
    assert (
        "1 of 2 prompts have no extended text" in list_notices([short, prompts[2]], named_by_prompt=False)[0]
    )


def test_a_changed_file_is_refused() -> None:
    sha256 = hashlib.sha256(b"one").hexdigest()
    require_sha256({"list": b"one", "other": b"free"}, {"list": sha256})
    with pytest.raises(ValueError, match="expected " + sha256):
        require_sha256({"list": b"two"}, {"list": sha256})


def test_choose_limits_each_dimension() -> None:
    """Guards against a subset in which a prompt is scored on a dimension beyond its share."""
    chosen = choose([prompt("a", "x", "y"), prompt("b", "x"), prompt("c", "y", "z")], ("x", "y"), 1)
    assert [(p.id, p.dimensions) for p in chosen] == [("a", ("x", "y"))]
    assert len(choose([prompt("a", "x"), prompt("b", "x")], ("x",), None)) == 2


def test_what_does_not_add_up_is_refused() -> None:
    with pytest.raises(ValueError, match="no prompt for the dimensions z"):
        require_consistent([prompt("a", "x")], ("x", "z"), "the list")
    with pytest.raises(ValueError, match="more than once"):
        require_consistent([prompt("a", "x"), prompt("a", "x")], ("x",), "the list")
    with pytest.raises(ValueError, match="lower `keep`"):
        require_consistent([prompt("a", "x", samples=1, keep=2)], ("x",), "the list")
