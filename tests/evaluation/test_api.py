"""Scores from Python, as in a notebook."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evaluation.api import ScoreFrames, paired_tests, score_frames
from evaluation.toybox.render import render
from evaluation.toybox.suite import toybox_prompts
from tests.evaluation.mixed_clips import make_mixed, pictures
from tests.workflow.project import LEFT_OUT

ROOT = Path(__file__).parents[2]

TESTS = pd.DataFrame(
    [("a", "b", "color", 2.0, 1.0, 3.0, 0.5, 3.5)],
    columns=["a", "b", "metric", "difference", "low", "high", "corrected_low", "corrected_high"],
)
ROWS = pd.DataFrame([("a", "Ours (imported)"), ("b", "Theirs (imported)")], columns=["row", "label"])


def test_a_comparison_turned_round_is_its_negative() -> None:
    """Guards signs and ends of intervals: b minus a is minus (a minus b), low end first."""
    scores = ScoreFrames(pd.DataFrame(), ROWS, TESTS)
    assert paired_tests(scores, "Ours", "b")["difference"].tolist() == [2.0]
    turned = paired_tests(scores, "Theirs", "Ours").iloc[0]
    assert (turned["a"], turned["b"], turned["difference"]) == ("b", "a", -2.0)
    assert (turned["low"], turned["high"]) == (-3.0, -1.0)
    assert (turned["corrected_low"], turned["corrected_high"]) == (-3.5, -0.5)
    with pytest.raises(ValueError, match="no row 'c'"):
        paired_tests(scores, "a", "c")


def test_frames_in_memory_score_by_their_captions() -> None:
    """Guards rows without files: a rendered truth passes what its caption states, noise does not, and a name
    that is no caption has the dimensions that need none.
    """
    prompt = next(p for p in toybox_prompts(20260701) if "color" in p.dimensions)
    truth = render(prompt.facts, 0)
    noise = np.random.default_rng(1).integers(0, 256, truth.shape, dtype=np.uint8)
    found = score_frames({"truth": {prompt.prompt: truth}, "noise": {prompt.prompt: noise}}, ["color"])
    assert found["value"].tolist()[0] > found["value"].tolist()[1]
    other = score_frames({"mine": {"IMG_1": np.stack(pictures(0, 9, 40, 60))}})
    assert "color" not in set(other["dimension"]) and "temporal_flickering" in set(other["dimension"])
    with pytest.raises(ValueError, match="float64"):
        score_frames({"mine": {"x": np.zeros((3, 8, 8, 3))}})


NOTEBOOK = """
from evaluation.api import paired_tests, read_results, score_folder
found = score_folder(
    {ours!r}, {theirs!r}, output={output!r}, benchmark="toybox", dimensions=["imaging_quality"],
    flags=["--cores", "2"],
)
assert len(found.clips) == 8
assert paired_tests(found, "ours", "theirs")["difference"].tolist() == [0.0]
assert read_results({output!r}).dimensions.equals(found.dimensions)
try:
    score_folder({ours!r}, output={output!r}, benchmark="toybox", dimensions=["colour"])
except ValueError as error:
    assert "names 'colour', expected some of" in str(error)
"""


@pytest.mark.slow
def test_a_notebook_scores_two_folders_and_compares_them(tmp_path: Path) -> None:
    """Guards the whole way from Python, without a suite file, in a copy of the project."""
    project = tmp_path / "project"
    shutil.copytree(ROOT, project, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    places = {name: str(tmp_path / name) for name in ("ours", "theirs", "output")}
    for name in ("ours", "theirs"):
        make_mixed(tmp_path / name, 4)
    command = [sys.executable, "-c", NOTEBOOK.format(**places)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
