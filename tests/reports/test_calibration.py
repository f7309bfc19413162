"""Official clips beside the board: deltas by hand, and a board's file that is none."""

from pathlib import Path

import pytest

from reports.calibration import beside_board, board_frame, read_board
from tests.evaluation.test_results import make_results
from workflow.scripts import calibrate


def test_deltas_are_ours_minus_the_board(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By hand: two prompts of color whose clips score 0.5 and 0.51 are 50.5 percent."""
    table = make_results(tmp_path, "vbench", {"official_clips": 0.5})
    both = beside_board(table.rows[0], read_board("dimension,value\nColor,50.4\n", "b.csv"))
    (line,) = board_frame(both).itertuples()
    assert (line.dimension, line.board) == ("color", 50.4)
    assert line.ours == pytest.approx(50.5)
    assert line.delta == pytest.approx(0.1)
    assert line.inside == (line.low <= 50.4 <= line.high)
    board = tmp_path / "board.csv"
    board.write_text("dimension,value\ncolor,85%\ntemporal flickering,52.0\n")
    assert calibrate.main([str(tmp_path), "--board", str(board), "--output", str(tmp_path / "d.csv")]) == 0
    said = capsys.readouterr().out
    assert "-34.50" in said
    assert "Outside of our interval: color." in said
    assert (tmp_path / "d.csv").read_text().startswith("dimension,ours,low,high,board,delta,inside\n")
    assert calibrate.main([str(tmp_path), "--board", str(board), "--row", "x"]) == 1
    assert "There is no row 'x'" in capsys.readouterr().err


def test_a_board_asks_for_what_was_scored(tmp_path: Path) -> None:
    row = make_results(tmp_path, "vbench", {"a": 0.5}).rows[0]
    with pytest.raises(ValueError, match="Row a has no score of scene, which the board has"):
        beside_board(row, {"scene": 50.0})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,score\ncolor,1\n", "expected dimension,value"),
        ("dimension,value\ncolour,50\n", "'colour' is none of subject_consistency"),
        ("dimension,value\ncolor,50\nColor,50\n", "line 3: 'Color' comes twice"),
        ("dimension,value\ncolor,NaN\n", "is no percentage that color can have"),
        ("dimension,value\ncolor,500\n", "is no percentage that color can have"),
        ("dimension,value\ncolor,high\n", "'high' is no number"),
        ("dimension,value\ncolor,0.86\nscene,0.5\n", "write 97.47, not 0.9747"),
        ("dimension,value\n", "holds no percentages"),
    ],
)
def test_a_file_that_is_no_board_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_board(text, "board.csv")
