"""The package's loop over clips while it runs: where it is, how many frames a network takes at once, and
which clips are read ahead.

Standard library, and torch inside one function.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

log = logging.getLogger("vbench_job")

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
"""How torch, its CPU allocator and CUDA's libraries say it."""
SMALLER_BATCHES = (16, 4, 1)
"""Frames at once that are tried one after another when memory runs out."""


@dataclass
class LoopWatch:
    """What a job knows of the package's loop, and what the loop must obey."""

    clip: str = "none yet"
    """Name of the clip that is being scored."""
    item: int = 0
    """How many items of the loop have begun."""
    finished: bool = False
    """Whether the loop ran to its end."""
    errors: list[str] = field(default_factory=list)
    """Exceptions that the package swallows."""
    on_item: Callable[[], None] | None = None
    """Called when an item begins."""
    limit: int | None = None
    """Frames that go through a network at once; None: all, until memory runs out."""
    paths: tuple[str, ...] = ()
    """The clips in the order in which they are read."""
    workers: int = 1
    """Threads that read ahead."""
    frame_values: dict[str, list[float | None]] = field(default_factory=dict)
    """What a fast function knows of the frames of a clip, by the clip's name: one value for each pixel frame,
    as a fraction, None where a frame has none. Their mean is the clip's value up to rounding.
    """

    def ahead(self, read: Callable[..., Any]) -> ReadAhead:
        """A function that reads a clip, and the next ones meanwhile."""
        return ReadAhead(read, self.paths, self.workers)

    def at_once(self, usual: int) -> int:
        """Frames that go through a network at once where `usual` do otherwise."""
        return usual if self.limit is None else min(usual, self.limit)

    def loop(self, items: Sequence[Any], **_: Any) -> Iterator[Any]:
        """The same items, remembered and logged; takes the place of tqdm."""
        for number, item in enumerate(items, 1):
            self.item = number
            if isinstance(item, str):
                self.clip = Path(item).name
            if self.on_item is not None:
                self.on_item()
            log.info("%d of %d", number, len(items))
            yield item
        self.finished = True

    def reading(self, read: Callable[..., Any]) -> Callable[..., Any]:
        """A function that reads a clip and remembers which."""

        def remembered(path: str, *arguments: Any, **options: Any) -> Any:
            self.clip = Path(path).name
            return read(path, *arguments, **options)

        return remembered


class ReadAhead:
    """A function that reads a clip: the same results as `read`, most of them begun before they are asked for.

    paths: clips in the order in which they will be asked for, told apart by their names. workers: clips read
    beside the one in use, each in a thread of its own. `read` must let other threads run, which decoders do.
    An error that it raises comes when its clip is asked for.
    """

    def __init__(self, read: Callable[..., Any], paths: Sequence[str], workers: int) -> None:
        self.read = read
        self.paths = list(paths)
        self.places = {Path(path).name: place for place, path in enumerate(self.paths)}
        self.workers = workers
        self.threads = ThreadPoolExecutor(workers, thread_name_prefix="read-ahead")
        self.begun: dict[int, Future[Any]] = {}

    def __call__(self, path: str, **options: Any) -> Any:
        """options: the same for all clips."""
        place = self.places[Path(path).name]
        wanted = range(place, min(place + 1 + self.workers, len(self.paths)))
        for late in [other for other in self.begun if other not in wanted]:
            self.begun.pop(late).cancel()
        for other in wanted:
            if other not in self.begun:
                self.begun[other] = self.threads.submit(self.read, self.paths[other], **options)
        return self.begun.pop(place).result()


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out. On the CPU torch raises a plain RuntimeError for it."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)


def try_batches(batched: bool, watch: LoopWatch, attempt: Callable[[], Any]) -> None:
    """Call `attempt`, and where memory runs out again with smaller batches, from the first clip.

    batched: whether what it runs obeys `watch.limit`. Raises what the last attempt raised.
    """
    import torch

    for smaller in (*(SMALLER_BATCHES if batched else ()), None):
        try:
            attempt()
        except (RuntimeError, MemoryError) as error:
            if smaller is None or not is_out_of_memory(error):
                raise
            log.warning(
                "out of memory at %s with %s frames at once (%s); again with %d",
                watch.clip,
                watch.limit or "all",
                error,
                smaller,
            )
        else:
            return
        watch.limit, watch.item, watch.finished = smaller, 0, False
        torch.cuda.empty_cache()


def in_batches(
    network: Callable[[Any], Any], watch: LoopWatch, join: Callable[[list[Any]], Any]
) -> Callable[[Any], Any]:
    """A function of a stack of frames that obeys the watch's limit; last digits may differ by batch."""

    def limited(frames: Any) -> Any:
        if watch.limit is None or len(frames) <= watch.limit:
            return network(frames)
        return join([network(part) for part in frames.split(watch.limit)])

    return limited
