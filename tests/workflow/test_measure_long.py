"""From mp4 to aggregate/long.json by the two scripts, and what they refuse."""

import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.clips import write_clip
from evaluation.files import file_sha256
from evaluation.long_series import LongRow
from evaluation.long_table import LongTable
from evaluation.records import (
    Clip,
    Prompt,
    ScoresTable,
    TableInputs,
    clip_id,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
)
from workflow.scripts import long_table, measure_long

FRAMES = 321
ZERO = "0" * 64


def make_row(folder: Path, row: str, *, freezes: bool) -> None:
    """Two clips of drifting stripes, which stop after six seconds where the row freezes."""
    clips = []
    for number in range(2):
        at = np.minimum(np.arange(FRAMES), 96 if freezes else FRAMES)
        wave = 127 + 90 * np.sin((np.arange(32)[None] + 0.4 * at[:, None]) / 4 + number)
        frames = np.repeat(np.repeat(wave[:, None, :, None], 32, 1), 3, 3).astype(np.uint8)
        name = clip_id(f"p{number}", 0)
        path = folder / f"clips/{row}/mp4/{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(path, frames, fps=16)
        clips.append(
            Clip(
                clip_id=name, row=row, prompt_id=f"p{number}", sample=0, file=f"mp4/{name}.mp4",
                sha256=file_sha256(path), latents_sha256=None, noise="portable:x", weights_sha256=None,
                settings_sha256=ZERO, batch_size=1, pixel_frames=FRAMES, height=32, width=32, fps=16,
            )
        )  # fmt: skip
    write_jsonl(folder / f"clips/{row}/manifest.jsonl", clips)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    prompts = [
        Prompt(id=f"p{n}", prompt="p", extended="p", dimensions=("scene",), samples=1, facts={})
        for n in range(2)
    ]
    (tmp_path / "prompts").mkdir()
    write_jsonl(tmp_path / "prompts/prompts.jsonl", prompts)
    make_row(tmp_path, "moves", freezes=False)
    make_row(tmp_path, "stops", freezes=True)
    return tmp_path


def measure(folder: Path, row: str) -> int:
    return measure_long.main(
        [
            "--suite", "x", "--row", row, "--prompts", str(folder / "prompts/prompts.jsonl"),
            "--manifest", str(folder / f"clips/{row}/manifest.jsonl"),
            "--clips", str(folder / f"clips/{row}"), "--output", str(folder / f"long/{row}.json"),
        ]
    )  # fmt: skip


def test_a_row_that_freezes_is_told_from_one_that_moves(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for row in ("moves", "stops"):
        assert measure(run_folder, row) == 0
    measured = read_json(LongRow, run_folder / "long/stops.json")
    assert len(measured.clips[0].seconds["motion"]) == 20
    prompts = run_folder / "prompts/prompts.jsonl"
    inputs = TableInputs(prompts=file_sha256(prompts), filtered={}, results={})
    rows = {row: {"label": row, "kind": "native"} for row in ("moves", "stops")}
    settings = {
        "bounds": "toybox",
        "dimensions": ["scene"],
        "draws": 200,
        "seed": 0,
        "rows": rows,
        "seconds_of": 16,
    }
    scores = run_folder / "aggregate/scores.json"
    scores.parent.mkdir()
    write_json(scores, made_up_scores(inputs))
    flags = [
        "--scores", str(scores), "--prompts", str(prompts), "--settings", json.dumps(settings),
        "--output", str(run_folder / "aggregate/long.json"),
        "--manifests", *(str(run_folder / f"clips/{row}/manifest.jsonl") for row in rows),
        "--measured", *(str(run_folder / f"long/{row}.json") for row in rows),
    ]  # fmt: skip
    assert long_table.main(flags) == 0
    table = read_json(LongTable, run_folder / "aggregate/long.json")
    found = {one.row: one.value.mean for one in table.cells if one.measure == "motion_persistence"}
    assert found["moves"] == pytest.approx(1, abs=0.1)
    assert found["stops"] < 0.5
    make_row(run_folder, "stops", freezes=False)  # sampled anew, and not measured again
    assert long_table.main(flags) == 1
    assert "long/stops.json was made from another file" in capsys.readouterr().err
    write_json(scores, made_up_scores(inputs.model_copy(update={"prompts": ZERO})))
    assert long_table.main(flags) == 1


def made_up_scores(inputs: TableInputs) -> ScoresTable:
    """A table without rows, of these inputs."""
    empty = {"dimensions": ("scene",), "rows": (), "pairs": (), "draws": 200, "seed": 0}
    return ScoresTable(suite="x", benchmark="toybox", inputs=inputs, **empty)


def test_a_replaced_clip_is_refused_by_name(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = run_folder / "clips/moves/mp4/p0-0.mp4"
    first.write_bytes((run_folder / "clips/stops/mp4/p0-0.mp4").read_bytes())
    assert measure(run_folder, "moves") == 1
    assert "Clip p0-0 of row moves is not the file that was sampled" in capsys.readouterr().err
    assert not (run_folder / "long/moves.json").exists()


def test_clips_of_several_lengths_have_no_seconds_in_common(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards measures by second against a row of imported clips, each of its own length or rate."""
    path = run_folder / "clips/moves/manifest.jsonl"
    first, second = read_jsonl(Clip, path)
    write_jsonl(path, [first, second.model_copy(update={"fps": 8})])
    assert measure(run_folder, "moves") == 1
    said = capsys.readouterr().err
    assert "Clips of moves have no seconds in common: 321 frames at 8 a second to 321 at 16" in said
