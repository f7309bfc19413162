"""The section on long clips: the sentence that is quoted, and no praise for a picture that froze."""

import re

import numpy as np
import pytest

from evaluation.chunks import SUMMARY, ChunkTable
from evaluation.dimensions import DIMENSIONS
from evaluation.records import RowSummary
from reports.page import render_page, render_section
from reports.run import ReportRow, Run
from reports.sections.long_clips import (
    compared_metric,
    drift_headline,
    drift_lines,
    reduced_motion,
    rolling_edges,
)
from tests.evaluation.made_up import chunk_table
from tests.evaluation.test_chunks import make_prompts, result, settings
from tests.evaluation.test_long_table import cell, made_up_row, table_of

TITLES = {SUMMARY: "quality"}
QUALITY = [d.name for d in DIMENSIONS if d.group == "quality"]


def drifting_table(losses: dict[str, float]) -> ChunkTable:
    """Rows whose imaging quality has fallen by so much, a fraction, since the middle of a minute."""
    prompts, rng = make_prompts(24), np.random.default_rng(1)
    noise = {row: rng.normal(0, 0.01, 24) for row in losses}

    def frames(row: str, number: int) -> list[float]:
        lost = losses[row] + noise[row][number]
        return np.where(np.arange(957) < 480, 0.8, 0.8 - lost).tolist()

    results = [result(row, prompts, lambda n, _, row=row: frames(row, n)) for row in losses]
    asked = settings(dict.fromkeys(losses, "native")).model_copy(update={"seconds_of": 16})
    return chunk_table("x", prompts, results, asked)


def headline(losses: dict[str, float], reduced: set[str] = frozenset()) -> str:  # type: ignore[assignment]
    ranked = [RowSummary.model_construct(row=row, label=row.upper()) for row in losses]
    return drift_headline(drifting_table(losses), TITLES, ranked, reduced, 60)


def test_who_lost_who_did_not_and_the_difference() -> None:
    said = headline({"a": 0.1, "b": 0.2, "c": 0.0})
    assert re.fullmatch(
        r"After 60 seconds B has lost (19|20)\.\d+ points \[.*\] of quality, C nothing that shows "
        r"\([+-]?0\.\d\); the difference is (19|20)\.\d points \(p = 0\.00\d\)\.",
        said,
    )


def test_flicker_alone_is_no_quality() -> None:
    """Guards against "no model has lost" where the only quality dimension is one that a collapse keeps."""
    assert compared_metric([SUMMARY, "temporal_flickering", "overall_consistency"]) == "overall_consistency"
    assert compared_metric([SUMMARY, "temporal_flickering", "imaging_quality"]) == SUMMARY
    assert compared_metric([SUMMARY, *QUALITY, "overall_consistency"]) == SUMMARY
    assert compared_metric(["color"]) == "color"


def test_a_frozen_picture_is_never_the_one_that_holds() -> None:
    assert "C nothing" in headline({"b": 0.2, "c": 0.0, "frozen": 0.0}, {"frozen"})
    assert headline({"b": 0.2, "frozen": 0.0}, {"frozen"}).endswith(
        "no model holds it with its motion alive."
    )
    table = table_of(made_up_row("lives", 0.9), made_up_row("dies", 0.7), made_up_row("still", None))
    cells = {
        row: {"motion_persistence": cell(table, row, "motion_persistence")} if row != "still" else {}
        for row in ("lives", "dies", "still")
    }
    assert reduced_motion(cells) == {"dies", "still"}


def test_without_a_loss_nothing_is_claimed() -> None:
    assert headline({"a": 0.0, "b": 0.0}) == (
        "After 60 seconds no model has lost quality beyond what chance explains."
    )
    assert "one number a clip" in drift_headline(None, TITLES, [], set(), 60)


