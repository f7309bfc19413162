"""What ran beside a job while it made clips, without which seconds mean little."""

import os
import time

import psutil

from evaluation.records import Load

JOB_MODULES = "workflow.scripts."


def other_jobs() -> int:
    """Jobs of this program on this machine, without this process and those above it."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return sum(
        process.pid not in own and any(word.startswith(JOB_MODULES) for word in process.info["cmdline"] or ())
        for process in psutil.process_iter(["cmdline"])
    )


def _busy_s() -> float:
    """Seconds that the machine's cores have worked since it was started."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "guest", 0.0)
    return float(sum(times) - idle)


class LoadMeter:
    """Measures from its making on."""

    def __init__(self) -> None:
        self.wall, self.own, self.busy = time.perf_counter(), time.process_time(), _busy_s()

    def read(self, clips: int) -> Load:
        """The load of one of `clips` clips that were made since."""
        wall, own = time.perf_counter() - self.wall, time.process_time() - self.own
        others = max(0.0, _busy_s() - self.busy - own) / max(wall, 1e-3) / (os.cpu_count() or 1)
        return Load(cpu_s=round(own / clips, 6), others=round(min(others, 1.0), 4), jobs=other_jobs())
