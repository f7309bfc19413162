"""Scores as frames: what one call reads of a results folder, and what it refuses."""

import json
from pathlib import Path

import pandas as pd
import pytest

from evaluation.aggregate import AggregateSettings, aggregate
from evaluation.chunks import ChunkCurve, ChunkTable
from evaluation.records import (
    ClipScore,
    CustomDimension,
    DimensionResult,
    FilteredPrompt,
    FilteredSet,
    Interval,
    Prompt,
    ScoresTable,
    clip_id,
    read_json,
    write_json,
    write_jsonl,
)
from evaluation.results import PAIR_COLUMNS, chunks_frame, csv_text, pairs_frame, read_scores, table_frame

DRIFT = CustomDimension(
    name="drift", title="drift", unit="levels", worst=64.0, best=0.0, prompts="color", file="drift.py",
    sha256="0" * 64,
)  # fmt: skip
KEPT = {"p2": (0, 1), "p10": (0, 1), "still": (2,)}


def make_results(folder: Path, benchmark: str, rows: dict[str, float]) -> ScoresTable:
    """A results folder of two prompts of color and a filtered one; sample s of the row scores its value plus
    s hundredths, and 100 times that on `drift`.
    """
    prompts = [
        Prompt(
            id=name, prompt=name, extended=name, samples=3 if name == "still" else 2,
            keep=1 if name == "still" else None, facts={},
            dimensions=("temporal_flickering",) if name == "still" else ("color",),
        )
        for name in KEPT
    ]  # fmt: skip
    still = FilteredPrompt(
        prompt_id="still", motion=(9, 9, 0), static=(False, False, True), kept=(2,), short=0
    )
    filters = [FilteredSet(row=row, threshold=1, filtered=(still,), kept=KEPT) for row in rows]
    kind = {"toybox": "exact", "vbench": "official"}[benchmark]
    results = []
    for row, value in rows.items():
        for name in ("color", "temporal_flickering", "drift"):
            clips = tuple(
                ClipScore(
                    clip_id=clip_id(p.id, s), prompt_id=p.id, sample=s,
                    value=(value + s / 100) * (100 if name == "drift" else 1),
                )
                for p in reversed(prompts) for s in KEPT[p.id]
                if (name == "temporal_flickering") == (p.id == "still")
            )  # fmt: skip
            mean = sum(clip.value for clip in clips) / len(clips)
            results.append(
                DimensionResult(
                    suite="x", row=row, dimension=name, kind="custom" if name == "drift" else kind, mean=mean,
                    clips=clips,
                )
            )  # fmt: skip
    settings = AggregateSettings(
        bounds=benchmark, dimensions=("color", "temporal_flickering"), draws=1000, seed=0, custom=(DRIFT,),
        rows={row: {"label": f"{row}, ours", "kind": "native"} for row in rows},
    )  # fmt: skip
    table = aggregate("x", prompts, results, filters, settings)
    write_jsonl(folder / "prompts/prompts.jsonl", prompts)
    for kept in filters:
        write_json(folder / f"filter/{kept.row}.json", kept)
    for result in results:
        write_json(folder / f"scores/{result.row}/{result.dimension}.result.json", result)
    write_json(folder / "aggregate/scores.json", table)
    return table


@pytest.mark.parametrize(("benchmark", "low"), [("toybox", 69.0), ("vbench", 62.93)])
def test_a_run_is_one_tidy_frame(tmp_path: Path, benchmark: str, low: float) -> None:
    """By hand: a line a clip and dimension, in the order of rows, dimensions, prompts and samples; only kept
    samples; each dimension's own unit and scale.
    """
    make_results(tmp_path, benchmark, {"b": 0.5, "a": 0.25})
    found = read_scores(str(tmp_path))
    assert list(found.columns[:5]) == ["row", "dimension", "prompt", "sample", "value"]
    order = [("temporal_flickering", "still", 2)]
    four = [(p, s) for p in ("p2", "p10") for s in (0, 1)]
    order += [("color", p, s) for p, s in four] + [("drift", p, s) for p, s in four]
    keys = found[["row", "dimension", "prompt", "sample"]].itertuples(index=False, name=None)
    assert list(keys) == [(row, *key) for row in ("b", "a") for key in order]
    first = found[found["row"] == "b"].set_index(["dimension", "prompt", "sample"])
    assert first.loc[("temporal_flickering", "still", 2), "value"] == 0.52
    assert first.loc[("temporal_flickering", "still", 2), "normalised"] == pytest.approx(
        100 * (52 - low) / (100 - low)
    )
    assert first.loc[("drift", "p2", 1), "value"] == 51.0
    assert first.loc[("drift", "p2", 1), "normalised"] == pytest.approx(100 * 13 / 64)
    assert dict(zip(found["dimension"], found["unit"], strict=True)) == {
        "temporal_flickering": "fraction", "color": "fraction", "drift": "levels"
    }  # fmt: skip
    assert set(found["benchmark"]) == {benchmark}


