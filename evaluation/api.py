"""Scores from Python, as pandas DataFrames: score folders of clips, read what was scored, compare two rows.

    from evaluation.api import compare, paired_tests, read_results, score_folder

    found = score_folder("ours", "theirs.zip", output="scores", benchmark="toybox")
    found.dimensions.pivot(index="metric", columns="label", values="normalised")
    paired_tests(found, "ours", "theirs")
    compare("ours_leaderboard.zip", "results/vbench/run.json:raven")

Scoring runs the workflow in a process of its own, as `raven-bench score` does: it resumes, and this package
imports nothing of it.
"""

import importlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from evaluation.clips import ClipFrames
from evaluation.compared_results import compare_results, named_rows
from evaluation.dimensions import NAMES
from evaluation.finished_run import FinishedRun, read_finished_run
from evaluation.imported_results import is_run, read_named_results, rows_of_run
from evaluation.results import clips_frame, pairs_frame, table_frame
from evaluation.text_only_dimensions import ON_REQUEST, TEXT_ONLY
from evaluation.toybox.caption_facts import facts_of
from evaluation.toybox.prompt_kinds import DIMENSIONS_OF_KIND, prompt_kind
from evaluation.toybox.score import checked, seen_as_toybox

_CHECKOUT = Path(__file__).resolve().parents[1]


class ScoreFrames(NamedTuple):
    """The scores of one run."""

    clips: pd.DataFrame
    """A line a clip and dimension (evaluation.results.read_scores)."""
    dimensions: pd.DataFrame
    """A line a row and metric, with 95 % intervals (evaluation.results.table_frame)."""
    tests: pd.DataFrame
    """A line two rows and a metric: differences, p-values raw and after Holm (`pairs_frame`)."""


