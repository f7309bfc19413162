"""Locks on folders: held by one process until it ends, however it ends, with a note that says which one.

No torch here: Snakemake takes one while it reads the rules.
"""

import atexit
import errno
import json
import os
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from evaluation.files import load_json, write_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process that holds a lock, or held it. job: of Slurm, None outside; since: date and time in UTC."""

    host: str
    pid: int
    job: str | None
    since: str

    @property
    def is_here(self) -> bool:
        """Whether it is this process."""
        return (self.host, self.pid) == (socket.gethostname(), os.getpid())

    def __str__(self) -> str:
        job = f" (Slurm job {self.job})" if self.job else ""
        return f"process {self.pid} on {self.host}{job}, since {self.since}"


class Lock:
    """A lock file. The operating system frees it with its process, so that only a living process holds it.

    Beside it lies <name>.json, the note of who holds it; one that a killed process left says who that was.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.note = path, path.with_name(f"{path.name}.json")

    @property
    def holder(self) -> Holder | None:
        """Who holds it or left it; None where no note says so."""
        try:
            return Holder(**load_json(self.note.read_bytes(), str(self.note)))
        except (OSError, ValueError, TypeError):
            return None

    @property
    def is_held(self) -> bool:
        """Whether a process holds it, this one or another."""
        if self.path.resolve() in _HELD:
            return True
        lock = _acquired(self.path)
        if lock is not None:
            lock.release()
        return lock is None

    def take(self) -> bool:
        """Hold it until this process ends; False if another process has it."""
        path = self.path.resolve()
        if path in _HELD:
            return True
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _acquired(path)
        if lock is None:
            return False
        _HELD[path] = lock
        job = os.environ.get("SLURM_JOB_ID") or None
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        mine = Holder(host=socket.gethostname(), pid=os.getpid(), job=job, since=since)
        write_text(self.note, json.dumps(asdict(mine)) + "\n")
        atexit.register(self.note.unlink, missing_ok=True)
        return True


_HELD: dict[Path, BaseFileLock] = {}
"""Locks of this process by their paths."""
WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
"""What file systems answer that know no locks; there a file that names its process stands for one."""


def _acquired(path: Path) -> BaseFileLock | None:
    """The lock, now held; None if another process holds it. Any user may hold it, whose folder it is."""
    lock: BaseFileLock = FileLock(path, timeout=0, mode=0o666)
    try:
        try:
            lock.acquire()
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            lock = SoftFileLock(f"{path}.held", timeout=0)
            lock.acquire()
    except Timeout:
        return None
    return lock
