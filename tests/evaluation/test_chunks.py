"""Curves over latent chunks: frames fall into the right chunk, a known drift is found, and a flat clip is
flat.
"""

import numpy as np
import pytest

from evaluation.aggregate import AggregateSettings, run_design
from evaluation.chunks import (
    SUMMARY,
    ChunkCurve,
    bin_means,
    chunk_frames,
    chunk_of,
    curve_bins,
)
from evaluation.dimensions import DIMENSIONS
from evaluation.records import ClipScore, DimensionResult, Prompt, clip_id
from evaluation.results import chunks_frame
from tests.evaluation.made_up import INPUTS, chunk_table

QUALITY = tuple(d.name for d in DIMENSIONS if d.group == "quality")
FRAMES = 81
CHUNKS = np.array([chunk_of(frame) for frame in range(FRAMES)])


def make_prompts(count: int) -> list[Prompt]:
    return [
        Prompt(
            id=f"p{i:02d}",
            prompt="p",
            extended="p",
            dimensions=("imaging_quality", "scene"),
            samples=2,
            facts={},
        )
        for i in range(count)
    ]


def result(row: str, prompts: list[Prompt], frames, dimension: str = "imaging_quality") -> DimensionResult:
    """frames: (prompt number, sample) -> 81 values or None."""
    clips = []
    for number, prompt in enumerate(prompts):
        for sample in range(prompt.samples):
            values = frames(number, sample)
            clips.append(
                ClipScore(
                    clip_id=clip_id(prompt.id, sample), prompt_id=prompt.id, sample=sample, value=0.5,
                    frame_values=None if values is None else tuple(values),
                )
            )  # fmt: skip
    return DimensionResult(
        inputs=INPUTS, suite="x", row=row, dimension=dimension, kind="exact", mean=0.5, clips=tuple(clips)
    )


def settings(rows: dict[str, str], draws: int = 2000) -> AggregateSettings:
    named = {row: {"label": row, "kind": kind} for row, kind in rows.items()}
    return AggregateSettings.model_validate(
        {
            "bounds": "vbench",
            "dimensions": ("imaging_quality", "scene"),
            "draws": draws,
            "seed": 0,
            "rows": named,
        }
    )


def of(table, row: str, measure: str) -> ChunkCurve:
    (found,) = (c for c in table.curves if (c.row, c.metric) == (row, measure))
    return found


