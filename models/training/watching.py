"""How a run is watched: metrics.jsonl, a line in the log now and then, TensorBoard events if they are asked for."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

SPEAK_S = 10.0


class Watch:
    """Notes of one process on a run that has `start` of `iterations` behind it; seconds: its limit, or None.

    output: folder for metrics.jsonl, and for tensorboard/ if `tensorboard`; None writes no file.
    Raises ModuleNotFoundError if events are wanted and the package tensorboard is not installed.
    """

    def __init__(
        self, output: Path | None, *, start: int, iterations: int, seconds: float | None, tensorboard: bool
    ) -> None:
        self.output, self.start, self.iterations, self.seconds = output, start, iterations, seconds
        self.began, self.spoken = time.monotonic(), -math.inf
        self.events = _events(output / "tensorboard", start) if output and tensorboard else None

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began

    def note(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Keep the numbers of an iteration that is done (counted from 1)."""
        elapsed = self.elapsed_s
        if self.output is not None:
            line = {"iteration": iteration, **metrics, "elapsed_s": round(elapsed, 3)}
            with open(self.output / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        if self.events is not None:
            for name, value in metrics.items():
                self.events.add_scalar(name, value, iteration)
            self.events.flush()
        if elapsed - self.spoken > SPEAK_S or iteration == self.iterations:
            self.spoken = elapsed
            self._say(iteration, elapsed, metrics)

    def _say(self, iteration: int, elapsed: float, metrics: Mapping[str, float]) -> None:
        pace = elapsed / (iteration - self.start)
        left = (self.iterations - iteration) * pace
        left = left if self.seconds is None else min(left, self.seconds - elapsed)
        numbers = ", ".join(f"{key} {value:.4g}" for key, value in metrics.items() if not key.endswith("_lr"))
        log.info(
            "iteration %d of %d, %.2f s each, %.0f s left: %s",
            iteration,
            self.iterations,
            pace,
            max(left, 0.0),
            numbers,
        )


def _events(folder: Path, start: int) -> Any:
    """A writer of TensorBoard events that goes on after iteration `start`."""
    try:
        # not among our requirements, and slow to import: only who asks for events needs it
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as absent:
        raise ModuleNotFoundError(
            f"TensorBoard events are wanted in {folder}, but the package {absent.name} is not installed; run `pip install "
            "tensorboard` in .venv, or set `tensorboard: false`. metrics.jsonl has the same numbers."
        ) from absent
    return SummaryWriter(str(folder), purge_step=start + 1)
