"""What `raven-bench baseline check` says of a row, and the file that `raven-bench new-baseline` starts."""

import re
from pathlib import Path

import pytest

from baselines.describe import described, described_clip, frame_ranges
from baselines.native import (
    AbsoluteCache,
    AdapterSettings,
    AnchoredSinkCache,
    Baseline,
    DtypeSettings,
    LevelSettings,
    MadeFor,
    NoiseSettings,
    RolloutSettings,
    ScheduleSettings,
    SlotRelativeCache,
    SolverSettings,
    Weights,
)
from baselines.new_row import EXPLAINED, new_row_text, write_new_row
from baselines.spec import load_all
from baselines.strict_yaml import Section, parse_strict
from tests.baselines.visibility import OWN_RULE, sees_all
from workflow.scripts import baseline as script

FOLDER = Path(__file__).parents[2] / "baselines"
BASELINES = load_all(FOLDER)

SAID = {
    "causal_rcm_c3_2step_noisy": """
        chunk 0: 1000, 936, 832, 624 at 0.999375, 0.9375, 0.833333, 0.625
        chunk 1 on: 1000, 624 at 0.999375, 0.625
        network calls of a clip: 16 denoising + 1 context
        chunk frames steps reads frames at positions queries at context pass reads
        0 0-2 0,1,2,3 0-2 0-2 0 0-2
        1 3-5 0,1 0-5 0-5 3 none, the last step's stay
        6 18-20 0,1 0-20 0-20 18 -
        first [1, 16, 21, 60, 104], seeded with 0 + the sample's number
        later 3 of [16, 21, 60, 104]""",
    "one_forcing_ffe": """
        chunk 0: 1000, 937.5, 833.333, 625 at 1, 0.9375, 0.833333, 0.625
        chunk 1 on: 1000 at 1
        network calls of a clip: 21 denoising + 17 context
        0 0-3 0,1,2,3 0-3 0-3 0 0-3
        1 4 0 0-4 0-4 4 0-4
        17 20 0 0-20 0-20 20 -
        first [1, 21, 16, 60, 104], seeded with 0 + the clip's place in the list
        later 3 of [4, 16, 60, 104]""",
    "sgf": """
        all chunks: 1000, 937.5, 833.333, 625 at 1, 0.9375, 0.833333, 0.625
        network calls of a clip: 28 denoising + 6 context
        0 0-2 0,1,2,3 0-2 0-2 0 0-2
        1 3-5 0,1,2,3 0-5 0-5 3 0-5
        2 6-8 0,1,2,3 0-8 0-8 6 0-8
        3 9-11 0,1,2,3 0-11 0-11 9 0-11
        4 12-14 0,1,2,3 0-2, 6-14 0-11 9 0-2, 6-14
        5 15-17 0,1,2,3 0-2, 9-17 0-11 9 0-2, 9-17
        6 18-20 0,1,2,3 0-2, 12-20 0-11 9 -
        later 21 of [3, 16, 60, 104]""",
    "rolling_forcing": """
        network calls of a clip: 11 denoising (joint windows) + 6 context
        window frames steps reads frames at positions queries at context pass reads
        0 0-2 0 0-2 0-2 0 -
        3 0-11 3,2,1,0 0-11 0-11 0 -
        4 0-14 4,3,2,1,0 0-14 0-14 0 0-2
        5 3-17 4,3,2,1,0 0-17 0-17 3 0-5
        9 15-20 4,3 0-20 0-20 15 0-17
        10 18-20 4 0-20 0-20 18 -""",
    "causal_forcing_long": """
        network calls of a clip: 10 denoising (joint windows) + 6 context
        3 0-11 3,2,1,0 0-11 0-11 0 0-2
        4 3-14 3,2,1,0 0-14 0-14 3 0-5
        9 18-20 3 0-20 0-20 18 -""",
    "reward_forcing": """
        3 9-11 0,1,2,3 0-2, 6-11 (3-5 blended into the sink) 0-8 6 0-2, 6-11
        6 18-20 0,1,2,3 0-2, 15-20 (3-14 blended into the sink) 0-8 6 -""",
    "raven": """
        first [1, 16, 21, 60, 104], seeded with 20001019 + the clip's place in the list
        later 28 of [16, 3, 60, 104], from a second generator""",
}
"""Lines that must be printed of a row, in this order, each run of blanks as one: facts of
baselines/methods.md and the sources that it names."""

PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
SHIPPED = [
    (name, *cells)
    for names, *cells in re.findall(
        r"^\| ((?:`\w+` ?)+) \| ([\d.]+) \| (.*?) \| (.*?) \| (.*?) \| (\d+) \+ (\d+) \|$",
        PAGE,
        flags=re.MULTILINE,
    )
    for name in re.findall(r"`(\w+)`", names)
]
"""Row, paper, sampler, frames of a chunk, frames seen, denoising and context calls, as the page says."""

CALLS = {
    **dict.fromkeys(("causal_rcm_c1_4step", "sgf_framewise", "sgf_plus_framewise"), (84, 20)),
    "causal_rcm_c1_2step": (44, 20),
    "causal_rcm_c3_4step": (28, 6),
    "causal_rcm_c3_2step": (16, 6),
    **dict.fromkeys(("causal_rcm_c1_1step", "one_forcing"), (24, 20)),
    "one_forcing_ffe": (21, 17),
    **dict.fromkeys(
        ("sgf", "sgf_plus", "opsdv_longlive", "opsdv_self_forcing", "longlive_infinity"), (28, 6)
    ),
    **dict.fromkeys(("self_forcing_window21", "self_forcing_window21_sink3"), (28, 6)),
    "causal_forcing_long": (10, 6),
    "causal_rcm_c3_2step_noisy": (16, 1),
}
"""Denoising and context calls of a clip, as the methods' sources give them."""


def test_the_page_names_every_row_once_and_tells_the_truth() -> None:
    """Paper, chunk, window and calls of baselines/README.md are the files', and its links lead somewhere."""
    assert sorted(name for name, *_ in SHIPPED) == sorted(BASELINES)
    headings = (FOLDER / "methods.md").read_text(encoding="utf-8").splitlines()
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", head[2:].strip(" #").lower()).replace(" ", "-")
        for head in headings
        if head[:2] == "##"
    }
    for name, paper, sampler, chunk, sees, denoising, context in SHIPPED:
        row = BASELINES[name]
        clip = described_clip(row)
        assert f"arXiv:{paper}" in row.citation, name
        assert set(re.findall(r"methods\.md#([\w-]+)", sampler)) <= anchors, name
        chunks = row.rollout.chunks
        assert chunk == ", then ".join(map(str, [chunks] if isinstance(chunks, int) else chunks))
        window = (
            "all"
            if row.cache is None or row.cache.window is None
            else f"{row.cache.window} with sink {row.cache.sink}"
        )
        assert sees.removesuffix(", averaged") == window, name
        assert (clip.denoising, clip.context) == (int(denoising), int(context)), name


@pytest.mark.parametrize("name", SAID)
def test_what_a_row_is_said_to_do(name: str) -> None:
    """Golden: schedule, calls, frames read, positions and draws as the methods' sources give them."""
    baseline = BASELINES[name]
    lines = [" ".join(line.split()) for line in described(baseline, described_clip(baseline))]
    expected = [line.strip() for line in SAID[name].strip().splitlines()]
    assert [line for line in lines if line in expected] == expected, "\n".join(lines)


@pytest.mark.parametrize("name", CALLS)
def test_calls_of_a_clip(name: str) -> None:
    clip = described_clip(BASELINES[name])
    assert (clip.denoising, clip.context) == CALLS[name]


@pytest.mark.parametrize("name", BASELINES)
def test_frames_read_are_those_of_the_method(name: str) -> None:
    """Every call of every row against the plain rules of tests/baselines/visibility.py."""
    rule = OWN_RULE.get(name, sees_all)
    for call in described_clip(BASELINES[name]).calls:
        seen = rule(call.start, call.frames, not call.steps)
        assert (list(call.keys), list(call.key_positions)) == (seen.keys, seen.key_positions), call
        assert call.query_position == seen.query_positions[0]
        assert list(call.blended) == [frame for block in seen.blended for frame in block]


def test_frames_as_ranges() -> None:
    assert [frame_ranges(frames) for frames in ([], [4], [0, 1, 2, 6, 8, 9])] == ["-", "4", "0-2, 6, 8-9"]


