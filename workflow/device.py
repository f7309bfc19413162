"""Which device a job computes on, and the one sentence for a GPU that was granted but cannot be used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

import torch

DeviceChoice = Literal["cpu", "cuda", "auto"]


def choose_device(choice: DeviceChoice, environment: Mapping[str, str] = os.environ) -> torch.device:
    """The device for a suite's `device` key: cpu ignores a granted GPU, cuda needs one, auto takes one if there is one.

    Raises RuntimeError if a GPU is wanted but this torch or this machine has none.
    """
    if choice == "cpu":
        return torch.device("cpu")
    granted = environment.get("CUDA_VISIBLE_DEVICES", "") or environment.get("SLURM_JOB_GPUS", "")
    if torch.version.cuda is None and (granted or choice == "cuda"):
        raise RuntimeError(
            f"This job {'was granted the GPU ' + granted if granted else 'must run on a GPU'}, but the installed torch "
            f"{torch.__version__} is a CPU build; run `make env TORCH=cuda`, or set `device: cpu` in the suite's config."
        )
    if torch.cuda.is_available():
        return torch.device("cuda")
    if choice == "cuda":
        raise RuntimeError(
            "The suite's device is cuda, but torch finds no GPU here; ask for one (--profile slurm does), or set `device: cpu`."
        )
    return torch.device("cpu")
