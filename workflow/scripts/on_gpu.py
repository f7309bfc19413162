"""Run a command on a GPU of its own, which no other command started this way has meanwhile.

python -m workflow.scripts.on_gpu COMMAND ...: what follows is run unchanged in the place of this process,
with CUDA_VISIBLE_DEVICES naming one of the first N devices of this node, as soon as one is free. With NNODES
more than 1 it becomes a step of this Slurm allocation instead (srun), on whichever node has a free GPU. N and
NNODES are read as training reads them (models/training/launch.py).
"""

import os
import sys

from models.training.launch import (
    count_gpus,
    devices_of,
    has_address,
    hold_devices,
    plan_launch,
    step_command,
)


def main() -> None:
    command = sys.argv[1:]
    if not command or command[0] in ("-h", "--help"):
        sys.exit(__doc__)
    try:
        launch = plan_launch(os.environ | {"D": ""}, count_gpus, has_address)
        if launch.nodes > 1:
            command = step_command(command, os.environ)
        else:
            (device,) = hold_devices(devices_of(os.environ, launch.processes), 1)
            os.environ["CUDA_VISIBLE_DEVICES"] = device
    except ValueError as error:
        sys.exit(str(error))
    os.execvp(command[0], command)  # noqa: S606 (no shell)


if __name__ == "__main__":
    main()
