"""Files that the worker writes whole or not at all, by the standard library alone."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Hand out a path beside `path` to write a file to, and put it in its place at the end.

    Its name says host and process, so that a stage removes what a dead one left. If the block raises, the
    unfinished file is removed and `path` stays as it was.
    """
    host = re.sub(r"\W", "_", socket.gethostname())[:20]
    unfinished = path.with_name(f"{path.name}.{host}-{os.getpid()}.tmp")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