def score_folder(
    *sources: Path | str,
    output: Path | str,
    benchmark: str = "vbench",
    prompts: Path | str | None = None,
    dimensions: Sequence[str] | None = None,
    backend: str = "fast",
    common: bool = False,
    flags: Sequence[str] = (),
) -> ScoreFrames:
    """Score folders or zips of clips, a row each, as `raven-bench score` does, and read what came out.

    The arguments are that command's flags; flags: Snakemake's, such as ("--cores", "8"). Progress goes to
    standard error and output. Raises ValueError with the run's last lines if it does not finish.
    """
    target = Path(output).resolve()
    words = [*(str(Path(source).resolve()) for source in sources), "--output", str(target)]
    words += ["--benchmark", benchmark, "--backend", backend]
    words += [] if prompts is None else ["--prompts", str(Path(prompts).resolve())]
    words += ["--common"] if common else []
    words += [] if dimensions is None else ["--dimensions", *dimensions]
    command = [sys.executable, "-m", "workflow.scripts.score", *words, *flags]
    done = subprocess.run(command, cwd=_CHECKOUT, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        last = " ".join(done.stderr.strip().splitlines()[-3:]) or "it said nothing"
        raise ValueError(f"The clips were not scored: {last}")
    return read_results(target)


def read_results(path: Path | str) -> ScoreFrames:
    """The scores of a finished run, or somebody's results with intervals of ours.

    path: the --output of `raven-bench score`, results/<suite> or a subset's; or a leaderboard's zip, a folder
    of VBench's `*_eval_results.json`, one file of them, or a run.json, all rows of it unless `:row` stands
    behind. Raises FileNotFoundError or ValueError as `evaluation.results.read_scores` or
    `evaluation.imported_results.read_foreign_results` does.
    """
    if (Path(path) / "aggregate/scores.json").is_file():
        return _frames(read_finished_run(Path(path)))
    given = [str(path)]
    if is_run(Path(path)):
        given = [f"{path}:{row}" for row in rows_of_run(Path(path))]
    return _frames(compare_results(named_rows([read_named_results(each) for each in given])).run)


def compare(one: Path | str, other: Path | str) -> pd.DataFrame:
    """The paired tests of two results, `one` minus `other` in normalised points, a line a metric.

    Each as `read_results` takes it; a finished run or a run.json of several rows needs `:row` behind it. What
    not both have is left out, and totals with it; two that state different protocols are refused. Raises
    ValueError, or FileNotFoundError, in one sentence.
    """
    rows = named_rows([read_named_results(given) for given in (one, other)])
    return pairs_frame(compare_results(rows).run.table)


def _frames(run: FinishedRun) -> ScoreFrames:
    return ScoreFrames(clips_frame(run), table_frame(run.table), pairs_frame(run.table))


def paired_tests(scores: ScoreFrames, one: str, other: str) -> pd.DataFrame:
    """The paired tests of two rows of one run, `one` minus `other` in normalised points, a line a metric.

    one, other: names or labels of rows. Raises ValueError for a row that is not there.
    """
    names = scores.dimensions[["row", "label"]].drop_duplicates()
    first, second = (_row_of(names, asked) for asked in (one, other))
    tests = scores.tests
    straight = tests[(tests["a"] == first) & (tests["b"] == second)]
    turned = tests[(tests["a"] == second) & (tests["b"] == first)].copy()
    turned[["a", "b"]] = turned[["b", "a"]].to_numpy()
    turned["difference"] = -turned["difference"]
    for low, high in (("low", "high"), ("corrected_low", "corrected_high")):
        turned[[low, high]] = -turned[[high, low]].to_numpy()
    return straight if len(straight) else turned.reset_index(drop=True)


def _row_of(names: pd.DataFrame, asked: str) -> str:
    labels = names["label"].str.removesuffix(" (imported)")
    found = names[(names["row"] == asked) | (names["label"] == asked) | (labels == asked)]["row"].tolist()
    if len(found) != 1:
        raise ValueError(f"There is no row {asked!r}; the rows are {', '.join(names['row'])}.")
    return str(found[0])


def score_frames(
    rows: Mapping[str, Mapping[str, ClipFrames]], dimensions: Sequence[str] | None = None
) -> pd.DataFrame:
    """Scores of frames in memory by the toybox's checkers, without files: a line a clip and dimension.

    rows: row -> caption or name of a clip -> frames [T, H, W, 3] uint8 of any size and length. A caption of
    the embedded world allows the dimensions of its kind, another name those that need no text; dimensions
    chooses among them. Columns: row, clip, dimension, value in 0..1. VBench reads files: write clips with
    `evaluation.clips.write_clip` and use `score_folder`.

    Raises ValueError for frames of another form, or a dimension that no clip allows.
    """
    if unknown := [name for name in dimensions or () if name not in NAMES]:
        raise ValueError(f"dimensions names {unknown[0]!r}, expected some of {', '.join(NAMES)}.")
    lines = []
    for row, clips in rows.items():
        for clip, frames in clips.items():
            if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != "uint8" or len(frames) < 2:
                raise ValueError(
                    f"{clip!r} of {row} is {frames.dtype} of shape {frames.shape}, expected uint8 "
                    "[T, H, W, 3] with at least 2 frames."
                )
            facts, seen = facts_of(clip), seen_as_toybox(frames, len(frames))
            allowed = (
                (*TEXT_ONLY["toybox"], *ON_REQUEST["toybox"])
                if facts is None
                else DIMENSIONS_OF_KIND[prompt_kind(facts)]
            )
            for name in [one for one in allowed if dimensions is None or one in dimensions]:
                scorer = importlib.import_module(f"evaluation.toybox.scorers.{name}")
                lines.append((row, clip, name, checked(scorer.score(seen, facts or {}).value, name, clip)))
    if not lines:
        raise ValueError(
            "None of the clips can be scored on these dimensions; give captions that allow some."
        )
    return pd.DataFrame(lines, columns=["row", "clip", "dimension", "value"])
