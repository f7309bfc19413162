"""Serves rewards of clips to a training process of another environment, over two pipes and a file in shared
memory.

    python -m evaluation.vbench.worker.reward_worker --weights DIR --device cuda:0 --rewards raft,aesthetic

Started once per training process, with the python of envs/vbench, from the repository's root. All lines are
JSON objects, UTF-8:

- first, out: {"ready": {package: version}} once every network is loaded, or {"error": message} and exit
  code 1
- a request, in: {"frames": path, "shape": [T, h, w, 3], "fps": number}; the file holds T*h*w*3 bytes, uint8,
  row-major in that shape, nothing else; the worker reads it and leaves it where it is
- its answer, out: {"scores": {reward: number}}, all finite, or {"error": message}; then the worker goes on

It ends when its input ends, and ignores the signals that ask a training run to stop: the run still needs it
then, to save after its iteration. What libraries print goes to stderr, so that nothing but these lines
reaches the pipe.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch

from evaluation.vbench.worker.rewards import OPENERS, ClipReward, PixelFrames

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""What Slurm, or a person, sends to all processes of a job."""
REWARD_PACKAGES = ("vbench", "pyiqa", "openai-clip", "torchvision", "torch")
"""Packages whose code computes the rewards."""


def requested_frames(request: Mapping[str, Any]) -> PixelFrames:
    """The clip that a request points to. Raises ValueError if the file has another size."""
    path, shape = Path(request["frames"]), tuple(request["shape"])
    if len(shape) != 4 or shape[3] != 3 or path.stat().st_size != math.prod(shape):
        raise ValueError(
            f"{path} has {path.stat().st_size} bytes, but frames of shape {list(shape)} are "
            f"{math.prod(shape)}; write [T, h, w, 3] bytes."
        )
    frames: PixelFrames = np.fromfile(path, dtype=np.uint8).reshape(shape)
    return frames


def score_request(rewards: Mapping[str, ClipReward], request: Mapping[str, Any]) -> dict[str, float]:
    """All rewards of one clip. Raises ValueError if one is not finite."""
    frames, fps = requested_frames(request), float(request["fps"])
    scores = {name: reward(frames, fps) for name, reward in rewards.items()}
    bad = [name for name, value in scores.items() if not math.isfinite(value)]
    if bad:
        raise ValueError(f"the reward {bad[0]} is {scores[bad[0]]}; look at its weights and at the clip.")
    return scores


def send(out: TextIO, line: Mapping[str, Any] | Exception) -> None:
    """Send one line: JSON, or what went wrong as {"error": message}."""
    if isinstance(line, Exception):
        line = {"error": " ".join(f"{type(line).__name__}: {line}".split())}
    print(json.dumps(line), file=out, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--weights", required=True, type=Path, help="folder laid out as VBENCH_CACHE_DIR")
    parser.add_argument("--device", required=True, help="cpu, or cuda:<index>")
    parser.add_argument("--rewards", required=True, help=f"comma-separated, of {', '.join(OPENERS)}")
    flags = parser.parse_args()
    for asked in STOP_SIGNALS:
        signal.signal(asked, signal.SIG_IGN)
    # libraries print to file descriptor 1; from here on that is stderr, and the answers have one of their own
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        unknown = sorted(set(flags.rewards.split(",")) - OPENERS.keys())
        if unknown:
            raise ValueError(f"--rewards names {unknown[0]}; there are {', '.join(OPENERS)}.")
        device = torch.device(flags.device)
        rewards = {name: OPENERS[name](flags.weights, device) for name in flags.rewards.split(",")}
    except Exception as error:  # every error must reach the other process as a message
        send(out, error)
        sys.exit(1)
    send(out, {"ready": {name: version(name) for name in REWARD_PACKAGES}})
    for line in sys.stdin:
        try:
            send(out, {"scores": score_request(rewards, json.loads(line))})
        except Exception as error:  # as above
            send(out, error)


if __name__ == "__main__":
    main()
