"""Being asked to stop: by Slurm before it takes a node back or at a job's time limit, or by a person.

The signal only leaves a note; the loop reads it after the iteration, saves, and the program ends with
EXIT_CODE. Any other code than 0 makes Snakemake try the job again, and the next attempt resumes; a cluster
may name this one as RequeueExit.
"""

import logging
import signal
from collections.abc import Callable
from types import FrameType

log = logging.getLogger(__name__)

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: try again later
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


def stop_requests() -> Callable[[], bool]:
    """Let SIGTERM and SIGUSR1 no longer end the process; the result says whether one has come."""
    asked: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if not asked:
            log.info("got %s: stopping after this iteration", signal.Signals(number).name)
        asked.append(number)

    for number in SIGNALS:
        signal.signal(number, note)
    return lambda: bool(asked)
