"""Two sets of results compared without a clip: what the run's own table says, and what is refused."""

from pathlib import Path

import pytest

from evaluation.aggregate import AggregateSettings, RowLabel
from evaluation.compared_results import compare_results
from evaluation.dimensions import NAMES
from evaluation.imported_results import read_foreign_results
from tests.evaluation import standard_results as made
from tests.evaluation.made_up import aggregate
from tests.evaluation.test_imported_results import JUDGED, own_row
from workflow.scripts import compare_results as script


@pytest.fixture(scope="module")
def zips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows of the standard suite, a better one and another, as their leaderboard zips."""
    folder = tmp_path_factory.mktemp("zips")
    for row, seed, shift in (("a", 1, 0.03), ("b", 2, 0.0)):
        (folder / f"{row}.zip").write_bytes(own_row(row, seed, shift)[2])
    return folder


def test_differences_and_totals_are_those_of_a_table_of_both(zips: Path) -> None:
    """Guards pairing, sign, normalisation and the totals' formula against the aggregation."""
    found = {
        line.metric: line
        for line in compare_results(*(read_foreign_results(zips / f"{row}.zip") for row in "ab"), draws=640)
    }
    assert set(found) == {"total", "quality", "semantic", *NAMES}
    rows = [own_row("a", 1, 0.03), own_row("b", 2, 0.0)]
    settings = AggregateSettings(
        bounds="vbench", dimensions=NAMES, draws=640, seed=7,
        rows={"a": RowLabel(label="A", kind="native"), "b": RowLabel(label="B", kind="native")},
    )  # fmt: skip
    results = [result for each, _, _ in rows for result in each]
    table = aggregate("s", made.prompts(), results, [kept for _, kept, _ in rows], settings)
    for pair in table.pairs:
        assert found[pair.metric].test.difference.mean == pytest.approx(pair.difference.mean, abs=1e-9)
    assert table.rows[0].total is not None
    assert found["total"].one == pytest.approx(table.rows[0].total.mean, abs=1e-9)
    assert found["total"].test.holm < 0.05 and found["total"].test.difference.mean > 0


def test_a_file_compared_with_itself_differs_nowhere(zips: Path) -> None:
    same = read_foreign_results(zips / "a.zip")
    assert all(
        line.test.difference.mean == 0 and line.test.holm == 1 and line.left == 0
        for line in compare_results(same, same, draws=640)
    )


def test_the_command_prints_a_table_and_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed, files = made.prompts(12), []
    for row, seed in (("a", 1), ("b", 2)):
        kept = made.filtered(row, listed, JUDGED)
        files.append(tmp_path / row)
        files[-1].mkdir()
        for name, text in made.texts(made.results(row, listed, kept, seed, 0.0)).items():
            (files[-1] / f"{name}_eval_results.json").write_text(text, encoding="utf-8")
    output = tmp_path / "compared.csv"
    assert script.main([*map(str, files), "--output", str(output)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[3].split()[0] == "total" and printed[-1].endswith("(Holm's correction, 5 %).")
    lines = output.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("metric,first,second,difference") and len(lines) == 1 + 3 + len(NAMES)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (
            '{"scene": [0.5, [{"video_path": "nobody-0.mp4", "video_results": 0.5}]]}',
            "share no prompt of scene",
        ),
        ('{"scene": [0.9, [{"video_path": "x-0.mp4", "video_results": 0.5}]]}', "states the score 0.9"),
        ('{"scene": [0.5, [{"video_path": "x-0.mp4", "video_results": NaN}]]}', "NaN"),
        ("[]", "expected {"),
        ("", "second.json"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    zips: Path, tmp_path: Path, second: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "second.json").write_text(second, encoding="utf-8")
    assert script.main([str(zips / "a.zip"), str(tmp_path / "second.json")]) == 1
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
