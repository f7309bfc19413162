"""How a run is watched: metrics.jsonl, a line in the log now and then, TensorBoard or Weights & Biases."""

import json
import logging
import math
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

SPEAK_S = 10.0


class Watch:
    """Notes of one process on a run that has `start` of `iterations` behind it; seconds: its limit, or None.

    run: folder of metrics.jsonl, and of tensorboard/ if `tensorboard`; None writes no file. wandb: project of
    Weights & Biases that the metrics are sent to, or None, and `name` the run's there; the environment says
    where and as whom (WANDB_MODE=offline keeps them in wandb/). Raises ModuleNotFoundError if the package
    tensorboard or wandb is wanted and not installed.
    """

    def __init__(
        self,
        run: Path | None,
        *,
        name: str,
        start: int,
        iterations: int,
        seconds: float | None,
        tensorboard: bool,
        wandb: str | None,
    ) -> None:
        self.run, self.start, self.iterations, self.seconds = run, start, iterations, seconds
        self.began, self.spoken = time.monotonic(), -math.inf
        self.events = _events(run / "tensorboard", start) if run and tensorboard else None
        self.project = _wandb_run(wandb, run, name, start) if run and wandb else None

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began

    def note(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Keep the numbers of an iteration that is done (counted from 1)."""
        elapsed = self.elapsed_s
        if self.run is not None:
            line = {"iteration": iteration, **metrics, "elapsed_s": round(elapsed, 3)}
            with open(self.run / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        if self.events is not None:
            for name, value in metrics.items():
                self.events.add_scalar(name, value, iteration)
            self.events.flush()
        if self.project is not None:
            self.project.log(dict(metrics), step=iteration)
        if elapsed - self.spoken > SPEAK_S or iteration == self.iterations:
            self.spoken = elapsed
            self._say(iteration, elapsed, metrics)

    def _say(self, iteration: int, elapsed: float, metrics: Mapping[str, float]) -> None:
        pace = elapsed / (iteration - self.start)
        left = (self.iterations - iteration) * pace
        left = left if self.seconds is None else min(left, self.seconds - elapsed)
        numbers = ", ".join(f"{key} {value:.4g}" for key, value in metrics.items() if not key.endswith("_lr"))
        message = "iteration %d of %d, %.2f s each, %.0f s left: %s"
        log.info(message, iteration, self.iterations, pace, max(left, 0.0), numbers)


def _events(folder: Path, start: int) -> Any:
    """A writer of TensorBoard events that goes on after iteration `start`."""
    try:
        # not among our requirements, and slow to import: only who asks for events needs it
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as absent:
        raise ModuleNotFoundError(
            f"TensorBoard events are wanted in {folder}, but the package {absent.name} is not installed; "
            "run `pip install tensorboard` in .venv, or set `tensorboard: false`. metrics.jsonl has the "
            "same numbers."
        ) from absent
    return SummaryWriter(str(folder), purge_step=start + 1)


def _wandb_run(project: str, run: Path, name: str, start: int) -> Any:
    """A run of Weights & Biases; one that goes on after iteration `start` stays the same."""
    try:
        # not among our requirements: only who asks for it needs it
        import wandb
    except ModuleNotFoundError as absent:
        raise ModuleNotFoundError(
            f"Metrics of {name} are to be sent to the wandb project {project}, but the package {absent.name} "
            "is not installed; run `pip install wandb` in .venv, or leave `wandb` out. metrics.jsonl has the "
            "same numbers."
        ) from absent
    identity = run / "wandb_run"
    if start == 0 or not identity.is_file():
        identity.write_text(uuid.uuid4().hex, encoding="utf-8")
    # neither paths, code and host of this machine, nor what it prints
    quiet = wandb.Settings(console="off", disable_code=True, disable_git=True, x_disable_meta=True)
    key = identity.read_text(encoding="utf-8")
    return wandb.init(project=project, name=name, id=key, resume="allow", dir=str(run), settings=quiet)