@pytest.fixture
def long_run(finished_run: Run) -> Run:
    """The synthetic run as if its clips were a minute long; the last ranked row stands still at the end."""
    rows = [row.row for row in finished_run.table.rows]
    persistence = dict.fromkeys(rows, 1.0) | {"rolling_forcing": 0.2}
    table = table_of(*(made_up_row(row, persistence[row]) for row in rows), controls=("truth", "noise"))
    return finished_run.model_copy(update={"long": table})


def test_the_section_prints_the_table_and_marks_reduced_motion(long_run: Run) -> None:
    html = render_section(long_run, "long_clips")
    assert html.count("motion reduced") == 1
    assert "0.20<small>" in html
    assert 'id="long-clips"' in render_page(long_run)


def test_a_run_of_short_clips_has_no_such_section(finished_run: Run) -> None:
    assert 'id="long-clips"' not in render_page(finished_run)


def test_one_drift_by_every_published_definition() -> None:
    """Closed form: a line that falls by a point a second, from the second on that no slope looks at."""
    prompts = make_prompts(24)
    falling = [0.8 - 0.01 * (t // 16) for t in range(960)]
    results = [result("a", prompts, lambda *_: falling)]
    asked = settings({"a": "native"}).model_copy(update={"seconds_of": 16})
    metric, (line,) = drift_lines(
        chunk_table("x", prompts, results, asked), [RowSummary.model_construct(row="a", label="A")], {}
    )
    assert metric == "imaging_quality" and line.before_edge is None
    slope = line.slope / 10
    assert slope < 0
    assert line.ends.mean == pytest.approx(55 * slope)
    assert line.relative == pytest.approx(51 * slope), "nine seconds at each end"


def test_the_last_blocks_of_a_rolling_row_are_told_apart() -> None:
    """Closed form: a clip of 957 frames that is flat but for its last four blocks of 12 frames has lost
    nothing before them (baselines/methods.md#beyond-the-trained-length).
    """
    prompts, edge = make_prompts(24), 4 * 12
    rows = {
        name: ReportRow(
            label=name,
            kind="native",
            settings={"rollout": {"kind": kind, "chunk": 3}, "schedule": {"steps": [5, 4, 3, 2, 1]}},
        )
        for name, kind in (("rolls", "rolling"), ("chunks", "chunked"))
    }
    assert rolling_edges(rows) == {"rolls": edge}
    falls = [0.8 if t < 957 - edge else 0.7 for t in range(957)]
    results = [result(name, prompts, lambda *_: falls) for name in rows]
    table = chunk_table(
        "x", prompts, results, settings(dict.fromkeys(rows, "native")).model_copy(update={"seconds_of": 16})
    )
    shown = [RowSummary.model_construct(row=name, label=name) for name in rows]
    _, (rolls, chunks) = drift_lines(table, shown, rolling_edges(rows))
    assert rolls.ends.mean == chunks.ends.mean < -1
    assert rolls.before_edge == pytest.approx(0) and chunks.before_edge is None


def test_clip_to_clip_stands_beside_what_it_becomes_and_papers_apart(long_run: Run) -> None:
    """Guards against a flat map that hides twelve points, and totals of five seconds beside a minute."""
    table = long_run.long
    assert table is not None
    measured = table.cells[0].model_copy(
        update={"measure": "between_subject", "value": table.cells[0].value.model_copy(update={"mean": 74.2})}
    )
    long = long_run.model_copy(
        update={
            "long": table.model_copy(update={"cells": (*table.cells, measured)}),
            "settings": long_run.settings.model_copy(update={"bounds": "vbench"}),
        }
    )
    html = render_section(long, "long_clips")
    row = next(row for row in long.table.rows if row.row == measured.row)
    fused = row.dimensions["subject_consistency"].raw.mean
    assert re.search(rf"74\.20<small>{fused:.2f} fused</small>", html)
    assert "VBench-Long, 7 dimensions" in html and "clip to clip" not in render_section(
        long_run, "long_clips"
    )
    assert "Not comparable with this run" in html and "published-long" not in render_section(
        long_run, "long_clips"
    )
