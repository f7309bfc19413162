"""A run.json of ours as somebody's results: the numbers of its run again, and what is refused."""

from pathlib import Path

import pytest

from evaluation.compared_results import compare_results, named_rows
from evaluation.dimensions import NAMES
from evaluation.imported_results import read_foreign_results, read_named_results
from evaluation.records import ScoresTable, read_json


def test_a_run_json_is_read_with_the_scores_intervals_and_tests_of_its_run(
    results: tuple[Path, str], tmp_path: Path
) -> None:
    """The run's own table and the one of its run.json alone, to the last digit, with the same draws."""
    folder, _ = results
    own = read_json(ScoresTable, folder / "aggregate/scores.json")
    whole = [row.row for row in own.rows if row.kind != "control" and row.total is not None][:2]
    found = named_rows([read_named_results(f"{folder / 'run.json'}:{row}") for row in whole])
    assert list(found) != [] and all(one.row in whole for _, one in found.values())
    table = compare_results(found, draws=own.draws).run.table
    again = dict(zip(whole, table.rows, strict=True))
    for row in (one for one in own.rows if one.row in whole):
        assert {n: c.raw.mean for n, c in row.dimensions.items() if n in NAMES} == {
            n: c.raw.mean for n, c in again[row.row].dimensions.items()
        }
        assert row.total is not None and again[row.row].total is not None
        assert row.total.mean == again[row.row].total.mean
    with pytest.raises(ValueError, match="none was chosen; name one as `row`"):
        read_foreign_results(folder / "run.json")
    with pytest.raises(ValueError, match="'nobody' is none of them"):
        read_foreign_results(folder / "run.json", "nobody")
    text = (folder / "run.json").read_text(encoding="utf-8")
    (tmp_path / "run.json").write_text(text.replace('"draws"', '"drawn"', 1), encoding="utf-8")
    with pytest.raises(ValueError, match="not what its checksum says"):
        read_foreign_results(tmp_path / "run.json", whole[0])
    with pytest.raises(ValueError, match=r"is no run.json, so that there is no row 'a' to choose"):
        read_foreign_results(tmp_path, "a")
