"""A clip somebody deleted is noted where Snakemake looks, so that it is made again."""

import json
import os
from pathlib import Path

from workflow.planning.missing_clips import note_missing_clips


def row(folder: Path, shards: dict[str, list[str]]) -> None:
    for shard, names in shards.items():
        (folder / "shards").mkdir(parents=True, exist_ok=True)
        (folder / "mp4").mkdir(exist_ok=True)
        lines = [json.dumps({"clip_id": name, "file": f"mp4/{name}.mp4"}) for name in names]
        (folder / "shards" / f"{shard}.manifest.jsonl").write_text("\n".join(lines) + "\n")
        for name in names:
            (folder / "mp4" / f"{name}.mp4").touch()


def notes(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (folder / "shards").glob("*.missing")}


def test_only_the_shard_of_a_deleted_clip_is_noted_and_once(tmp_path: Path) -> None:
    """Guards against a deleted clip that nobody notices, against remaking a whole row, and against reruns
    without end.
    """
    row(tmp_path, {"0-of-2": ["a-0", "a-1"], "1-of-2": ["b-0"]})
    assert note_missing_clips(tmp_path) == []
    assert notes(tmp_path) == {}
    (tmp_path / "mp4/a-1.mp4").unlink()
    assert note_missing_clips(tmp_path) == ["a-1.mp4"]
    assert note_missing_clips(tmp_path) == ["a-1.mp4"]
    assert notes(tmp_path) == {"0-of-2.missing": "a-1.mp4\n"}
    manifest = tmp_path / "shards/0-of-2.manifest.jsonl"
    later = (tmp_path / "shards/0-of-2.missing").stat().st_mtime + 10
    os.utime(manifest, (later, later))  # the shard was made again, and the clip deleted again
    assert note_missing_clips(tmp_path) == ["a-1.mp4"]
    assert notes(tmp_path) == {"0-of-2.missing": "a-1.mp4\na-1.mp4\n"}


def test_a_row_that_never_ran_or_lost_everything(tmp_path: Path) -> None:
    assert note_missing_clips(tmp_path / "nothing") == []
    row(tmp_path, {"0-of-1": ["a-0"]})
    (tmp_path / "mp4/a-0.mp4").unlink()
    (tmp_path / "mp4").rmdir()
    assert note_missing_clips(tmp_path) == ["a-0.mp4"]
