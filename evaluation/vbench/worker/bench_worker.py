"""One measurement of `make bench-score`: seconds a clip of one dimension by one backend, loading apart.

    python -m evaluation.vbench.worker.bench_worker --job FILE

The job is a scoring job (runner.py) with `case`, one of `STEERED` or null; its dimension may be
"static_filter". The answer: seconds of every item of the loop, rows, versions. Time is the processor time of
the process on a CPU, and the clock with the device waited for on a GPU.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from evaluation.vbench.worker.job import WorkerJob, open_device, run_job
from evaluation.vbench.worker.runner import evaluate
from evaluation.vbench.worker.watch import LoopWatch

END_OF_TEXT = 102
"""[SEP] of bert-base-uncased."""


class TimedWatch(LoopWatch):
    """A watch that notes when each item of the package's loop begins, and when the last one ends."""

    def __init__(self, device: Any) -> None:
        super().__init__()
        self.on_gpu = device.type == "cuda"
        self.marks: list[float] = []

    def clock(self) -> float:
        """Seconds, see above."""
        if not self.on_gpu:
            return time.process_time()
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()

    def loop(self, items: Sequence[Any], **options: Any) -> Iterator[Any]:
        """The same items; takes the place of tqdm."""
        self.marks.clear()
        for item in super().loop(items, **options):
            self.marks.append(self.clock())
            yield item
        self.marks.append(self.clock())


def steer_motion(share: float) -> Callable[[LoopWatch], None]:
    """Let the first `share` of the clips be static and the others move, whatever the flow: random weights of
    RAFT see motion anywhere.

    A pair exceeds a limit of next to nothing, and none exceeds an infinite one. The flow itself is computed
    as ever.
    """

    def steer(watch: LoopWatch) -> None:
        from vbench import dynamic_degree
        from vbench.cli import static_filter

        for user in (dynamic_degree.DynamicDegree, static_filter.StaticFilter):
            plain = user.set_params

            def set_params(self: Any, frame: Any, count: int, plain: Any = plain) -> None:
                plain(self, frame, count)
                place = [Path(path).name for path in watch.paths].index(watch.clip)
                static = place < share * len(watch.paths)
                self.params["thres"] = float("inf") if static else 1e-9

            user.set_params = set_params

    return steer


def steer_words(number: int) -> Callable[[LoopWatch], None]:
    """Let every text of GRiT have `number` words: drawn at random, some end at once and others never."""

    def steer(_: LoopWatch) -> None:
        from vbench.third_party.grit_model import DenseCaptioning

        for start in ("initialize_model", "initialize_model_det"):
            plain = getattr(DenseCaptioning, start)

            def initialize(self: Any, model_weight: str, plain: Any = plain) -> None:
                plain(self, model_weight)
                end_texts(self.demo.predictor.model.roi_heads.text_decoder.textual, number)

            setattr(DenseCaptioning, start, initialize)

    return steer


def end_texts(decoder: Any, number: int) -> None:
    """Let an embedding behind `number` words make the end of the text likely, which it is nowhere else."""
    import torch

    with torch.no_grad():
        way = torch.randn(decoder.hidden_size, generator=torch.Generator().manual_seed(0))
        way = (way - way.mean()) / (way - way.mean()).norm()
        decoder.embedding.positions.weight[number:] = 100 * way.to(decoder.output.weight)
        decoder.output.weight[END_OF_TEXT] = 10 * way.to(decoder.output.weight)
        decoder.output.bias[END_OF_TEXT] = -60.0


STEERED: dict[str, Callable[[LoopWatch], None]] = {
    f"{share} % static": steer_motion(share / 100) for share in (0, 50, 100)
} | {f"texts of {number} words": steer_words(number) for number in (2, 5)}
"""What a case does to the package before a measurement, for both backends alike."""


def filter_clips(job: WorkerJob, watch: LoopWatch, device: Any) -> list[dict[str, Any]]:
    """The package's own StaticFilter.infer, which looks at every pair, or our fast one."""
    from evaluation.vbench.worker.static_filter import open_filter, open_judge

    cache, rows = Path(job["cache"]), []
    fast = job["backend"] == "fast"
    judge = open_judge(cache, device, watch, fast=True) if fast else open_filter(cache, device).infer
    for path in watch.loop(list(watch.paths)):
        static = judge(path).static if fast else bool(judge(path))
        rows.append({"video_path": Path(path).name, "video_results": static})
    return rows


def measure_job(job: WorkerJob, _: LoopWatch) -> dict[str, Any]:
    """The answer to a job."""
    device = open_device(job["device"])
    watch = TimedWatch(device)
    watch.paths = tuple(str(Path(job["videos"], name)) for name in job["names"])
    watch.workers = job["threads"]
    if job["case"] is not None:
        STEERED[job["case"]](watch)
    filtering = job["dimension"] == "static_filter"
    rows = filter_clips(job, watch, device) if filtering else evaluate(job, watch)[1]
    return {"seconds": [end - start for start, end in pairwise(watch.marks)], "rows": rows}


if __name__ == "__main__":
    sys.exit(run_job(measure_job))
