"""Pixels of long clips: made-up films with known measures, and a table that tells their rows apart."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluation.aggregate import AggregateSettings, RowLabel
from evaluation.dimensions import DIMENSIONS
from evaluation.long_series import (
    MEASURES,
    PIXEL_SERIES,
    LongClip,
    LongRow,
    PixelMeasure,
    by_second,
    clip_measures,
    pixel_series,
)
from evaluation.long_table import LongCell, LongTable, long_table, score_measures
from evaluation.metrics import metrics
from evaluation.records import ClipScore, DimensionResult, Prompt, clip_id
from tests.evaluation.made_up import FILES, INPUTS

FPS, FRAMES = 16, 477
Film = Iterator[NDArray[np.uint8]]


def flat(levels: NDArray[np.float64]) -> Film:
    """A grey picture of each level."""
    for level in levels:
        yield np.full((24, 32, 3), round(level), np.uint8)


def shifted(frames: int, period: int) -> Film:
    """Noise that moves on by a pixel a frame and begins again after `period` frames."""
    noise = np.random.default_rng(3).integers(0, 256, (24, 400, 3), dtype=np.uint8)
    for frame in range(frames):
        at = frame % period
        yield noise[:, at * 4 : at * 4 + 32]


def test_a_fade_drifts_by_its_line_and_nothing_else_changes() -> None:
    levels = np.linspace(200, 120, FRAMES)
    measures, loop = clip_measures(pixel_series(flat(levels)), FPS)
    expected = np.round(levels[-80:]).mean() - np.round(levels[:80]).mean()
    assert measures["brightness_drift"] == pytest.approx(expected, abs=1e-6)
    assert (measures["saturation_drift"], measures["detail_drift"], loop) == (0, 0, None)


def test_flicker_of_every_other_chunk_jumps_at_chunk_borders_and_nowhere_else() -> None:
    chunk = -(-np.arange(FRAMES) // 4) // 3
    measures, _ = clip_measures(pixel_series(flat(100.0 + 8 * (chunk % 2))), FPS)
    assert measures["border_jump"] is None  # nothing changes at other borders: no ratio
    assert measures["latent_flicker"] is None
    wobble = 100.0 + 8 * (chunk % 2) + (-(-np.arange(FRAMES) // 4) % 2)
    jump = clip_measures(pixel_series(flat(wobble)), FPS)[0]["border_jump"]
    assert jump == pytest.approx(8, abs=1.01)  # 8 levels and the wobble of one, with or against it


def test_a_clip_that_freezes_keeps_no_motion_and_a_loop_is_found() -> None:
    assert clip_measures(pixel_series(shifted(FRAMES, 60)), FPS)[1] == 60
    frozen = [*shifted(200, 90), *[np.zeros((24, 32, 3), np.uint8)] * (FRAMES - 200)]
    measures, _ = clip_measures(pixel_series(iter(frozen)), FPS)
    assert measures["motion_persistence"] == 0
    assert clip_measures(pixel_series(flat(np.full(FRAMES, 9.0))), FPS)[0]["motion_persistence"] is None


def test_series_by_second_are_means_of_their_frames() -> None:
    film = list(shifted(50, 90))
    series = pixel_series(iter(film))
    change = [np.abs(b.astype(int) - a.astype(int)).mean() for a, b in itertools.pairwise(film)]
    seconds = by_second(series, FPS)
    assert set(seconds) == set(PIXEL_SERIES)
    assert seconds["motion"] == pytest.approx(
        [np.mean(change[i : i + 16]) for i in range(0, 49, 16)], abs=1e-6
    )
    grey = [(frame @ np.array([0.299, 0.587, 0.114])).mean() for frame in film]
    assert seconds["brightness"] == pytest.approx(
        [np.mean(grey[i : i + 16]) for i in range(0, 50, 16)], abs=1e-6
    )
    naive = [
        np.mean([(max(p) - min(p)) / max(p) if max(p) else 0 for p in frame.reshape(-1, 3).tolist()])
        for frame in film
    ]
    assert seconds["saturation"][0] == pytest.approx(np.mean(naive[:16]), abs=1e-6)


def made_up_row(row: str, persistence: float | None, prompts: int = 24) -> LongRow:
    """Clips whose motion persists so much, give or take a hundredth."""
    clips = []
    for number in range(prompts):
        near = np.random.default_rng([number, len(row)]).normal(0, 0.01)
        value = None if persistence is None else persistence + near
        measures: dict[PixelMeasure, float | None] = dict.fromkeys(MEASURES, 1.0) | {
            "motion_persistence": value
        }
        clips.append(
            LongClip(
                clip_id=clip_id(f"p{number:02d}", 0), prompt_id=f"p{number:02d}", sample=0,
                seconds=dict.fromkeys(PIXEL_SERIES, (1.0, 2.0)), measures=measures,
                loop=84 if row == "loops" else None,
            )
        )  # fmt: skip
    return LongRow(suite="x", row=row, inputs=INPUTS, fps=16, pixel_frames=957, clips=tuple(clips))


PROMPTS = [
    Prompt(id=f"p{i:02d}", prompt="p", extended="p", dimensions=("scene",), samples=1, facts={})
    for i in range(24)
]


def table_of(*rows: LongRow, controls: tuple[str, ...] = ()) -> LongTable:
    names = {
        row.row: {"label": row.row, "kind": "control" if row.row in controls else "native"} for row in rows
    }
    settings = AggregateSettings.model_validate(
        {
            "bounds": "toybox",
            "dimensions": ("scene",),
            "draws": 2000,
            "seed": 0,
            "rows": names,
            "seconds_of": 16,
        }
    )
    return long_table("x", PROMPTS, rows, settings, FILES, {row.row: "0" * 64 for row in rows})


def cell(table: LongTable, row: str, measure: str) -> LongCell:
    (found,) = (one for one in table.cells if (one.row, one.measure) == (row, measure))
    return found


def test_rows_that_keep_and_lose_their_motion_are_told_apart() -> None:
    table = table_of(made_up_row("keeps", 1.0), made_up_row("loses", 0.6), made_up_row("loops", 1.0))
    found = cell(table, "loses", "motion_persistence").value
    assert found.low < 0.6 < found.high
    assert found.high - found.low < 0.02
    differs = {
        (pair.a, pair.b): pair.holm < 0.05 for pair in table.pairs if pair.metric == "motion_persistence"
    }
    assert differs == {("keeps", "loses"): True, ("keeps", "loops"): False, ("loses", "loops"): True}
    assert all(pair.holm == 1 for pair in table.pairs if pair.metric == "border_jump"), (
        "equal rows do not differ"
    )
    assert table.looping == {"keeps": (0, None), "loses": (0, None), "loops": (24, 84)}


def test_controls_are_shown_and_not_compared_and_no_value_is_no_number() -> None:
    table = table_of(made_up_row("keeps", 1.0), made_up_row("frozen", None), controls=("frozen",))
    assert not table.pairs
    assert [one.measure for one in table.cells if one.row == "frozen"] == [
        m for m in MEASURES if m != "motion_persistence"
    ]


def test_rows_of_other_lengths_or_prompts_are_refused() -> None:
    row = made_up_row("keeps", 1.0)
    with pytest.raises(ValueError, match="seconds differ"):
        table_of(row, made_up_row("loses", 1.0).model_copy(update={"pixel_frames": 477}))
    with pytest.raises(ValueError, match="none of this run"):
        table_of(made_up_row("keeps", 1.0, prompts=25))
    damaged = row.clips[0].model_copy(update={"measures": {"border_jump": 1.0}})
    with pytest.raises(ValueError, match="lacks measures"):
        table_of(row.model_copy(update={"clips": (damaged,)}))


def test_scores_of_pieces_add_quality_and_what_is_between() -> None:
    """Closed form: every dimension at its bounds' middle is 50 points, whatever the weights.
    Consistency is raw. Scores of whole clips add nothing.
    """
    known = metrics("vbench")
    quality = [d.name for d in DIMENSIONS if d.group == "quality"]

    def scored(name: str, pieces: tuple[float, ...] | None) -> DimensionResult:
        value = (known[name].low + 50 / known[name].scale) / known[name].factor
        clips = [
            ClipScore(
                clip_id=clip_id(prompt.id, 0), prompt_id=prompt.id, sample=0, value=value, pieces=pieces,
                between=0.25 * (i + 1) if name == "subject_consistency" else None,
            )
            for i, prompt in enumerate(PROMPTS[:2])
        ]  # fmt: skip
        return DimensionResult(
            suite="x", row="a", dimension=name, inputs=INPUTS, kind="official", mean=value, clips=tuple(clips)
        )

    found = score_measures([scored(name, (0.5,)) for name in quality], known)
    assert [value for _, value in found["quality"]["a"]] == pytest.approx([50, 50])
    assert found["between_subject"] == {"a": [(PROMPTS[0].id, 25), (PROMPTS[1].id, 50)]}
    assert found.keys() == {"quality", "between_subject"}
    assert "quality" not in score_measures([scored(name, (0.5,)) for name in quality[1:]], known)
    assert not score_measures([scored(name, None) for name in quality], known)
    rows = [made_up_row("a", 1.0), made_up_row("b", 0.9)]
    asked = AggregateSettings(
        bounds="vbench", dimensions=tuple(quality), draws=200, seed=0,
        rows={row.row: RowLabel(label=row.row, kind="native") for row in rows},
    )  # fmt: skip
    results = [scored(name, (0.5,)) for name in quality]
    table = long_table("x", PROMPTS, rows, asked, FILES, {row.row: "0" * 64 for row in rows}, results)
    assert cell(table, "a", "quality").value.mean == pytest.approx(50)
    assert cell(table, "a", "between_subject").value.mean == pytest.approx(37.5)
