"""Start a training module: as one process, as several of this node through torchrun, or on several nodes
through srun.

python -m workflow.scripts.launch [--nodes N] [--processes N] MODULE [arguments]: what follows the module's
name is passed on unchanged. Without the two flags the environment says how many there are, as
models/training/launch.py explains. A preempted run ends with the code that asks for another attempt. D=2
debugs two processes on this node: debugpy waits for a client before any is started, and follows them.
"""

import argparse
import logging
import os
import socket
import sys
from collections.abc import Sequence

from evaluation.command import command, run
from models.training.launch import (
    count_gpus,
    devices_of,
    has_address,
    hold_devices,
    plan_launch,
    srun_command,
)
from models.training.preemption import EXIT_CODE, SIGNALS

log = logging.getLogger("launch")


def wait_for_debugger(port: int) -> None:
    """Let debugpy listen on this node and wait; it follows the processes started later.

    Raises ModuleNotFoundError with one sentence if debugpy is not installed.
    """
    try:
        import debugpy  # type: ignore[import-not-found]  # optional
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "D asks for a debugger, and debugpy is not installed; run `pip install debugpy`, or unset D."
        ) from None
    debugpy.listen(("127.0.0.1", port))
    print(
        f"debugpy waits for a client at 127.0.0.1:{port} of {socket.gethostname()}",
        file=sys.stderr,
        flush=True,
    )
    debugpy.wait_for_client()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("--nodes", type=int, help="nodes of the job; more than 1 starts one launcher on each")
    parser.add_argument("--processes", type=int, help="processes of a node, one a GPU")
    parser.add_argument("module", help="e.g. workflow.scripts.train_raven")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on to the module")
    return run(parser, arguments, start)


def start(flags: argparse.Namespace) -> None:
    """Become the module, or start its processes and exit with their code. Raises ValueError for numbers that
    do not fit, ModuleNotFoundError if a debugger is asked for that is not installed.
    """
    module, arguments = flags.module, flags.arguments
    if flags.nodes is not None and flags.nodes > 1 and os.environ.get("D", "0") in ("", "0"):
        words = srun_command(flags.nodes, flags.processes or 1, [module, *arguments], os.environ)
        os.execvp(words[0], words)  # noqa: S606 (no shell)
    given = {"NNODES": flags.nodes, "N": flags.processes}
    environment = {**os.environ, **{name: str(value) for name, value in given.items() if value is not None}}
    launch = plan_launch(environment, count_gpus, has_address)
    if launch.debug:
        wait_for_debugger(launch.debug_port)
    if launch.nodes == 1 and launch.processes < (there := count_gpus()):  # others may be on the same machine
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(
            hold_devices(devices_of(os.environ, there), launch.processes)
        )
    for name, value in launch.environment(len(os.sched_getaffinity(0))).items():
        os.environ.setdefault(name, value)
    if launch.alone:
        os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 (no shell)
    # torch takes seconds to import, which a single process does once, after the line above
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args
    from torch.distributed.run import run as start_processes

    try:
        start_processes(parse_args(launch.torchrun(module, arguments)))  # type: ignore[no-untyped-call]
    except SignalException as stopped:
        sys.exit(EXIT_CODE if stopped.sigval in SIGNALS else 1)
    except ChildFailedError as failed:
        codes = {failure.exitcode for failure in failed.failures.values()}
        count, ended = len(failed.failures), ", ".join(map(str, sorted(codes)))
        log.error("%d processes failed with exit code %s; what they logged says why.", count, ended)
        sys.exit(EXIT_CODE if codes == {EXIT_CODE} else 1)


if __name__ == "__main__":
    sys.exit(main())
