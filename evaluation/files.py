"""Files: hashed, and written whole. Standard library only, so that every package of ours may import it."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def file_sha256(path: Path | str) -> str:
    """The sha256 of a file's bytes, in hex. Raises OSError if it cannot be read."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def written_whole(path: Path | str) -> Iterator[Path]:
    """Hand out a path beside `path` to write to, and put what was written there in its place at the end.

    Whoever reads `path` finds the old file (or none) or the new one, never a part of it, however the process
    ends. If the block raises, the unfinished file is removed and `path` stays as it was. The folder is made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except BaseException:
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        else:
            unfinished.unlink(missing_ok=True)
        raise


def write_text(path: Path | str, text: str) -> None:
    """Write a text file whole, in UTF-8, with newlines as they are in `text`."""
    with written_whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline="")
