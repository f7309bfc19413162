"""Scores as frames: what one call reads of a results folder, and what it refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evaluation.aggregate import AggregateSettings, aggregate
from evaluation.chunks import ChunkCurve, ChunkTable
from evaluation.files import file_sha256
from evaluation.records import (
    Clip,
    ClipScore,
    CustomDimension,
    DimensionResult,
    Interval,
    Prompt,
    ScoresTable,
    TableInputs,
    clip_file,
    clip_id,
    read_json,
    write_json,
    write_jsonl,
)
from evaluation.results import PAIR_COLUMNS, chunks_frame, csv_text, pairs_frame, read_scores, table_frame
from evaluation.selection import hashes_of
from evaluation.static_filter import Judgement, filtered_set
from tests.damages import lie
from tests.evaluation.made_up import FILES

DRIFT = CustomDimension(
    name="drift", title="drift", unit="levels", worst=64.0, best=0.0, prompts="color", file="drift.py",
    sha256="0" * 64,
)  # fmt: skip
KEPT = {"p2": (0, 1), "p10": (0, 1), "still": (2,)}


def clip(row: str, prompt: Prompt, sample: int) -> Clip:
    name = clip_id(prompt.id, sample)
    return Clip(
        clip_id=name, row=row, prompt_id=prompt.id, sample=sample, file=clip_file(name), sha256="0" * 64,
        latents_sha256=None, noise="n", weights_sha256=None, settings_sha256="0" * 64, batch_size=1,
        pixel_frames=9, height=8, width=8, fps=8,
    )  # fmt: skip


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
    listed = folder / "prompts/prompts.jsonl"
    write_jsonl(listed, prompts)
    filters, origins = [], {}
    for row in rows:
        manifest, kept = folder / f"clips/{row}/manifest.jsonl", folder / f"filter/{row}.json"
        write_jsonl(manifest, [clip(row, p, s) for p in prompts for s in range(p.samples)])
        judged = {"still": [Judgement(9, False), Judgement(9, False), Judgement(0, True)]}
        filters.append(filtered_set(row, hashes_of(listed, manifest), prompts, judged, 1))
        write_json(kept, filters[-1])
        origins[row] = hashes_of(listed, manifest, kept)
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
                    suite="x", row=row, dimension=name, inputs=origins[row],
                    kind="custom" if name == "drift" else kind, mean=mean, clips=clips,
                )
            )  # fmt: skip
    settings = AggregateSettings(
        bounds=benchmark, dimensions=("color", "temporal_flickering"), draws=1000, seed=0, custom=(DRIFT,),
        rows={row: {"label": f"{row}, ours", "kind": "native"} for row in rows},
    )  # fmt: skip
    hashes: dict[str, dict[str, str]] = {row: {} for row in rows}
    for result in results:
        path = folder / f"scores/{result.row}/{result.dimension}.result.json"
        write_json(path, result)
        hashes[result.row][result.dimension] = file_sha256(path)
    inputs = TableInputs(
        prompts=file_sha256(listed),
        filtered={row: file_sha256(folder / f"filter/{row}.json") for row in rows},
        results=hashes,
    )
    table = aggregate("x", prompts, results, filters, settings, inputs)
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
    for name in ("prompts", "clips", "filter", "scores"):
        part.mkdir(parents=True, exist_ok=True)
        (part / name).symlink_to(f"../../{name}")
    row = table.rows[1]
    row = row.model_copy(update={"dimensions": {"color": row.dimensions["color"]}, "ranks": {}})
    inputs = table.inputs.model_copy(update={"results": {"a": {"color": table.inputs.results["a"]["color"]}}})
    alone = table.model_copy(update={"rows": (row,), "pairs": (), "inputs": inputs})
    write_json(part / "aggregate/scores.json", alone)
    found = read_scores(part)
    assert set(zip(found["row"], found["dimension"], strict=True)) == {("a", "color")}


def number(*keys: str | int) -> Callable[[dict[str, Any]], None]:
    """Add one to the number at a place."""

    def change(record: Any) -> None:
        for key in keys[:-1]:
            record = record[key]
        record[keys[-1]] += 1

    return change


def moved(record: dict[str, Any]) -> None:
    """Mean, low and high of a row's color by one point."""
    for key in ("mean", "low", "high"):
        record["rows"][0]["dimensions"]["color"]["raw"][key] += 1


