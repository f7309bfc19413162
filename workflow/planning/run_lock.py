"""Snakemake's lock on this folder, removed where the run that left it is gone.

Snakemake keeps the names of a run's files in .snakemake/locks until the run ends, and a run that is killed,
or whose terminal goes away, never removes them. So each run holds a lock of its own in .snakemake/runs, which
goes with its process and says whose it was.
"""

import os
import socket
from contextlib import suppress
from pathlib import Path

from models.locks import Lock

LOCKS, RUNS = Path(".snakemake/locks"), Path(".snakemake/runs")


def release_dead_runs() -> list[str]:
    """Enter this run, and remove what runs left that were killed; what was done, in a sentence each.

    Nothing is removed while another run works in this folder, or where no run that was entered left it.
    """
    mine = Lock(RUNS / f"{socket.gethostname()}.{os.getpid()}.lock")
    mine.take()
    others = [Lock(path) for path in sorted(RUNS.glob("*.lock")) if path != mine.path]
    if living := [str(other.holder or "unknown") for other in others if other.is_held]:
        return [f"Another run works in this folder ({'; '.join(living)}); what it makes, this one cannot."]
    gone = [str(other.holder or "unknown") for other in others if other.note.exists()]
    left = [path for path in LOCKS.glob("*.lock") if path.is_file()]
    if left and not gone:
        return []
    for path in (*left, *(path for other in others for path in (other.path, other.note))):
        with suppress(OSError):  # removed meanwhile, or another user's
            path.unlink()
    if not left:
        return []
    return [f"An earlier run here did not end by itself ({'; '.join(gone)}); its lock is removed."]
