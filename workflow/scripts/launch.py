"""Start a training module on this node: as one process, or as several through torchrun. Use: python -m workflow.scripts.launch MODULE ...

Everything after the module's name is passed on unchanged. The environment says how many processes there are: models/training/launch.py.
A preempted run ends with the code that asks for another attempt.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys

from models.training.launch import plan_launch
from models.training.preemption import EXIT_CODE, SIGNALS


def count_gpus() -> int:
    """GPUs that this process may use: those it was given, else those nvidia-smi lists."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return len([device for device in given.split(",") if device.strip()])
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    return listed.stdout.count("GPU ") if listed.returncode == 0 else 0


def has_address(host: str) -> bool:
    """Whether this node can look the host up."""
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        raise ValueError(
            "No module to start was named; use: python -m workflow.scripts.launch MODULE [arguments]."
        )
    module, arguments = sys.argv[1], sys.argv[2:]
    launch = plan_launch(os.environ, count_gpus, has_address)
    for name, value in launch.environment(len(os.sched_getaffinity(0))).items():
        os.environ.setdefault(name, value)
    if launch.alone:
        os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 (no shell)
    # torch takes seconds to import, which a single process does once, after the line above
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    try:
        run(parse_args(launch.torchrun(module, arguments)))
    except SignalException as stopped:
        sys.exit(EXIT_CODE if stopped.sigval in SIGNALS else 1)
    except ChildFailedError as failed:
        codes = {failure.exitcode for failure in failed.failures.values()}
        print(failed, file=sys.stderr)
        sys.exit(EXIT_CODE if codes == {EXIT_CODE} else 1)


if __name__ == "__main__":
    main()
