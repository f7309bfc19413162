"""A finished run computed again, from the scores of its clips to its last p-value, and compared.

finished_run.py proves that files belong together; here the aggregation itself is done again, with the draws
and the seed that the table names.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from evaluation.aggregate import NO_SUBSET_TOTAL, AggregateSettings, RowLabel, aggregate
from evaluation.chunks import ChunkTable, chunk_table
from evaluation.files import file_sha256
from evaluation.finished_run import FinishedRun
from evaluation.long_series import LongRow
from evaluation.long_table import LongTable, long_table
from evaluation.protocol_moves import ProtocolMoves, protocol_moves
from evaluation.records import Record, ScoresTable, read_json
from evaluation.variance import VarianceTable, variance_table

SAME = 1e-9
"""How far two machines may be apart in a number, of its size and in points: the order of sums."""

_Table = TypeVar("_Table", bound=Record)


def settings_of_table(table: ScoresTable) -> AggregateSettings:
    """The settings that a table was made with, as it says them itself."""
    return AggregateSettings(
        bounds=table.benchmark,
        dimensions=table.dimensions,
        draws=table.draws,
        seed=table.seed,
        rows={
            row.row: RowLabel(label=row.label, kind=row.kind, of=row.of, protocol=row.protocol)
            for row in table.rows
        },
        custom=table.custom,
        subset=table.subset,
        totals=all(row.incomplete != NO_SUBSET_TOTAL for row in table.rows),
    )


def check_recomputed(folder: Path, run: FinishedRun) -> None:
    """Compute the tables in aggregate/ of a results folder again. run: what was read of it.

    Raises ValueError naming the file and the first number that differs, or FileNotFoundError.
    """
    table = run.table
    chunks = _table_of(ChunkTable, folder, "chunks")
    settings = settings_of_table(table).model_copy(update={"seconds_of": chunks.seconds_of})
    results = [result for found in run.results.values() for result in found.values()]
    filtered = [run.filtered[row] for row in table.inputs.filtered]
    made = aggregate(table.suite, run.prompts, results, filtered, settings, table.inputs)
    _compare("aggregate/scores.json", table, made)
    read: Mapping[str, tuple[Record, Record]] = {
        "variance": (
            _table_of(VarianceTable, folder, "variance"),
            variance_table(table.suite, results, settings.known, table.inputs),
        ),
        "chunks": (
            chunks,
            chunk_table(table.suite, run.prompts, results, settings, table.inputs),
        ),
    }
    for name, (found, again) in read.items():
        _compare(f"aggregate/{name}.json", found, again)
    if (folder / "aggregate/protocol_moves.json").is_file():
        moves = protocol_moves(
            table.suite, run.prompts, results, filtered, settings, table.inputs, run.second
        )
        _compare("aggregate/protocol_moves.json", _table_of(ProtocolMoves, folder, "protocol_moves"), moves)
    if (folder / "aggregate/long.json").is_file():
        _check_long(folder, run, settings)


def _check_long(folder: Path, run: FinishedRun, settings: AggregateSettings) -> None:
    """Compute long.json again from what was measured of the clips."""
    found, files = _table_of(LongTable, folder, "long"), {}
    for row, sha256 in found.measured.items():
        path = folder / f"long/{row}.json"
        if not path.is_file() or file_sha256(path) != sha256:
            raise ValueError(f"long/{row}.json is not the file that aggregate/long.json was computed from.")
        files[row] = read_json(LongRow, path)
    inputs = run.table.inputs
    rows = list(files.values())
    results = [result for found_of in run.results.values() for result in found_of.values()]
    made = long_table(run.table.suite, run.prompts, rows, settings, inputs, found.measured, results)
    _compare("aggregate/long.json", found, made)


def _table_of(kind: type[_Table], folder: Path, name: str) -> _Table:
    return read_json(kind, folder / f"aggregate/{name}.json")


def _compare(file: str, found: Record, made: Record) -> None:
    if difference := first_difference(found.model_dump(), made.model_dump()):
        raise ValueError(f"{file} says {difference}, computed again from the scores of the clips.")


def first_difference(found: Any, expected: Any, where: str = "") -> str | None:
    """The first place where two values of plain types differ, as `<place>: <found>, but it is <expected>`.

    None if there is none. Numbers are the same within SAME; entries of lists go by the row, rows and metric,
    or id that they name.
    """
    inside = f"{where}, " if where else ""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in dict.fromkeys([*found, *expected]):
            if key not in found or key not in expected:
                there = "nothing", "there"
                there = there if key in expected else there[::-1]
                return f"{inside}{key}: {there[0]}, but it is {there[1]}"
            if said := first_difference(found[key], expected[key], f"{inside}{key}"):
                return said
        return None
    if isinstance(found, list | tuple) and isinstance(expected, list | tuple):
        if len(found) != len(expected):
            return f"{where}: {len(found)} entries, but it is {len(expected)}"
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            if said := first_difference(one, other, f"{inside}{_name_of(one, number)}"):
                return said
        return None
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (found, expected))
    same = math.isclose(found, expected, rel_tol=SAME, abs_tol=SAME) if numbers else found == expected
    return None if same else f"{where}: {str(found)[:80]}, but it is {str(expected)[:80]}"


def _name_of(entry: Any, number: int) -> str:
    if isinstance(entry, dict):
        for keys in (
            ("a", "b", "metric"),
            ("row", "metric"),
            ("row", "dimension"),
            ("row",),
            ("choice",),
            ("id",),
        ):
            if all(isinstance(entry.get(key), str) for key in keys):
                return " ".join(f"{key} {entry[key]}" if key == "row" else entry[key] for key in keys)
    return f"entry {number + 1}"
