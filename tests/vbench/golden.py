"""Make tests/golden/vbench_official.json anew, or some of its dimensions: what one official process prints of
tiny clips, random weights.

    .venv/bin/python -m tests.vbench.golden [dimension ...]

Needs VBench's environment (detectron2 for four dimensions) and about an hour of one core for all. Rows hold
no folders.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from evaluation.dimensions import NAMES
from evaluation.vbench.scorers import OFFICIAL_SCORERS
from tests.vbench import tiny

GOLDEN = Path(__file__).parents[1] / "golden/vbench_official.json"

CHOSEN: dict[str, tuple[int, ...]] = {
    "human_action": (0, 3), "object_class": (0, 2), "multiple_objects": (0, 2), "spatial_relationship": (0,),
}  # fmt: skip
"""Of tests/vbench/tiny.py's texts, which are shown; (0, 1) else."""

NOISE = ("dynamic_degree", "object_class", "multiple_objects")
"""Dimensions whose last clip is noise, in which random networks find something else than in pictures."""


def make_run(folder: Path, dimension: str) -> None:
    """Random checkpoints and two clips, or one where GRiT, which takes minutes of each, says enough of
    one.
    """
    checkpoints = OFFICIAL_SCORERS[dimension].checkpoints
    if checkpoints:
        tiny.make_cache(folder, *(["raft_moving"] if dimension == "dynamic_degree" else checkpoints))
    else:
        (folder / "cache").mkdir()
        (folder / "weights.json").write_text("{}")
    chosen = CHOSEN.get(dimension, (0, 1))
    tiny.make_run(folder, samples=1, chosen=chosen, noise=dimension in NOISE)


def without_folders(dimension: str, official: dict[str, Any]) -> list[Any]:
    """[score, rows] of an official process, each video_path a bare name."""
    score, rows = official[dimension]
    return [score, [row | {"video_path": Path(row["video_path"]).name} for row in rows]]


def write(found: dict[str, list[Any]]) -> None:
    """Put results in place of the older ones of the same dimensions."""
    held = json.loads(GOLDEN.read_text(encoding="utf-8"))
    GOLDEN.write_text(json.dumps(held | found, sort_keys=True) + "\n", encoding="utf-8")


def main(dimensions: list[str]) -> None:
    for dimension in dimensions or NAMES:
        with tempfile.TemporaryDirectory(prefix="golden-") as folder:
            make_run(Path(folder), dimension)
            official = tiny.run_official(Path(folder), dimension)
            if (
                dimension == "subject_consistency"
            ):  # its rows lack the sums that its score is made of: our worker notes them
                for job in (
                    tiny.score_part(Path(folder), dimension, "0-of-1"),
                    tiny.join_parts(Path(folder), dimension, 1),
                ):
                    job.check_returncode()
                ours = json.loads(Path(folder, f"{dimension}.json").read_text(encoding="utf-8"))
                official = {dimension: [official[dimension][0], ours[dimension][1]]}
            write({dimension: without_folders(dimension, official)})


if __name__ == "__main__":
    main(sys.argv[1:])