RESULT, SCORES = "scores/a/color.result.json", "aggregate/scores.json"
LIES: dict[str, tuple[str, Callable[[dict[str, Any]], object], str]] = {
    "a mean": (SCORES, moved, "says of a, color: 26.5; the scores of the clips give 25.5"),
    "a normalised mean": (
        SCORES,
        lambda r: r["rows"][0]["dimensions"]["color"].update(normalised={"mean": 9, "low": 1, "high": 10}),
        "says of a, color: 9.0; the scores of the clips give",
    ),
    "a count": (SCORES, number("rows", 0, "dimensions", "color", "clips"), "says of a, color: .*5, 0"),
    "a difference": (
        SCORES,
        lambda r: r["pairs"][0].update(difference={"mean": 1, "low": 0, "high": 2}),
        "says of a minus b, temporal_flickering: 1.0; the scores of the clips give -",
    ),
    "ranks": (SCORES, lambda r: r["rows"][1].update(ranks={}), "says of b, ranks: {}"),
    "a dimension gone": (SCORES, lambda r: r["rows"][0]["dimensions"].pop("drift"), "of a, dimensions"),
    "an interval": (
        SCORES,
        lambda r: r["rows"][0]["dimensions"]["color"]["raw"].update(low=99),
        "outside its interval 99",
    ),
    "a version": (SCORES, lambda r: r.update(schema_version=1), "has schema_version 1, expected 3 of a Scor"),
    "no version": (SCORES, lambda r: r.pop("schema_version"), "has no schema_version, expected 3 of a Scor"),
    "a version in quotes": (SCORES, lambda r: r.update(schema_version="3"), "expected 3 of a ScoresTable"),
    "draws in quotes": (SCORES, lambda r: r.update(draws="1000"), "draws: Input should be a valid integer"),
    "a score": (RESULT, number("clips", 0, "value"), "color.result.json is not the file that .*scores.json"),
    "a result's row": (RESULT, lambda r: r.update(row="b"), "is of suite x, row b, .* expected x, a, color"),
    "a filter": ("filter/a.json", lambda r: r.update(threshold=2.0), "a.json is not the file that"),
    "a prompt": ("prompts/prompts.jsonl", lambda r: r.update(prompt="x"), "prompts.jsonl is not the file"),
    "a manifest": (
        "clips/a/manifest.jsonl", lambda r: r.update(fps=9),
        "outcome of row a was made from another file of the row's manifest",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_an_edit_of_any_file_is_one_sentence(tmp_path: Path, name: str) -> None:
    """Guards against numbers that the clips' scores do not give, though file and checksum fit each other."""
    file, change, message = LIES[name]
    make_results(tmp_path, "toybox", {"a": 0.25, "b": 0.5})
    read_scores(tmp_path)
    lie(tmp_path / file, change)
    with pytest.raises(ValueError, match=message) as caught:
        read_scores(tmp_path)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize("name", [SCORES, RESULT, "filter/a.json", "prompts/prompts.jsonl"])
def test_what_is_missing_is_one_sentence(tmp_path: Path, name: str) -> None:
    make_results(tmp_path, "toybox", {"a": 0.25})
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{Path(name).name} is missing.*build its report first"):
        read_scores(tmp_path)


def test_scores_made_after_the_table_are_noticed(tmp_path: Path) -> None:
    """Guards against a frame and a report of different numbers."""
    make_results(tmp_path / "then", "toybox", {"a": 0.25})
    make_results(tmp_path / "now", "toybox", {"a": 0.26})
    table = read_json(ScoresTable, tmp_path / "then/aggregate/scores.json")
    write_json(tmp_path / "now/aggregate/scores.json", table)
    with pytest.raises(ValueError, match="made again since; build the table again"):
        read_scores(tmp_path / "now")


def test_swapped_results_are_noticed(tmp_path: Path) -> None:
    """Two rows' files in each other's place, though the table was told their hashes in that order."""
    table = make_results(tmp_path, "toybox", {"a": 0.25, "b": 0.5})
    one, other = (tmp_path / f"scores/{row}/color.result.json" for row in ("a", "b"))
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    with pytest.raises(ValueError, match="is of suite x, row b, dimension color, expected x, a, color"):
        read_scores(tmp_path)
    found = table.inputs.results
    swapped = {row: {**found[row], "color": found[then]["color"]} for row, then in (("a", "b"), ("b", "a"))}
    inputs = table.inputs.model_copy(update={"results": swapped})
    write_json(tmp_path / "aggregate/scores.json", table.model_copy(update={"inputs": inputs}))
    with pytest.raises(ValueError, match="is of suite x, row b, dimension color, expected x, a, color"):
        read_scores(tmp_path)


def test_frames_as_csv(tmp_path: Path) -> None:
    """Numbers have four decimals, p-values six digits, what is not there is empty, and text is quoted."""
    table = make_results(tmp_path, "toybox", {"a": 0.25, "b": 0.5})
    head, first, *_ = csv_text(table_frame(table), None).splitlines()
    assert head.startswith("row,label,row_kind,metric,scorer_kind,raw,raw_low,")
    assert first.startswith('a,"a, ours",native,temporal_flickering,exact,27.0000,')
    assert first.endswith(",1,1,1,2,")
    pair = csv_text(pairs_frame(table), 'only "a"').splitlines()
    assert pair[0] == ",".join((*PAIR_COLUMNS, "subset"))
    assert all(line.endswith(',"only ""a"""') for line in pair[1:])
    point = Interval(mean=1.0, low=0.0, high=2.0)
    curve = ChunkCurve(
        row="a", metric="color", chunks=(point, None), drift=point, p_value=0.5, holm=0.123456789, prompts=2
    )
    chunks = ChunkTable(
        suite="x", inputs=FILES, pixel_frames=9, metrics=("color",), without=(), curves=(curve,), pairs=()
    )
    assert csv_text(chunks_frame(chunks), None).splitlines() == [
        "row,metric,chunk,normalised,low,high,holm,prompts",
        "a,color,0,1.0000,0.0000,2.0000,,2",
        "a,color,drift,1.0000,0.0000,2.0000,0.123457,2",
    ]
    assert csv_text(pairs_frame(table.model_copy(update={"pairs": ()})), None).count("\n") == 1
