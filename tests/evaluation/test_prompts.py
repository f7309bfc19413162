"""Prompt lists add up, or the run stops."""

import json
from pathlib import Path

import pytest

from evaluation.prompts import choose, count_prompts, require_consistent, vbench_prompts
from evaluation.records import Prompt

SHARED = Path(__file__).parents[2].parent / "shared" / "prompts"


def prompt(name: str, *dimensions: str, samples: int = 2, keep: int | None = None) -> Prompt:
    return Prompt(
        id=name, prompt=name, extended=name, dimensions=dimensions, samples=samples, keep=keep, facts={}
    )


@pytest.fixture(scope="module")
def vbench() -> tuple[list[dict], list[str], list[str]]:
    if not SHARED.is_dir():
        pytest.skip(f"VBench's prompt files are not in {SHARED}; they are not shipped with the repository")
    info = json.loads((SHARED / "VBench_full_info.json").read_text(encoding="utf-8"))
    lists = [
        (SHARED / name).read_text(encoding="utf-8").removesuffix("\n").split("\n")
        for name in ("all_dimension.txt", "all_dimension_extended.txt")
    ]
    return info, *lists


def test_vbench_counts(vbench: tuple[list[dict], list[str], list[str]]) -> None:
    """Guards against the 945 that `wc -l` prints, and against rendering a prompt twice: 946 lines, 944 prompts, 6,220 clips."""
    prompts = vbench_prompts(*vbench, samples=5, static_samples=25, static_keep=5)
    counts = count_prompts(prompts)
    assert (counts.lines, counts.prompts, counts.clips) == (946, 944, 6220)
    per_dimension = {
        d: sum(d in p.dimensions for p in prompts)
        for d in ("human_action", "temporal_flickering", "scene", "color")
    }
    assert per_dimension == {"human_action": 100, "temporal_flickering": 75, "scene": 86, "color": 85}


def test_the_later_of_two_equal_lines_wins(vbench: tuple[list[dict], list[str], list[str]]) -> None:
    """Guards against the race of upstream, where whichever finished last was scored (VBench#58: the later line)."""
    info, short, extended = vbench
    doubled = [
        p
        for p in vbench_prompts(info, short, extended, samples=5, static_samples=25, static_keep=5)
        if len(p.facts["lines"]) > 1
    ]
    assert {p.id: tuple(p.facts["lines"]) for p in doubled} == {"v0746": (503, 746), "v0748": (495, 748)}
    for p in doubled:
        assert p.extended == extended[p.facts["lines"][-1]] != extended[p.facts["lines"][0]]


def test_lists_of_different_versions_are_refused(vbench: tuple[list[dict], list[str], list[str]]) -> None:
    info, short, extended = vbench
    with pytest.raises(ValueError, match="946"):
        vbench_prompts(info, short[:-1], extended, samples=5, static_samples=25, static_keep=5)
    with pytest.raises(ValueError, match="different versions"):
        vbench_prompts(info, [*short[1:], short[0]], extended, samples=5, static_samples=25, static_keep=5)


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
