"""Pieces of long clips through the stages: cut, scored by the official package in parts, joined."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evaluation.clip_reader import read_clip
from evaluation.records import DimensionResult, Prompt, read_json, write_json, write_jsonl
from evaluation.selection import hashes_of
from evaluation.static_filter import filtered_set
from evaluation.vbench.pieces import PieceSet
from tests.vbench import tiny
from tests.vbench.test_pieces import long_clip
from workflow.scripts import cut_pieces, score_join

DIMENSION = "temporal_flickering"


@pytest.mark.vbench
@tiny.needs_environment()
def test_pieces_are_scored_by_the_official_package(tmp_path: Path) -> None:
    """Two clips of 20 frames at 4 a second, whose prompt can be no file name: pieces from 0, 8 and 12. Naive
    reference: flicker is 1 - mean absolute difference / 255 of each piece, a clip's the mean of its pieces.
    """
    clips = [long_clip(tmp_path / "clips", name, frames=20, fps=4) for name in ("a", "b")]
    prompts = [
        Prompt(id=clip.prompt_id, prompt=f"{clip.prompt_id}/{'long ' * 60}", extended="x", facts={},
               dimensions=(DIMENSION,), samples=1, keep=None)
        for clip in clips
    ]  # fmt: skip
    write_jsonl(tmp_path / "prompts.jsonl", prompts)
    write_jsonl(tmp_path / "manifest.jsonl", clips)
    inputs = hashes_of(tmp_path / "prompts.jsonl", tmp_path / "manifest.jsonl")
    write_json(tmp_path / "filter.json", filtered_set("mine", inputs, prompts, {}, 1.0))
    tiny.make_cache(tmp_path, "bert_tokenizer")
    files = [f"--prompts={tmp_path}/prompts.jsonl", f"--manifest={tmp_path}/manifest.jsonl"]
    row = ["--row=mine", *files]
    pieces = tmp_path / "pieces"
    cutting = [*row, f"--clips={tmp_path}/clips", "--encoding=direct", "--threads=1", f"--output={pieces}"]
    assert cut_pieces.main(cutting) == 0
    for part in ("0-of-2", "1-of-2"):
        command = [sys.executable, "-m", "workflow.scripts.score_part", f"--pieces={pieces}"]
        command += tiny.part_command(tmp_path, DIMENSION, part, "fast")
        done = subprocess.run(
            command, cwd=tiny.ROOT, env=tiny.environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
    parts = [str(tmp_path / f"{DIMENSION}.{i}-of-2.json") for i in range(2)]
    joining = [
        *row,
        "--suite=tiny",
        f"--dimension={DIMENSION}",
        f"--filtered={tmp_path}/filter.json",
        "--long",
    ]
    joining += ["--parts", *parts, f"--output={tmp_path}/official.json", f"--result={tmp_path}/result.json"]
    assert score_join.main(joining) == 0
    result = read_json(DimensionResult, tmp_path / "result.json")
    assert len(read_json(PieceSet, pieces / "pieces.json").pieces) == 6
    for clip, score in zip(clips, result.clips, strict=True):
        frames = read_clip(tmp_path / "clips" / clip.file).frames.astype(float)
        naive = [1 - np.abs(np.diff(frames[start : start + 8], axis=0)).mean() / 255 for start in (0, 8, 12)]
        assert score.pieces == pytest.approx(naive, abs=1e-3)
        assert score.value == pytest.approx(np.mean(score.pieces))
        assert score.frame_values is not None and len(score.frame_values) == 20
    assert result.mean == pytest.approx(np.mean([clip.value for clip in result.clips]))
