"""One measurement of `make bench-score` in VBench's environment: seconds a clip of one dimension on one path,
loading apart.

    python -m evaluation.vbench.worker.bench_worker --job FILE

The job is a scoring job (evaluation/vbench/worker/runner.py) with `case`, one of `STEERED` or null, and
`dimension`, which may be "static_filter". Its answer: seconds of every clip, the rows, versions. Time is the
processor time of the process on a CPU, and the clock with the device waited for on a GPU.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from evaluation.vbench.worker.runner import Row, Watch, begin, evaluate, open_device, versions, write_whole


class TimedWatch(Watch):
    """A watch that notes when each item of the package's loop begins, and when the last one ends."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self.clock = clock
        self.marks: list[float] = []

    def loop(self, items: Sequence[Any], **options: Any) -> Iterator[Any]:
        """As a watch's."""
        self.marks.clear()
        for item in super().loop(items, **options):
            self.marks.append(self.clock())
            yield item
        self.marks.append(self.clock())

    @property
    def seconds(self) -> list[float]:
        """Of each item."""
        return [end - start for start, end in zip(self.marks[:-1], self.marks[1:], strict=True)]


def clock_of(device: Any) -> Callable[[], float]:
    """Seconds, see above."""
    import torch

    def waited() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return waited if device.type == "cuda" else time.process_time


def steer_stillness(share: float) -> Callable[[Watch], None]:
    """Let the first `share` of the clips stand still and the others move, whatever the flow: random weights
    of RAFT see motion anywhere.

    A pair exceeds a limit of next to nothing and none exceeds an infinite one; the flow itself is computed as
    ever.
    """

    def steer(watch: Watch) -> None:
        from vbench import dynamic_degree
        from vbench.cli import static_filter

        for user in (dynamic_degree.DynamicDegree, static_filter.StaticFilter):
            plain = user.set_params

            def set_params(self: Any, frame: Any, count: int, plain: Any = plain) -> None:
                plain(self, frame, count)
                place = [Path(path).name for path in watch.paths].index(watch.clip)
                still = place < share * len(watch.paths)
                self.params["thres"] = float("inf") if still else 1e-9

            user.set_params = set_params

    return steer


def steer_words(number: int) -> Callable[[Watch], None]:
    """Let every text of GRiT have `number` words: drawn at random, some end at once and others never."""

    def steer(_: Watch) -> None:
        from vbench.third_party.grit_model import DenseCaptioning

        for start in ("initialize_model", "initialize_model_det"):
            plain = getattr(DenseCaptioning, start)

            def initialize(self: Any, model_weight: str, plain: Any = plain) -> None:
                plain(self, model_weight)
                end_texts(self.demo.predictor.model.roi_heads.text_decoder.textual, number)

            setattr(DenseCaptioning, start, initialize)

    return steer


def end_texts(decoder: Any, number: int) -> None:
    """Give the places behind `number` words an embedding that makes the end of the text likely, which it is
    nowhere else.
    """
    import torch

    end = 102  # of bert-base-uncased, [SEP]
    with torch.no_grad():
        way = torch.randn(decoder.hidden_size, generator=torch.Generator().manual_seed(0))
        way = (way - way.mean()) / (way - way.mean()).norm()
        decoder.embedding.positions.weight[number:] = 100 * way.to(decoder.output.weight)
        decoder.output.weight[end] = 10 * way.to(decoder.output.weight)
        decoder.output.bias[end] = -60.0


STEERED: dict[str, Callable[[Watch], None]] = {
    f"{share} % still": steer_stillness(share / 100) for share in (0, 50, 100)
} | {f"texts of {number} words": steer_words(number) for number in (2, 5)}
"""What a case does to the package before a measurement, on both paths alike."""


def measure_filter(job: dict[str, Any], watch: TimedWatch, device: Any) -> list[Row]:
    """The package's own StaticFilter.infer, which looks at every pair, or our fast one."""
    from evaluation.vbench.worker.static_filter import open_fast_filter, open_filter

    cache = Path(job["cache"])
    if job["path"] == "fast":
        fast = open_fast_filter(cache, device, watch)
        still = {path: fast.judge_clip(path).static for path in watch.loop(list(watch.paths))}
    else:
        official = open_filter(cache, device)
        still = {path: bool(official.infer(path)) for path in watch.loop(list(watch.paths))}
    return [{"video_path": Path(path).name, "video_results": found} for path, found in still.items()]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--job", type=Path, required=True)
    job = json.loads(parser.parse_args(arguments).job.read_text(encoding="utf-8"))
    logging.basicConfig(level=logging.WARNING, force=True)
    begin(Path(job["cache"]))
    import torch

    torch.set_num_threads(job["threads"])
    device = open_device(job["device"])
    watch = TimedWatch(clock_of(device))
    watch.paths = tuple(str(Path(job["videos"], name)) for name in job["names"])
    watch.workers = job["threads"]
    if job["case"] is not None:
        STEERED[job["case"]](watch)
    if job["dimension"] == "static_filter":
        rows, path = measure_filter(job, watch, device), job["path"]
    else:
        scorer = importlib.import_module(f"evaluation.vbench.worker.scorers.{job['dimension']}").SCORER
        (_, rows), path = evaluate(scorer, job, watch), scorer.path(job["path"])
    said = versions() | {"path": path}
    write_whole(Path(job["output"]), {"seconds": watch.seconds, "rows": rows, "versions": said})
    return 0


if __name__ == "__main__":
    sys.exit(main())
