"""Score one dimension on the clips of a job: the official Python API on a folder of links, every clip
accounted for.

    python -m evaluation.vbench.worker.runner --job FILE

All numbers come from vbench.VBench(...).evaluate in one process. What surrounds it turns its silent errors
into one message. The job holds what evaluation/vbench/scorers.py says of the dimension; names: the clips'
file names in order; videos: their folder; entries: their prompts as VBench_full_info.json has them.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from evaluation.vbench.worker.guard import REFUSED
from evaluation.vbench.worker.job import WorkerJob, open_device, run_job
from evaluation.vbench.worker.watch import LoopWatch, try_batches

OfficialRow = dict[str, Any]
"""What the package writes of one clip."""
ROUNDING = 2e-3
"""How far beyond its limits a value may be, as a share of their distance: cosines of float16 features (CLIP
on a GPU) come in steps of 0.001 there.
"""
CLIP_READERS = ("load_video", "read_frames_decord_by_fps")
"""Names under which the dimensions import what reads a clip."""


def score_job(job: WorkerJob, watch: LoopWatch) -> dict[str, Any]:
    """The answer to a job: the package's score, None if it could count no clip, and its rows."""
    score, rows = evaluate(job, watch)
    check_rows(job, rows, watch)
    return {"dimension": job["dimension"], "score": score, "rows": rows}


def evaluate(job: WorkerJob, watch: LoopWatch) -> tuple[float | None, list[OfficialRow]]:
    """The package's own score and rows, unchecked; a row of the fast backend may hold `frame_values` too."""
    import torch
    from vbench import VBench

    device, dimension = open_device(job["device"]), job["dimension"]
    module = importlib.import_module(f"vbench.{dimension}")
    watch.paths = tuple(str(Path(job["videos"], name)) for name in job["names"])
    watch.workers = job["threads"]
    fast = job["backend"] == "fast"
    if fast:
        function_named(job["speed_up"])(module, watch)
    module.tqdm = watch.loop  # type: ignore[attr-defined]
    for name in CLIP_READERS:
        if hasattr(module, name):
            setattr(module, name, watch.reading(getattr(module, name)))
    finish = function_named(job["adapt"])(module, watch) if job["adapt"] else None
    around = function_named(job["around"]) if job["around"] else nullcontext
    with tempfile.TemporaryDirectory(prefix="vbench-") as folder:
        info = Path(folder, "full_info.json")
        info.write_text(json.dumps(job["entries"]), encoding="utf-8")
        official = VBench(device, str(info), folder)

        def attempt() -> None:
            official.evaluate(job["videos"], name="part", dimension_list=[dimension], local=True)

        try:
            # Without no_grad some dimensions keep the graph of every frame (scene: 22 GB for one clip). No
            # value depends on it.
            with torch.no_grad(), around():
                try_batches(fast or job["batched"], watch, attempt)
        except ZeroDivisionError:
            if not (job["may_leave_out"] and watch.finished):
                raise
            return None, []
        written = Path(folder, "part_eval_results.json").read_text(encoding="utf-8")
    score, rows = json.loads(written)[dimension]
    for row in rows:
        row["video_path"] = Path(row["video_path"]).name
        if row["video_path"] in watch.frame_values:
            row["frame_values"] = watch.frame_values[row["video_path"]]
    if finish is not None:
        finish(rows)
    return score, rows


def function_named(name: str) -> Callable[..., Any]:
    """A function of the worker, by its dotted name below this package."""
    module, _, function = name.rpartition(".")
    found: Callable[..., Any] = getattr(
        importlib.import_module(f"evaluation.vbench.worker.{module}"), function
    )
    return found


def check_rows(job: WorkerJob, rows: Sequence[OfficialRow], watch: LoopWatch) -> None:
    """Raises ValueError, one message, unless the rows are those of the clips, in order, with finite numbers
    within the dimension's limits, and nothing was swallowed.
    """
    what, names = f"VBench's {job['dimension']}", job["names"]
    if REFUSED:
        raise ValueError(
            f"{what} {REFUSED[0]}, so a file that it needs is missing; see `make fetch`. Nothing was scored."
        )
    if watch.errors:
        raise ValueError(
            f"{what} met {len(watch.errors)} errors that it would have counted as clips without a finding "
            f"(first: {watch.errors[0]}); nothing was scored."
        )
    found = [row["video_path"] for row in rows]
    dropped = [name for name in names if name not in found]
    if found != [name for name in names if name in set(found)]:
        raise ValueError(
            f"{what} gave {len(found)} results that are not those of the {len(names)} clips in order."
        )
    if dropped and not job["may_leave_out"]:
        raise ValueError(
            f"{what} dropped {len(dropped)} of {len(names)} clips without a word (first: {dropped[0]}), "
            "which it could not read; delete those clips and rerun, the sample stage makes them again."
        )
    bad = [row["video_path"] for row in rows if not all(map(math.isfinite, _numbers(row)))]
    if bad:
        raise ValueError(
            f"{what} gave a result that is no finite number for {bad[0]} ({len(bad)} such clips); look at "
            "the clip and the weights."
        )
    low, high = job["limits"]
    spare = ROUNDING * (high - low)
    wrong = [row for row in rows if not low - spare <= float(row["video_results"]) <= high + spare]
    if wrong:
        raise ValueError(
            f"{what} gave {float(wrong[0]['video_results']):g} for {wrong[0]['video_path']} ({len(wrong)} of "
            f"{len(rows)} clips), outside {low:g} to {high:g}: a model file is damaged or another than the "
            f"published one ({', '.join(job['files']) or 'none, it reads no checkpoint'}); delete it in "
            "resources/weights/vbench and run `make fetch`. Nothing was scored."
        )


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float):
        yield float(value)


if __name__ == "__main__":
    sys.exit(run_job(score_job))
