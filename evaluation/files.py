"""Files: hashed, written whole, and JSON read strictly. Standard library only, so that every package of ours
may import it.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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


def load_json(content: str | bytes, where: str) -> Any:
    """The value of a JSON text, read strictly. where: the name of the text, for messages.

    Raises ValueError with that name if the text is not UTF-8 or no JSON, holds a key twice in one object, a
    number that is not finite (NaN, 1e999), or half a character (a lone surrogate).
    """
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
        value = json.loads(
            text, object_pairs_hook=_unique_keys, parse_float=_finite, parse_constant=_no_number
        )
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} cannot be read as JSON ({error}); write it again.") from error
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} appears twice in one object")
    return found


def _finite(number: str) -> float:
    if not math.isfinite(value := float(number)):
        raise ValueError(f"{number} is no finite number")
    return value


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")
