"""Reading the next clips in threads while the network works on this one. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any


class ReadAhead:
    """A function that reads a clip: the same results as `read`, most of them begun before they are asked for.

    paths: clips in the order in which they will be asked for, told apart by their names. workers: clips read
    beside the one in use, each in a thread of its own. `read` must let other threads run (decoders do) and
    may raise: the error comes when its clip is asked for.
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
