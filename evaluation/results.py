"""Scores as pandas DataFrames: those of every clip, read from a results folder, and the tables of a run.

    from evaluation.results import read_scores

    scores = read_scores("results/vbench")
    scores.groupby(["row", "dimension"])["normalised"].mean().unstack()

Values of frames and all that decides a clip stay in the records (evaluation/records.py).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from evaluation.chunks import ChunkTable
from evaluation.finished_run import FinishedRun, read_finished_run
from evaluation.metrics import CUSTOM_GROUP, metrics
from evaluation.protocol import protocol_tag
from evaluation.records import Interval, RowSummary, ScoresTable

CLIP_COLUMNS = ("row", "dimension", "prompt", "sample", "value", "unit", "normalised", "benchmark")
TABLE_COLUMNS = (
    "row", "label", "row_kind", "metric", "scorer_kind", "raw", "raw_low", "raw_high", "normalised", "low",
    "high", "prompts", "clips", "first_rank", "last_rank", "protocol",
)  # fmt: skip
PAIR_COLUMNS = (
    "a", "b", "family", "metric", "difference", "low", "high", "corrected_low", "corrected_high", "p_value",
    "holm", "prompts", "detectable",
)  # fmt: skip
FORMULAS = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
"""What begins a formula in a spreadsheet, in the wide forms of East Asian keyboards too."""
CHUNK_COLUMNS = ("row", "metric", "chunk", "normalised", "low", "high", "holm", "prompts")


def read_scores(folder: Path | str) -> pd.DataFrame:
    """Every clip's score of a finished run, a line a clip and dimension.

    folder: `results/<suite>`, or a subset's folder below it. Lines are in the order of the run's rows,
    dimensions and prompts. Columns: row; dimension, custom ones too; prompt, its id; sample, from 0; value,
    as the scorer gave it; unit of the value, "fraction" of the sixteen; normalised, in percent as in the
    report, whose mean over clips is the report's number; benchmark, so that two suites stay apart.

    Raises FileNotFoundError if a file of the run is missing, and ValueError if one is not what the run's
    table was made from, or does not hold exactly the clips that it should.
    """
    return clips_frame(read_finished_run(Path(folder)))


def clips_frame(run: FinishedRun) -> pd.DataFrame:
    """The lines of `read_scores` of a run that was read."""
    place = {prompt.id: number for number, prompt in enumerate(run.prompts)}
    known = metrics(run.table.benchmark, run.table.custom)
    lines: list[tuple[Any, ...]] = []
    for row in run.table.rows:
        for name in row.dimensions:
            metric = known[name]
            unit = metric.unit if metric.group == CUSTOM_GROUP else "fraction"
            clips = run.results[row.row][name].clips
            lines += [
                (row.row, name, clip.prompt_id, clip.sample, clip.value, unit,
                 metric.normalise(metric.factor * clip.value), run.table.benchmark)
                for clip in sorted(clips, key=lambda clip: (place[clip.prompt_id], clip.sample))
            ]  # fmt: skip
    return pd.DataFrame(lines, columns=list(CLIP_COLUMNS))


def _cells(found: Interval, mean: str = "normalised", prefix: str = "") -> dict[str, float]:
    """An interval as the columns `mean`, low and high."""
    return {mean: found.mean, f"{prefix}low": found.low, f"{prefix}high": found.high}


def _row_cells(row: RowSummary) -> Iterable[dict[str, Any]]:
    for name, total in row.totals.items():
        yield {"metric": name, **_cells(total)}
    for name, cell in row.dimensions.items():
        yield {
            "metric": name, "scorer_kind": cell.kind, "prompts": cell.prompts, "clips": cell.clips,
            **_cells(cell.raw, "raw", "raw_"), **_cells(cell.normalised),
        }  # fmt: skip


def _ranks(row: RowSummary, metric: str) -> dict[str, int]:
    found = row.ranks.get(metric)
    return {} if found is None else {"first_rank": found.first, "last_rank": found.last}


def table_frame(table: ScoresTable) -> pd.DataFrame:
    """A line a row and metric. Totals have no raw scores, counts and kind of scorer, controls no ranks and no
    protocol.
    """
    lines = [
        {"row": row.row, "label": row.label, "row_kind": row.kind, **cells, **_ranks(row, cells["metric"])}
        | ({} if row.protocol is None else {"protocol": protocol_tag(row.protocol)})
        for row in table.rows
        for cells in _row_cells(row)
    ]
    counts = dict.fromkeys(("prompts", "clips", "first_rank", "last_rank"), "Int64")
    return pd.DataFrame(lines, columns=list(TABLE_COLUMNS)).astype(counts)


def pairs_frame(table: ScoresTable) -> pd.DataFrame:
    """A line two rows and a metric: a minus b in normalised points, with p-values raw and after Holm.

    low, high: the interval of this pair alone; corrected_low, corrected_high: the one that goes with `holm`;
    detectable: the smallest true difference that this test finds 80 times of 100; family: the rows whose
    tests Holm's correction takes together, `models` or `models against <row>`, of a control or teacher.
    """
    controls = {row.row for row in table.rows if row.kind in ("control", "teacher")}
    lines = [
        {"family": f"models against {pair.b}" if pair.b in controls else "models"}
        | pair.model_dump()
        | _cells(pair.corrected, "difference", "corrected_")
        | _cells(pair.difference, "difference")
        for pair in table.pairs
    ]
    return pd.DataFrame(lines, columns=list(PAIR_COLUMNS))


def chunks_frame(table: ChunkTable) -> pd.DataFrame:
    """A line a row, metric and chunk, in normalised points, and one a drift, with its p-value after Holm."""
    lines = [
        {"row": curve.row, "metric": curve.metric, "chunk": chunk, "prompts": curve.prompts, **_cells(found)}
        | ({"holm": curve.holm} if chunk == "drift" else {})
        for curve in table.curves
        for chunk, found in [*enumerate(curve.chunks), ("drift", curve.drift)]
        if found is not None
    ]
    return pd.DataFrame(lines, columns=list(CHUNK_COLUMNS))


def csv_text(frame: pd.DataFrame, subset: str | None) -> str:
    """A frame as CSV, with four decimals, and six digits of p-values.

    A text that a spreadsheet would take for a formula begins with an apostrophe.
    Of a subset run every line says what was left out, so that none can be taken for a whole run's.
    """
    p_values = [name for name in ("p_value", "holm") if name in frame]
    frame = frame.assign(**{n: frame[n].map("{:.6g}".format, na_action="ignore") for n in p_values})
    if subset is not None:
        frame = frame.assign(subset=subset)
    frame = frame.map(_inert)
    return frame.to_csv(index=False, float_format="%.4f", lineterminator="\n")


def _inert(cell: object) -> object:
    """A cell that no spreadsheet computes: texts of FORMULAS, also behind blanks, are quoted."""
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip()[:1] in FORMULAS else cell