def keys_of_every_section() -> set[str]:
    """Dotted names of all keys that a native baseline's file may hold."""
    sections: dict[str, tuple[type[Section], ...]] = {
        "weights": (Weights,),
        "adapter": (AdapterSettings,),
        "schedule": (ScheduleSettings, LevelSettings, SolverSettings),
        "rollout": (RolloutSettings,),
        "cache": (AbsoluteCache, SlotRelativeCache, AnchoredSinkCache),
        "noise": (NoiseSettings,),
        "dtypes": (DtypeSettings,),
        "made_for": (MadeFor,),
    }
    inside = {
        f"{top}.{key}" for top, kinds in sections.items() for kind in kinds for key in kind.model_fields
    }
    return inside | set(Baseline.model_fields)


def test_every_key_is_explained_once_and_none_that_is_gone() -> None:
    assert set(EXPLAINED) == keys_of_every_section()


@pytest.mark.parametrize("name", BASELINES)
def test_a_new_file_keeps_the_numbers_of_the_other(tmp_path: Path, name: str) -> None:
    """Every row: read back, it samples as the other does, is its own otherwise, and explains every line."""
    like = BASELINES[name]
    path = write_new_row(tmp_path, "mine_2", like)
    text = path.read_text(encoding="utf-8")
    assert all("  # " in line for line in text.splitlines()[1:])
    made = parse_strict(text, Baseline, where="mine_2")
    assert made.sampled() == like.sampled()
    assert (made.name, made.title, made.weights.sha256, made.weights.revision) == (
        "mine_2",
        "mine 2",
        None,
        None,
    )
    assert (made.weights.file, made.weights.key) == (like.weights.file, like.weights.key)
    assert "not stated" in made.citation and made.licence == "not stated"


@pytest.mark.parametrize("name", ["", "Mine", "../mine", "a.b", "a-b", "müsli", "a" * 61, "mine\n"])
def test_a_name_that_no_row_may_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"A row cannot be called {name!r}; use 1 to 60 of")):
        write_new_row(tmp_path, name, BASELINES["raven"])
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    kept = tmp_path / "mine.yaml"
    kept.write_text("mine")
    with pytest.raises(ValueError, match=r"mine\.yaml exists already and was not touched"):
        write_new_row(tmp_path, "mine", BASELINES["raven"])
    assert kept.read_text() == "mine"


@pytest.mark.parametrize(
    ("good", "bad", "sentence"),
    [
        ("capacity: 21", "capacity: 9", "need 21 cached frames but capacity is 9"),
        ("sink: 0", "sink: 30\n  window: 12", "appears twice"),
        ("steps: [1000", "stesp: [1000", "key 'schedule.stesp' is unknown"),
        ("chunk: 3", "chunk: [4, 3]", "change one of the two"),
    ],
)
def test_a_wrong_file_is_told_its_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], good: str, bad: str, sentence: str
) -> None:
    """By the command, in one line that names the file, and with exit code 1."""
    text = new_row_text("mine", BASELINES["self_forcing"])
    path = tmp_path / "mine.yaml"
    assert good in text
    path.write_text(text.replace(good, bad, 1))
    assert script.main(["check", str(path)]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and f"{path}: " in said[0] and sentence in said[0]


def test_the_command_adds_the_cost(capsys: pytest.CaptureFixture[str]) -> None:
    """Closed form: 6,220 clips of 2.4 s and 15 shards of a minute are 4.4 GPU-hours; another row's network
    takes as many times the time as it has times the arithmetic, both calls of a guided step counted.
    """
    for row, said in (
        ("self_forcing", ("4.4 GPU-hours of sampling", "34 calls a clip, 1.00 times")),
        ("one_forcing_ffe", ("by its rate of 0.474 s a second of video: 2.8 GPU-hours of", "0.46 times")),
        ("wan_teacher", ("90.3 GPU-hours of sampling", "in 100 calls a clip, 29.78 times")),
    ):
        assert script.main(["check", row]) == 0
        out = capsys.readouterr().out
        assert all(words in out for words in said)
    assert script.main(["check", "nothing"]) == 1
    assert "there is no baseline 'nothing'; there are causal_forcing, " in capsys.readouterr().err
