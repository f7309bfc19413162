"""VBench's static filter in its own environment: which clips stand still by RAFT's flow, each clip stopped as
soon as that is known.

Network, frames and the value of a pair are those of vbench.cli.static_filter. A clip of T frames has T - 1
pairs of neighbours and two of its ends. It stands still unless more than `allowed` = round(2 T / 16)
neighbours exceed `limit` = 3 min(h, w) / 256, or an end pair exceeds 2 `allowed` `limit`. Counts only grow,
so that the (allowed + 1)-th is as good as all.

`motion` of a clip: the largest of the (allowed + 1)-th largest neighbour over `limit` and the end pairs over
theirs. It stands still exactly if that is at most 1. Where a clip was stopped early it is a lower bound:
above 1 of one that moves, and on the fast path of a still one too.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from evaluation.vbench.worker.early_stop import Stillness, judge
from evaluation.vbench.worker.files import RAFT
from evaluation.vbench.worker.runner import (
    Watch,
    begin,
    check_files,
    open_device,
    sentence,
    try_batches,
    versions,
    write_whole,
)

log = logging.getLogger("vbench_job")

SHARE = 0.02
"""Of the pixels, those with the largest flow, as in the package's get_score."""


def open_filter(cache: Path, device: Any) -> Any:
    """The package's StaticFilter, its network loaded strictly, on a device of our choice."""
    import torch
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
                with torch.no_grad():
                    _, flow = self.model(one, other, iters=20, test_mode=True)
                yield self.get_score(one, flow)

        def judge_clip(self, path: str) -> Stillness:
            """Raises ValueError for a clip of fewer than two frames."""
            frames = self.get_frames(path)
            last = at_least_one_pair(frames)
            self.set_params(frame=frames[0], count=len(frames))
            return judge(
                self.flow_values(frames, ((t, t + 1) for t in range(last))),
                self.flow_values(frames, ((0, last), (last, 0))),
                limit=self.params["thres"],
                allowed=self.params["count_num"],
            )

    return Filter(None, device)


def open_fast_filter(cache: Path, device: Any, watch: Watch) -> Any:
    """The same filter on the fast path: flow as in evaluation/vbench/worker/fast/raft.py, and no pair that
    cannot change the answer.
    """
    from evaluation.vbench.worker.fast.raft import ClipFlows, FastRaft, read_frames, usual_batch

    official = open_filter(cache, device)
    raft, read = FastRaft(official.model), watch.ahead(read_frames)

    class FastFilter:
        def judge_clip(self, path: str) -> Stillness:
            """As the official path's."""
            frames, _ = read(path)
            last = at_least_one_pair(frames)
            official.set_params(frame=frames[0], count=len(frames))
            limit, allowed = official.params["thres"], official.params["count_num"]
            flows = ClipFlows(raft, frames.to(device), SHARE)
            at_once = watch.at_once(usual_batch(device, allowed + 1))
            return judge(
                flows.values([(t, t + 1) for t in range(last)], at_once, enough=last - allowed),
                flows.values([(0, last), (last, 0)], at_once),
                limit=limit,
                allowed=allowed,
                total=last,
            )

    return FastFilter()


def at_least_one_pair(frames: Sequence[Any]) -> int:
    """Place of the last frame. Raises ValueError for a clip of fewer than two frames."""
    if len(frames) < 2:
        raise ValueError(f"the clip has {len(frames)} frame, and motion needs two")
    return len(frames) - 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: --job FILE, with clips {id: path}, cache, sizes, device, threads, path, output."""
    parser = argparse.ArgumentParser(description="Judge which clips of a job stand still.")
    parser.add_argument("--job", type=Path, required=True)
    job = json.loads(parser.parse_args(arguments).job.read_text(encoding="utf-8"))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", force=True)
    watch, found = Watch(), {}
    try:
        begin(Path(job["cache"]))
        check_files(RAFT, Path(job["cache"]), job["sizes"])
        import torch

        torch.set_num_threads(job["threads"])
        watch.paths, watch.workers = tuple(job["clips"].values()), job["threads"]
        cache, device = Path(job["cache"]), open_device(job["device"])
        fast = job["path"] == "fast"
        network = open_fast_filter(cache, device, watch) if fast else open_filter(cache, device)

        def judge_all() -> None:
            for number, (name, path) in enumerate(job["clips"].items(), 1):
                watch.item, watch.clip = number, name
                outcome = network.judge_clip(path)
                found[name] = outcome._asdict()
                log.info("%d of %d: %s %s", number, len(job["clips"]), name, outcome)

        try_batches(fast, watch, judge_all)
        write_whole(Path(job["output"]), {"found": found, "versions": versions() | {"path": job["path"]}})
    except Exception as error:
        traceback.print_exc()
        log.error("%s", sentence("static filter", error, watch, RAFT))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
