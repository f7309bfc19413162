"""Run a command on a GPU of its own, which no other command started this way has meanwhile.

python -m workflow.scripts.on_gpu COMMAND ...: what follows is run unchanged in the place of this process,
with CUDA_VISIBLE_DEVICES naming one of the first N devices of this node, as soon as one is free. With NNODES
more than 1 it becomes a step of this Slurm allocation instead (srun), on whichever node has a free GPU. N and
NNODES are read as training reads them (models/training/launch.py).
"""

import argparse
import os
import sys
from collections.abc import Sequence

from evaluation.command import command, run
from models.training.launch import (
    count_gpus,
    devices_of,
    has_address,
    hold_devices,
    plan_launch,
    step_command,
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="run unchanged")
    return run(parser, arguments, run_on_gpu)


def run_on_gpu(flags: argparse.Namespace) -> None:
    """Become the command. Raises ValueError if there is none, or no GPU for it; OSError for no program."""
    words = flags.command
    if not words:
        raise ValueError("on_gpu was given no command; write it behind, as `on_gpu python -m ...`.")
    launch = plan_launch(os.environ | {"D": ""}, count_gpus, has_address)
    if launch.nodes > 1:
        words = step_command(words, os.environ)
    else:
        (device,) = hold_devices(devices_of(os.environ, launch.processes), 1)
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    os.execvp(words[0], words)  # noqa: S606 (no shell)


if __name__ == "__main__":
    sys.exit(main())
