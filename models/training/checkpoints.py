"""Checkpoints of a run: whole or not there, the newest few kept, written by all processes and read by any
number of others.

<output>/states/0000050/ holds models/<name>, models/<name>_ema and optimizers/<name>, each a distributed
checkpoint (raven.md 14.3), and progress.json; <output>/checkpoint is a link to the newest. A folder gets its
final name only when everything below it is on the disk, so whatever has such a name is complete, wherever the
writer was killed.
"""

import json
import logging
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from models.checkpoints.containers import dcp_shapes, fill_from_dcp
from models.training.distributed import World

log = logging.getLogger(__name__)

States = Mapping[str, Mapping[str, Tensor]]


class Stored(Protocol):
    """What can be kept: see `Trainee` (models/training/loop.py)."""

    name: str

    def states(self) -> dict[str, dict[str, Tensor]]: ...

    def room_for(self, optimizer: Mapping[str, Tensor]) -> dict[str, Tensor]: ...

    def load_optimizer(self, optimizer: Mapping[str, Tensor]) -> None: ...


class Checkpoints:
    """The checkpoints of one run. identity, facts: see `train`; keep: how many stay.

    Every process of `world` must call every method.
    """

    def __init__(
        self,
        output: Path,
        trainees: list[Any],
        identity: str,
        facts: Mapping[str, Any],
        world: World,
        keep: int,
    ) -> None:
        self.output, self.trainees, self.identity, self.facts = output, trainees, identity, dict(facts)
        self.world, self.keep = world, keep
        self.folder = output / "states"
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def save(self, iteration: int, *, wait: bool = True) -> None:
        """Write the state after `iteration` iterations. wait False: write a copy of it in a thread while
        training goes on.

        Raises what an earlier write raised. One thread runs `dcp.save` folder by folder: `dcp.async_save`
        would start one thread for each, whose messages between processes could cross.
        """
        if self._pending is not None:
            self._pending.result()
            self._pending = None
        states: dict[str, Any] = {}
        for trainee in self.trainees:
            states |= trainee.states()
        if wait:
            self._write(states, iteration)
            return
        stager = DefaultStager(StagingOptions(False, False, False, False))
        self._pending = self._thread.submit(self._write, stager.stage(states), iteration)

    def resume(self) -> int:
        """Continue from the newest checkpoint if it is of the same identity; returns the iterations it holds,
        else 0.

        What a killed writer left and what belongs to another run is removed, and so are metrics of iterations
        to be done again.
        """
        if self.world.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            for unfinished in self.folder.glob("*.tmp"):
                shutil.rmtree(unfinished)
        done = self.world.decide(self._newest() if self.world.rank == 0 else 0)
        if done:
            folder = self.folder / _name(done)
            for trainee in self.trainees:
                self._read(folder, trainee)
            log.info("resuming %s after %d iterations", folder, done)
        if self.world.rank == 0:
            self._forget_after(done)
        self.world.wait()
        return done

    def _newest(self) -> int:
        found = sorted(path.name for path in self.folder.glob("*") if path.name.isdigit())
        if not found:
            return 0
        progress = json.loads((self.folder / found[-1] / "progress.json").read_text(encoding="utf-8"))
        if progress["identity"] == self.identity:
            return int(progress["iteration"])
        log.info("%s belongs to other settings, weights or code: starting afresh", self.folder / found[-1])
        return 0

    def _read(self, folder: Path, trainee: Stored) -> None:
        alone = self.world.size == 1
        optimizer = f"optimizers/{trainee.name}"
        states = {**trainee.states(), optimizer: trainee.room_for(dcp_shapes(folder / optimizer))}
        for name, state in states.items():
            fill_from_dcp(folder / name, state, group=self.world.writers, alone=alone)
        trainee.load_optimizer(states[optimizer])

    def _write(self, states: States, iteration: int) -> None:
        final = self.folder / _name(iteration)
        temporary = final.with_suffix(".tmp")
        if self.world.rank == 0:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        self.world.wait()
        for name, state in states.items():
            dcp.save(
                dict(state),
                checkpoint_id=temporary / name,
                process_group=self.world.writers,
                no_dist=self.world.size == 1,
            )
        if self.world.rank == 0:
            progress = {"iteration": iteration, "identity": self.identity, "facts": self.facts}
            (temporary / "progress.json").write_text(json.dumps(progress) + "\n", encoding="utf-8")
            _to_disk(temporary)
            os.replace(temporary, final)
            _link(self.output / "checkpoint", final)
            for old in sorted(path for path in self.folder.glob("*") if path.name.isdigit())[: -self.keep]:
                _remove(old)
        self.world.wait()

    def _forget_after(self, done: int) -> None:
        """Remove checkpoints of other runs if nothing is continued, and the metrics of iterations that are
        not done.
        """
        if done == 0:
            _remove(self.output / "checkpoint")
            for path in self.folder.glob("*"):
                _remove(path)
        metrics = self.output / "metrics.jsonl"
        kept = metrics.read_text(encoding="utf-8").splitlines()[:done] if metrics.exists() and done else []
        metrics.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def _name(iteration: int) -> str:
    return f"{iteration:07d}"


def _to_disk(folder: Path) -> None:
    """Wait until every file and folder below, and the folder's own entry, would survive a power cut."""
    for path in (*folder.rglob("*"), folder, folder.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    """Remove a folder, or a link to one; under another name first, so that a half-removed one never looks
    complete.
    """
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        doomed = path.with_name(f"{path.name}.old.tmp")
        shutil.rmtree(doomed, ignore_errors=True)
        os.replace(path, doomed)
        shutil.rmtree(doomed)


def _link(link: Path, target: Path) -> None:
    """Let `link` name the folder `target`, at once and never neither the old nor the new one."""
    temporary = link.with_name(f"{link.name}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(target, link.parent))
    os.replace(temporary, link)
