"""A manifest that lists a clip somebody deleted is withdrawn, so that Snakemake remakes the clip."""

import json
from pathlib import Path

from workflow.presence import withdraw_false_manifests


def row(folder: Path, shards: dict[str, list[str]]) -> None:
    for shard, names in shards.items():
        (folder / "shards").mkdir(parents=True, exist_ok=True)
        (folder / "mp4").mkdir(exist_ok=True)
        lines = [json.dumps({"clip_id": name, "file": f"mp4/{name}.mp4"}) for name in names]
        (folder / "shards" / f"{shard}.manifest.jsonl").write_text("\n".join(lines) + "\n")
        for name in names:
            (folder / "mp4" / f"{name}.mp4").touch()


def test_only_the_shard_of_a_deleted_clip_is_withdrawn(tmp_path: Path) -> None:
    """Guards against a deleted clip that nobody notices, and against remaking a whole row for it."""
    row(tmp_path, {"0-of-2": ["a-0", "a-1"], "1-of-2": ["b-0"]})
    assert withdraw_false_manifests(tmp_path) == []
    (tmp_path / "mp4/a-1.mp4").unlink()
    assert withdraw_false_manifests(tmp_path) == ["a-1.mp4"]
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == ["1-of-2.manifest.jsonl"]


def test_a_row_that_never_ran_or_lost_everything(tmp_path: Path) -> None:
    assert withdraw_false_manifests(tmp_path / "nothing") == []
    row(tmp_path, {"0-of-1": ["a-0"]})
    (tmp_path / "mp4/a-0.mp4").unlink()
    (tmp_path / "mp4").rmdir()
    assert withdraw_false_manifests(tmp_path) == ["a-0.mp4"]
