"""Checkpoints of a run: whole or not there, the newest few kept, written by all processes together.

<run>/states/0000050/ holds models/<name>, models/<name>_ema and optimizers/<name>, each a distributed
checkpoint (models/training/methods.md#checkpoints), and progress.json with the sha256 of every file;
<run>/checkpoint is a link to the newest. A folder gets its final name only when everything below it is on the
disk, so whatever has such a name was complete, wherever the writer was killed; what was damaged since is set
aside and an older one taken. Any number of processes can read it.
"""

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_saver import save

from evaluation.files import load_json, remove_leftovers, write_text
from models.checkpoints.containers import dcp_shapes, fill_from_dcp
from models.checkpoints.progress import verified_progress, write_progress
from models.training.distributed import Processes
from models.training.runs import link

log = logging.getLogger(__name__)

States = Mapping[str, Mapping[str, Tensor]]


class Stored(Protocol):
    """What can be kept in a checkpoint: see `Trainee` (models/training/loop.py)."""

    name: str

    def states(self) -> dict[str, dict[str, Tensor]]: ...

    def room_for(self, optimizer: Mapping[str, Tensor]) -> dict[str, Tensor]: ...

    def load_optimizer(self, optimizer: Mapping[str, Tensor]) -> None: ...


class RunCheckpoints:
    """The checkpoints of one run, in its folder. identity, facts: see `train`; keep: how many stay.

    Every process must call every method.
    """

    def __init__(
        self,
        run: Path,
        trainees: Sequence[Stored],
        identity: str,
        facts: Mapping[str, Any],
        processes: Processes,
        keep: int,
    ) -> None:
        self.run, self.trainees, self.identity, self.facts = run, trainees, identity, dict(facts)
        self.processes, self.keep = processes, keep
        self.folder = run / "states"
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def save(self, iteration: int, *, wait: bool = True) -> None:
        """Write the state after `iteration` iterations. wait False: write a copy of it while training goes
        on.

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
        copies: Any = stager.stage(states)
        self._pending = self._thread.submit(self._write, copies, iteration)

    def resume(self) -> int:
        """Continue from the newest whole checkpoint, if there is one; returns the iterations it holds, else
        0.

        What a killed writer left is removed, and so are the metrics of iterations that are done again. A
        newer checkpoint that was damaged is said and renamed. Raises ValueError in every process if all are
        damaged.
        """
        found: int | str = 0
        if self.processes.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            for unfinished in self.folder.glob("*.tmp"):
                shutil.rmtree(unfinished, ignore_errors=True)
            remove_leftovers(self.run)
            try:
                found = self._newest_whole()
            except ValueError as error:
                found = str(error)
        done = self.processes.decide(found)
        if isinstance(done, str):
            raise ValueError(done)
        if done:
            folder = self.folder / _name(done)
            for trainee in self.trainees:
                self._read(folder, trainee)
            log.info("resuming %s after %d iterations", folder, done)
        if self.processes.rank == 0:
            keep_metrics(self.run / "metrics.jsonl", done)
        self.processes.wait()
        return done

    def _newest_whole(self) -> int:
        """Iterations of the newest checkpoint that is as it was written, 0 if there never was one."""
        errors: dict[Path, ValueError] = {}
        for folder in sorted(self._kept(), reverse=True):
            try:
                said = verified_progress(folder)
                if (said["iteration"], said["identity"]) != (int(folder.name), self.identity):
                    raise ValueError(
                        f"{folder} holds iteration {said['iteration']} of the run {said['identity'][:12]}, "
                        f"expected {int(folder.name)} of {self.identity[:12]}; take another checkpoint."
                    )
            except ValueError as error:
                errors[folder] = error
                continue
            for damaged, what in errors.items():
                aside = damaged.with_name(f"{damaged.name}.damaged")
                shutil.rmtree(aside, ignore_errors=True)
                damaged.rename(aside)
                log.warning("%s It is now %s; training goes on from %s.", what, aside.name, folder)
            link(self.run / "checkpoint", folder)
            return int(folder.name)
        if errors:
            raise ValueError(
                f"No checkpoint in {self.folder} is whole ({' '.join(map(str, errors.values()))}), so there "
                "is nothing to go on from; bring one back, or remove that folder to train from the start."
            )
        return 0

    def _kept(self) -> list[Path]:
        return [folder for folder in self.folder.iterdir() if folder.name.isdigit()]

    def _read(self, folder: Path, trainee: Stored) -> None:
        alone = self.processes.size == 1
        optimizer = f"optimizers/{trainee.name}"
        states = {**trainee.states(), optimizer: trainee.room_for(dcp_shapes(folder / optimizer))}
        for name, state in states.items():
            fill_from_dcp(folder / name, state, group=self.processes.writers, alone=alone)
        trainee.load_optimizer(states[optimizer])

    def _write(self, states: States, iteration: int) -> None:
        final = self.folder / _name(iteration)
        temporary = final.with_suffix(".tmp")
        if self.processes.rank == 0:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        self.processes.wait()
        for name, state in states.items():
            save(
                dict(state),
                checkpoint_id=temporary / name,
                process_group=self.processes.writers,
                no_dist=self.processes.size == 1,
            )
        if self.processes.rank == 0:
            write_progress(temporary, iteration=iteration, identity=self.identity, facts=self.facts)
            _to_disk(temporary)
            os.replace(temporary, final)
            link(self.run / "checkpoint", final)
            for old in sorted(self._kept())[: -self.keep]:
                _remove(old)
        self.processes.wait()


def keep_metrics(path: Path, done: int) -> None:
    """Keep of metrics.jsonl the first line of each iteration up to `done`; a torn line is left out."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    kept: dict[int, str] = {}
    torn = 0
    for line in filter(None, text.split("\n")):
        try:
            iteration = load_json(line, str(path))["iteration"] + 0
        except (ValueError, TypeError, KeyError):
            torn += 1
        else:
            if iteration <= done:
                kept.setdefault(iteration, f"{line}\n")
    if torn:
        log.warning("%s had %d lines that are no metrics of an iteration; they are left out", path, torn)
    write_text(path, "".join(kept[iteration] for iteration in sorted(kept)))


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


def _remove(folder: Path) -> None:
    """Remove a folder, under another name first, so that a half-removed one never looks complete."""
    doomed = folder.with_name(f"{folder.name}.old.tmp")
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(folder, doomed)
    shutil.rmtree(doomed)