def test_chunks_of_81_pixel_frames_are_the_seven_that_a_model_denoises() -> None:
    """Chunk 0 holds pixel frames 0 to 8, chunk c >= 1 frames 9 + 12 (c - 1) to 20 + 12 (c - 1)."""
    assert [list(chunk_frames(c, FRAMES))[:: len(chunk_frames(c, FRAMES)) - 1] for c in range(7)] == [
        [0, 8], *([9 + 12 * (c - 1), 20 + 12 * (c - 1)] for c in range(1, 7))
    ]  # fmt: skip
    for frame in range(FRAMES):
        assert frame in chunk_frames(chunk_of(frame), FRAMES)
    latent = [0] + [1 + (frame - 1) // 4 for frame in range(1, FRAMES)]  # the latent frame that shows it
    assert [chunk_of(frame) for frame in range(FRAMES)] == [number // 3 for number in latent]
    assert list(chunk_frames(1, 14)) == [9, 10, 11, 12, 13], "a last chunk may be cut short"


def test_bin_means_take_the_frames_that_have_a_value() -> None:
    values: list[float | None] = [None] * FRAMES
    values[4], values[8], values[9], values[80] = 0.2, 0.4, 0.7, 1.0
    chunks = curve_bins(FRAMES).points
    assert bin_means(values, chunks) == [pytest.approx(0.3), 0.7, None, None, None, None, 1.0]
    assert len(set(bin_means([0.123457] * FRAMES, chunks))) == 1, "a flat clip is flat to the last bit"


def test_a_long_clip_goes_by_seconds_and_its_ends_are_five_of_them() -> None:
    bins = curve_bins(957, 16)
    assert [frame for second in bins.points for frame in second] == list(range(957))
    assert {len(second) for second in bins.points[:-1]} == {16}
    assert bins.ends == (range(80), range(877, 957))
    with pytest.raises(ValueError, match="too short"):
        curve_bins(159, 16)


def test_the_drift_of_a_long_clip_is_of_its_windows_not_of_its_last_second() -> None:
    """It falls by 20 points after 30 seconds and to nothing in its last frame, one of 80."""
    prompts = make_prompts(12)
    frames = np.where(np.arange(957) < 480, 0.8, 0.6)
    frames[-1] = 0.0
    one = result("falls", prompts, lambda *_: frames.tolist())
    asked = settings({"falls": "native"}).model_copy(update={"seconds_of": 16})
    curve = of(chunk_table("x", prompts, [one], asked), "falls", "imaging_quality")
    assert curve.drift is not None
    assert curve.drift.mean == pytest.approx(-20 - 60 / 80, abs=1e-6)
    assert len(curve.chunks) == 60
    assert curve.chunks[29] is not None
    assert curve.chunks[30] is not None
    assert (curve.chunks[29].mean, curve.chunks[30].mean) == (pytest.approx(80), pytest.approx(60))


def drifting(seed: int, slope: float):
    """Frames that start at a level of the prompt, fall by `slope` a chunk, and have noise of prompt, sample
    and frame.
    """

    def frames(number: int, sample: int) -> list[float]:
        rng = np.random.default_rng([seed, number, sample])
        level = np.random.default_rng([seed, number]).normal(0.7, 0.08)
        tilt = np.random.default_rng([seed, number, 99]).normal(slope, abs(slope) / 2 + 0.002)
        return np.clip(level - tilt * CHUNKS + rng.normal(0, 0.02, FRAMES), 0, 1).tolist()

    return frames


@pytest.mark.parametrize("count", [12, 30])
def test_a_known_drift_is_inside_its_interval_and_told_from_none(count: int) -> None:
    """Guards sign, unit and pairing: 3 points lost per chunk are 18 from first to last, though levels of
    prompts spread by 8.

    12 prompts use Student's t, 30 the bootstrap.
    """
    prompts = make_prompts(count)
    rows = {"falls": drifting(4, 0.03), "stays": drifting(2, 0.0)}
    table = chunk_table(
        "x", prompts, [result(row, prompts, frames) for row, frames in rows.items()],
        settings(dict.fromkeys(rows, "native")),
    )  # fmt: skip
    falls, stays = of(table, "falls", "imaging_quality"), of(table, "stays", "imaging_quality")
    assert falls.drift is not None
    assert falls.drift.low < -18 < falls.drift.high
    width = falls.drift.high - falls.drift.low  # of one of two tests: 2.59 / 2.20 of that of one alone
    assert width < 16 * 2.59 / 2.20, "paired: the spread between prompts drops out"
    assert falls.holm is not None
    assert falls.holm < 0.01
    assert stays.drift is not None
    assert stays.drift.low < 0 < stays.drift.high
    assert stays.holm is not None
    assert stays.holm > 0.05
    (pair,) = (p for p in table.pairs if p.metric == "imaging_quality")
    assert (pair.a, pair.b) == ("falls", "stays")
    assert pair.difference.mean == pytest.approx(falls.drift.mean - stays.drift.mean)
    assert pair.holm < 0.01


@pytest.mark.slow
def test_intervals_of_drift_hold_95_of_100() -> None:
    """Guards coverage: 200 suites of 30 prompts; binomial error of 95 % is 1.5, so 90.5 to 99 is about three
    of them.
    """
    prompts, held = [p.model_copy(update={"samples": 1}) for p in make_prompts(30)], 0
    plan = settings({"falls": "native"}, draws=700)
    for seed in range(200):
        curve = of(
            chunk_table("x", prompts, [result("falls", prompts, drifting(seed, 0.02))], plan),
            "falls",
            SUMMARY,
        )
        assert curve.drift is not None
        held += curve.drift.low <= -12 <= curve.drift.high
    assert 0.905 <= held / 200 <= 0.99, held


def test_a_flat_row_has_exactly_no_drift() -> None:
    """Guards against rounding that a test would call significant: frozen frames drift by 0, with p = 1."""
    prompts = make_prompts(24)
    frozen = result("frozen", prompts, lambda n, s: [round(0.9 + 0.001 * n + 0.0003 * s, 6)] * FRAMES)
    table = chunk_table("x", prompts, [frozen], settings({"frozen": "control"}))
    curve = of(table, "frozen", "imaging_quality")
    assert curve.drift is not None
    assert (curve.drift.mean, curve.drift.low, curve.drift.high) == (0.0, 0.0, 0.0)
    assert curve.holm == 1.0
    assert len({c.mean for c in curve.chunks if c is not None}) == 1


def test_chunk_values_are_the_means_of_the_dimension_and_the_summary_of_quality() -> None:
    """By hand: scene has bounds 0 to 82.22 and no part in the summary, which is imaging quality alone."""
    prompts = make_prompts(3)
    frames = [0.5 + 0.01 * chunk_of(f) for f in range(FRAMES)]
    table = chunk_table(
        "x", prompts,
        [result("a", prompts, lambda n, s: frames), result("a", prompts, lambda n, s: frames, "scene")],
        settings({"a": "native"}),
    )  # fmt: skip
    assert table.metrics == (SUMMARY, "imaging_quality", "scene")
    assert [c.mean for c in of(table, "a", SUMMARY).chunks if c] == pytest.approx([50 + c for c in range(7)])
    assert [c.mean for c in of(table, "a", "scene").chunks if c] == pytest.approx(
        [100 * (50 + c) / 82.22 for c in range(7)]
    )
    assert len(chunks_frame(table)) == 3 * 8


def test_a_scorer_without_frames_is_named_and_has_no_curve() -> None:
    """The official path gives no values of frames: that is said, and nothing is drawn."""
    prompts = make_prompts(3)
    table = chunk_table("x", prompts, [result("a", prompts, lambda n, s: None)], settings({"a": "native"}))
    assert (table.curves, table.metrics, table.without) == ((), (), ("imaging_quality", "scene"))


def test_rows_are_compared_on_common_prompts() -> None:
    """A row that the filter left fewer prompts is compared on those; its curve keeps to its own prompts."""
    prompts = make_prompts(24)
    a = result("a", prompts, lambda n, s: [0.5 + 0.01 * n * chunk_of(f) / 6 for f in range(FRAMES)])
    b = result("b", prompts[:12], lambda n, s: [0.5] * FRAMES)
    table = chunk_table("x", prompts, [a, b], settings({"a": "native", "b": "native"}))
    (pair,) = (p for p in table.pairs if p.metric == "imaging_quality")
    assert pair.prompts == 12
    assert pair.difference.mean == pytest.approx(np.mean(range(12)))
    drift = of(table, "a", "imaging_quality").drift
    assert drift is not None
    assert drift.mean == pytest.approx(np.mean(range(24)))


def test_draws_are_those_of_the_table() -> None:
    """One design for a run: the same prompts give the same weights wherever it is asked for."""
    prompts = make_prompts(24)
    one, other = (run_design(prompts, settings({"a": "native"})) for _ in range(2))
    assert np.array_equal(one.weights, other.weights)


def test_a_drift_ends_where_values_do() -> None:
    """Windows of the embedded world end 39 frames before a minute does, and every fourth frame is looked at:
    the last five seconds that were scored count, not the few values of the clip's last five.
    """
    prompts = make_prompts(24)
    seen = [(0.9 if t < 480 else 0.4) if t % 4 == 1 and t < 918 else None for t in range(957)]
    asked = settings({"a": "native"}).model_copy(update={"seconds_of": 16})
    table = chunk_table("x", prompts, [result("a", prompts, lambda *_: seen)], asked)
    (curve,) = (one for one in table.curves if one.metric == "imaging_quality")
    assert curve.drift is not None and curve.drift.mean < -10
    bins = curve_bins(957, 16)
    assert bins.within(918).ends == (range(80), range(838, 918)) and bins.within(957) == bins
    assert bins.within(40).ends == (range(80), range(80, 160)) and curve_bins(81).within(9) == curve_bins(81)
