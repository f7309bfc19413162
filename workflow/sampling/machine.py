"""The device that a job computes on, the versions that its results depend on, and a clock for its work."""

import os
import re
import time
from pathlib import Path
from typing import Literal

import torch

DeviceChoice = Literal["cpu", "cuda", "auto"]
DRIVER = Path("/proc/driver/nvidia/version")


def choose_device(choice: DeviceChoice) -> torch.device:
    """The device for a suite's `device` key: cpu ignores a granted GPU, cuda needs one, auto may take one.

    Raises ValueError if a GPU is wanted but this torch or this machine has none.
    """
    if choice == "cpu":
        return torch.device("cpu")
    granted = os.environ.get("CUDA_VISIBLE_DEVICES", "") or os.environ.get("SLURM_JOB_GPUS", "")
    if torch.version.cuda is None and (granted or choice == "cuda"):
        raise ValueError(
            f"This job {'was granted the GPU ' + granted if granted else 'must run on a GPU'}, but the "
            f"installed torch {torch.__version__} is a CPU build; run `make env TORCH=cuda`, or set "
            "`device: cpu` in the suite's config."
        )
    if torch.cuda.is_available():
        return torch.device("cuda")
    if choice == "cuda":
        raise ValueError(
            "The suite's device is cuda, but torch finds no GPU here; ask for one (--profile slurm does), "
            "or set `device: cpu`."
        )
    return torch.device("cpu")


def usable_cores() -> int:
    """Cores that this process may use: a scheduler gives a job some of a machine's."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def device_name(device: torch.device) -> str:
    """A GPU's model, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def software(device: torch.device) -> dict[str, str]:
    """Versions that a computation may depend on: torch, and for a GPU those of CUDA, cuDNN and the driver."""
    found = {"torch": str(torch.__version__)}
    if device.type == "cuda":
        found |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}  # type: ignore[no-untyped-call]
        if DRIVER.is_file() and (
            version := re.search(r"\b\d{3,}\.[\d.]+", DRIVER.read_text(encoding="utf-8"))
        ):
            found["driver"] = version[0]
    return found


class Moments:
    """Points in a device's work, in order, taken without waiting; call `wait` before a time is read."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self.events: list[torch.cuda.Event] = []
        self.clock: list[float] = []

    def take(self) -> None:
        """Add a point behind all work that was given to the device so far."""
        if not self.on_gpu:
            self.clock.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        self.events.append(event)

    def wait(self, number: int) -> None:
        """Wait until the device has reached a point, by its number from 0."""
        if self.on_gpu:
            self.events[number].synchronize()

    def seconds(self, first: int, last: int) -> float:
        """Seconds between two points, by their numbers from 0."""
        if self.on_gpu:
            return float(self.events[first].elapsed_time(self.events[last])) / 1000
        return self.clock[last] - self.clock[first]
