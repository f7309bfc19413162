"""VBench's static filter: which clips are static by RAFT's flow, each clip stopped as soon as that is known.

    python -m evaluation.vbench.worker.static_filter --job FILE

Network, frames and the value of a pair are those of vbench.cli.static_filter. A clip of T frames has T - 1
pairs of neighbours and two of its ends. It is static unless more than `allowed` = round(2 T / 16) neighbours
exceed `limit` = 3 min(h, w) / 256, or an end pair exceeds 2 `allowed` `limit`. Counts only grow, so that the
(allowed + 1)-th is as good as all.

`motion` of a clip is the largest of the (allowed + 1)-th largest neighbour over `limit` and the end pairs
over theirs. The clip is static exactly if that is at most 1. Where a clip was stopped early it is a lower
bound: above 1 of one that moves, and on the fast backend of a static one too.

The job holds clips: the path of each, by its id.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from evaluation.vbench.worker.early_stop import Stillness, judge_flow
from evaluation.vbench.worker.job import WorkerJob, log, open_device, run_job
from evaluation.vbench.worker.watch import LoopWatch, try_batches

FILTER_SHARE = 0.02
"""Share of the pixels, those with the largest flow, as in the package's get_score."""


def open_filter(cache: Path, device: Any) -> Any:
    """The package's StaticFilter, its network loaded strictly, on a device of our choice."""
    from vbench.cli import static_filter as official

    from evaluation.vbench.worker.networks import load_raft

    official.DEVICE = device  # a module constant, "cuda"

    class Filter(official.StaticFilter):  # type: ignore[misc]
        def load_model(self) -> None:
            self.model = load_raft(cache / "vbench", device)

        def flow_values(self, frames: Sequence[Any], pairs: Iterable[tuple[int, int]]) -> Iterator[float]:
            """The package's value of each pair, computed when it is asked for."""
            for first, second in pairs:
                padder = official.InputPadder(frames[first].shape)
                one, other = padder.pad(frames[first], frames[second])
                _, flow = self.model(one, other, iters=20, test_mode=True)
                yield self.get_score(one, flow)

    return Filter(None, device)


def open_judge(cache: Path, device: Any, watch: LoopWatch, *, fast: bool) -> Callable[[str], Stillness]:
    """What judges the clip at a path, which raises ValueError for fewer than two frames.

    fast: with the flow of evaluation/vbench/worker/fast/raft.py, and no pair that cannot change the answer.
    """
    import torch

    from evaluation.vbench.worker.fast.raft import ClipFlows, FastRaft, read_motion_frames, usual_batch

    official = open_filter(cache, device)
    raft = FastRaft(official.model) if fast else None
    read = watch.ahead(lambda path: read_motion_frames(path)[0]) if fast else official.get_frames

    def judge_clip(path: str) -> Stillness:
        frames = read(path)
        if len(frames) < 2:
            raise ValueError(f"the clip has {len(frames)} frame, and motion needs two")
        last = len(frames) - 1
        official.set_params(frame=frames[0], count=len(frames))
        limit, allowed = official.params["thres"], official.params["count_num"]
        pairs, ends = [(t, t + 1) for t in range(last)], [(0, last), (last, 0)]
        if raft is None:
            with torch.no_grad():
                of_pairs, of_ends = official.flow_values(frames, pairs), official.flow_values(frames, ends)
                return judge_flow(of_pairs, of_ends, limit=limit, allowed=allowed)
        flows = ClipFlows(raft, frames.to(device), FILTER_SHARE)
        at_once = watch.at_once(usual_batch(device, allowed + 1))
        of_pairs = flows.values(pairs, at_once, enough=last - allowed)
        return judge_flow(of_pairs, flows.values(ends, at_once), limit=limit, allowed=allowed, total=last)

    return judge_clip


def judge_clips(job: WorkerJob, watch: LoopWatch) -> dict[str, Any]:
    """The answer to a job: what was found of each clip, by its id."""
    watch.paths, watch.workers = tuple(job["clips"].values()), job["threads"]
    fast, found = job["backend"] == "fast", {}
    judge_clip = open_judge(Path(job["cache"]), open_device(job["device"]), watch, fast=fast)

    def judge_all() -> None:
        for number, (name, path) in enumerate(job["clips"].items(), 1):
            watch.item, watch.clip = number, name
            outcome = judge_clip(path)
            found[name] = outcome._asdict()
            log.info("%d of %d: %s %s", number, len(job["clips"]), name, outcome)

    try_batches(fast, watch, judge_all)
    return {"found": found}


if __name__ == "__main__":
    sys.exit(run_job(judge_clips))
