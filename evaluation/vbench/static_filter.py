"""VBench's static filter in its own environment: which clips stand still by RAFT's flow, each clip stopped as soon as that is known.

Network, frames and the value of a pair are those of vbench.cli.static_filter. A clip of T frames has T - 1 pairs of neighbours and two
of its ends. It stands still unless more than `allowed` = round(2 T / 16) neighbours exceed `limit` = 3 min(h, w) / 256, or an end pair
exceeds 2 `allowed` `limit`. Counts only grow, so that the (allowed + 1)-th is as good as all.

`motion` of a clip: the largest of the (allowed + 1)-th largest neighbour over `limit` and the end pairs over theirs. It stands still exactly
if that is at most 1. Where a clip was stopped early it is a lower bound, above 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evaluation.vbench.files import RAFT
from evaluation.vbench.runner import Watch, begin, check_files, open_device, sentence, versions, write_whole

log = logging.getLogger("vbench_job")


class Stillness(NamedTuple):
    """Whether a clip stands still, by how much, and how many pairs were looked at."""

    static: bool
    motion: float
    pairs: int


def judge(neighbours: Iterable[float], ends: Iterable[float], *, limit: float, allowed: int) -> Stillness:
    """The package's check_static, stopped as early as its answer is known. The values may be computed while they are asked for.

    Raises ValueError for a value that is no finite number, which every comparison would call small.
    """
    exceeding: list[float] = []
    largest: list[float] = []
    pairs = 0
    for value in _finite(neighbours):
        pairs += 1
        largest = sorted([*largest, value], reverse=True)[: allowed + 1]
        if value > limit:
            exceeding.append(value)
        if len(exceeding) > allowed:
            return Stillness(False, float(min(exceeding)) / limit, pairs)
    motion = float(largest[allowed]) / limit if len(largest) > allowed else 0.0
    for value in _finite(ends):
        pairs += 1
        bound = limit * allowed * 2
        if value > bound:
            return Stillness(False, float(value) / bound if bound else float(value) + 1.0, pairs)
        motion = max(motion, float(value) / bound if bound else 0.0)
    return Stillness(True, min(motion, 1.0), pairs)


def _finite(values: Iterable[float]) -> Iterator[float]:
    for value in values:
        if not abs(value) < float("inf"):
            raise ValueError(
                f"the flow of a pair of frames is {value}, no finite number; look at RAFT's weights"
            )
        yield value


def open_filter(cache: Path, device: Any) -> Any:
    """The package's StaticFilter, its network loaded strictly, on a device of our choice."""
    import torch
    from vbench.cli import static_filter as official

    from evaluation.vbench.networks import load_raft

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
            if len(frames) < 2:
                raise ValueError(f"the clip has {len(frames)} frame, and motion needs two")
            self.set_params(frame=frames[0], count=len(frames))
            last = len(frames) - 1
            return judge(
                self.flow_values(frames, ((t, t + 1) for t in range(last))),
                self.flow_values(frames, ((0, last), (last, 0))),
                limit=self.params["thres"],
                allowed=self.params["count_num"],
            )

    return Filter(None, device)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: --job FILE, with clips {id: path}, cache, sizes, device, threads, output."""
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
        network = open_filter(Path(job["cache"]), open_device(job["device"]))
        for number, (name, path) in enumerate(job["clips"].items(), 1):
            watch.item, watch.clip = number, name
            outcome = network.judge_clip(path)
            found[name] = outcome._asdict()
            log.info("%d of %d: %s %s", number, len(job["clips"]), name, outcome)
        write_whole(Path(job["output"]), {"found": found, "versions": versions() | {"path": "official"}})
    except Exception as error:
        traceback.print_exc()
        log.error("%s", sentence("static filter", error, watch, RAFT))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
