"""The folders of a trained row: one for each run, and links to the current one.

<output>/runs/<identity>/ holds states/, checkpoint (a link to the newest of them), metrics.jsonl and what
else a run writes. <output>/states, <output>/checkpoint and the others are links into the current run, so that
readers need not know which one it is. Another identity (settings, weights or code) gets another folder; the
older runs stay until the user removes them. One process at a time trains into <output>, and holds its lock.
"""

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

from models.checkpoints.containers import json_mapping
from models.locks import Lock
from models.training.distributed import Processes

log = logging.getLogger(__name__)

LINKED = ("states", "checkpoint", "metrics.jsonl", "validation", "tensorboard")


WAIT_S = 60.0
"""How long a training waits for another one that ends: one that was asked to stop saves before it does."""


def hold_folder(output: Path, wait_s: float | None = None) -> None:
    """Let no other process train into a row's folder from now on until this one ends.

    Raises ValueError, which names the other process, if one still trains into the folder after `wait_s`
    (default: WAIT_S).
    """
    wait_s = WAIT_S if wait_s is None else wait_s
    lock, until = Lock(output / "training.lock"), time.monotonic() + wait_s
    left = lock.holder
    while not lock.take():
        other = lock.holder or "a process that left no note"
        if time.monotonic() >= until:
            mark = lock.path.with_name(f"{lock.path.name}.held")  # where the file system has no locks
            gone = f", or remove {mark} if it is gone" if mark.exists() else ""
            raise ValueError(
                f"{output} is being trained into by {other}, and two at once would spoil each other's "
                f"checkpoints; wait for it or end it{gone}. Started again, training goes on from there."
            )
        if left is not None:
            log.info("waiting up to %g s for %s, which trains into %s", wait_s, other, output)
        left = None
        time.sleep(0.2)
    if left is not None and not left.is_here:
        log.info("%s trained into %s and is gone; its lock was removed", left, output)


def open_run(output: Path, identity: str, processes: Processes, *, without: Sequence[str] = ()) -> Path:
    """The folder of the run with this identity, below `output`; makes it and turns the links to it.

    identity: hash of everything that shapes the run; that of process 0 counts. without: names of `LINKED`
    that this run does not write. Every process must call this; raises as `hold_folder`.
    """
    if processes.rank == 0:
        hold_folder(output)
    run = output / "runs" / processes.decide(identity)[:12]
    if processes.rank == 0:
        _move_earlier_version(output)
        others = sorted(path for path in run.parent.glob("*") if path != run)
        if others and not run.is_dir():
            kept = ", ".join(f"{path} ({_gigabytes(path):.2f} GB)" for path in others)
            log.info(
                "other settings, weights or code: training afresh in %s; %s stays until you remove it",
                run,
                kept,
            )
        (run / "states").mkdir(parents=True, exist_ok=True)
        for name in LINKED:
            if name in without:
                (output / name).unlink(missing_ok=True)
            else:
                link(output / name, run / name)
    processes.wait()
    return run


def link(path: Path, target: Path) -> None:
    """Let `path` name `target`, at once and never neither the old nor the new one."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(target, path.parent))
    os.replace(temporary, path)


def _move_earlier_version(output: Path) -> None:
    """Move a run that lies directly in `output`, as earlier versions wrote it, to a folder of its own."""
    states = output / "states"
    if not states.is_dir() or states.is_symlink():
        return
    whole = sorted(path for path in states.iterdir() if path.name.isdigit())
    path = whole[-1] / "progress.json" if whole else None
    progress = json_mapping(path.read_bytes(), str(path)) if path and path.is_file() else {}
    run = output / "runs" / str(progress.get("identity", "unfinished"))[:12]
    run.mkdir(parents=True)
    for name in (*LINKED, "wandb_run"):
        if os.path.lexists(output / name):
            (output / name).rename(run / name)


def _gigabytes(folder: Path) -> float:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(path.stat().st_size for path in files) / 1e9