def test_means_of_the_frame_are_the_numbers_of_the_table(tmp_path: Path) -> None:
    """One table of the run and one frame of its clips tell the same."""
    table = make_results(tmp_path, "toybox", {"b": 0.5, "a": 0.25})
    means = read_scores(tmp_path).groupby(["row", "dimension"])["normalised"].mean()
    shown = table_frame(table).set_index(["row", "metric"])["normalised"]
    pd.testing.assert_series_equal(
        means.sort_index(), shown.sort_index(), check_names=False, check_index_type=False
    )


def test_a_part_of_a_suite_is_read_like_a_whole(tmp_path: Path) -> None:
    """The folder of a subset shares the whole run's files and has a table of its own."""
    table = make_results(tmp_path, "toybox", {"b": 0.5, "a": 0.25})
    part = tmp_path / "subsets/0123"
    for name in ("prompts", "filter", "scores"):
        part.mkdir(parents=True, exist_ok=True)
        (part / name).symlink_to(f"../../{name}")
    row = table.rows[1]
    row = row.model_copy(update={"dimensions": {"color": row.dimensions["color"]}})
    write_json(part / "aggregate/scores.json", table.model_copy(update={"rows": (row,)}))
    found = read_scores(part)
    assert set(zip(found["row"], found["dimension"], strict=True)) == {("a", "color")}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("aggregate/scores.json", None, "scores.json is missing.*build its report first"),
        ("scores/a/color.result.json", None, "a/color.result.json is missing"),
        ("filter/a.json", {"row": "b"}, "no static filter of row a says which"),
        ("prompts/prompts.jsonl", None, "prompts.jsonl is missing"),
        ("scores/a/color.result.json", {"row": "b"}, "is of suite x, row b, dimension color, expected x, a"),
        ("scores/a/color.result.json", {"mean": 0.9}, "says its mean is 0.9, its 4 clips give"),
        ("scores/a/color.result.json", {"clips": []}, "does not hold the expected clips: p10-0 is missing"),
        ("scores/a/color.result.json", {"words": 1}, "not a valid DimensionResult record.*words"),
        ("aggregate/scores.json", {"schema_version": 1}, "has schema_version 1, expected 3 of a ScoresTable"),
    ],
)  # fmt: skip
def test_what_is_missing_or_wrong_is_one_sentence(
    tmp_path: Path, name: str, change: dict[str, object] | None, message: str
) -> None:
    """Guards against a frame that silently lacks clips, or holds those of another row."""
    make_results(tmp_path, "toybox", {"a": 0.25})
    path = tmp_path / name
    if change is None:
        path.unlink()
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        read_scores(tmp_path)
    assert str(caught.value).count("\n") == 0


def test_scores_made_after_the_table_are_noticed(tmp_path: Path) -> None:
    """Guards against a frame and a report of different numbers."""
    make_results(tmp_path / "then", "toybox", {"a": 0.25})
    make_results(tmp_path / "now", "toybox", {"a": 0.26})
    table = read_json(ScoresTable, tmp_path / "then/aggregate/scores.json")
    write_json(tmp_path / "now/aggregate/scores.json", table)
    with pytest.raises(ValueError, match="mean 28, the run's table says 1 with 27: it was scored"):
        read_scores(tmp_path / "now")


def test_frames_as_csv(tmp_path: Path) -> None:
    """Numbers have four decimals, p-values six digits, what is not there is empty, and text is quoted."""
    table = make_results(tmp_path, "toybox", {"a": 0.25, "b": 0.5})
    head, first, *_ = csv_text(table_frame(table), None).splitlines()
    assert head.startswith("row,label,row_kind,metric,scorer_kind,raw,raw_low,")
    assert first.startswith('a,"a, ours",native,temporal_flickering,exact,27.0000,')
    assert first.endswith(",1,1,1,2")
    pair = csv_text(pairs_frame(table), 'only "a"').splitlines()
    assert pair[0] == ",".join((*PAIR_COLUMNS, "subset"))
    assert all(line.endswith(',"only ""a"""') for line in pair[1:])
    point = Interval(mean=1.0, low=0.0, high=2.0)
    curve = ChunkCurve(
        row="a", metric="color", chunks=(point, None), drift=point, p_value=0.5, holm=0.123456789, prompts=2
    )
    chunks = ChunkTable(suite="x", pixel_frames=9, metrics=("color",), without=(), curves=(curve,), pairs=())
    assert csv_text(chunks_frame(chunks), None).splitlines() == [
        "row,metric,chunk,normalised,low,high,holm,prompts",
        "a,color,0,1.0000,0.0000,2.0000,,2",
        "a,color,drift,1.0000,0.0000,2.0000,0.123457,2",
    ]
    assert csv_text(pairs_frame(table.model_copy(update={"pairs": ()})), None).count("\n") == 1
