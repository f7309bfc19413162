"""Files: hashed, written whole, and read strictly: JSON, lines, tables and zips. Standard library only, so
that every package of ours may import it.
"""

import csv
import hashlib
import io
import json
import logging
import lzma
import math
import os
import re
import shutil
import socket
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import category

log = logging.getLogger(__name__)

ZIP_ERRORS = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error, UnicodeError,
    EOFError, LookupError, NotImplementedError, OverflowError, RuntimeError,
)  # fmt: skip
"""What zipfile raises for an archive that is damaged, encrypted, or packed in a way that it does not know."""
DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of the text behind them, so that it reads as what it is not."""
MAX_TEXT = 200
"""Characters of a text that people read beside a row."""
FORGOTTEN_S = 86400.0
"""Age of a file of another host's process that nobody writes any more, in seconds."""
_THIS_HOST = re.sub(r"\W", "_", socket.gethostname())[:20]
_UNFINISHED = re.compile(r"\.(\w+)-(\d+)\.tmp$")
MAX_DIGITS = 300
"""Of a whole number in JSON, so that it can be a float."""


def file_sha256(path: Path | str) -> str:
    """The sha256 of a file's bytes, in hex. Raises OSError if it cannot be read."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical_sha256(value: Any) -> str:
    """Sha256 of a value's canonical JSON (sorted keys, no spaces, finite numbers)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def unfinished_name(name: str) -> str:
    """What this process calls a file or folder while it makes it; `remove_leftovers` knows it by that."""
    return f"{name}.{_THIS_HOST}-{os.getpid()}.tmp"


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove what dead processes left unfinished in a folder and the folders in it, and return its paths.

    A process is dead if it ran on this host and is gone, or on another and wrote nothing for a day. What may
    not be removed, or is gone meanwhile, is passed over.
    """
    dead = [
        path
        for pattern in ("*.tmp", "*/*.tmp")
        for path in folder.glob(pattern)
        if (made := _UNFINISHED.search(path.name)) and _is_dead(path, made[1], made[2])
    ]
    for path in dead:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()
    return [path for path in dead if not path.exists()]


def _is_dead(path: Path, host: str, pid: str) -> bool:
    try:
        if host != _THIS_HOST:
            return time.time() - path.lstat().st_mtime > FORGOTTEN_S
        os.kill(int(pid), 0)
    except (ProcessLookupError, FileNotFoundError):
        return True
    except OSError:  # another user's
        return False
    return False


@contextmanager
def written_whole(path: Path | str) -> Iterator[Path]:
    """Hand out a path beside `path` to write to, and put what was written there in its place at the end.

    Whoever reads `path` finds the old file (or none) or the new one, never a part of it, however the process
    ends. If the block raises, the unfinished file is removed and `path` stays as it was. The folder is made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(unfinished_name(path.name))
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


def load_json(
    content: str | bytes, where: str, *, advice: str = "write it again", numbers: bool = True
) -> Any:
    """The value of a JSON text, read strictly. where: the name of the text, advice: what to do, for messages;
    numbers: whether to look at each, which takes most of the time and is not needed where a model of the
    content does.

    Raises ValueError with that name if the text is not UTF-8 or no JSON, holds a key twice in one object, a
    number that is not finite (NaN, 1e999) or has over MAX_DIGITS digits, or half a character (a lone
    surrogate).
    """
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
        value = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_float=_finite if numbers else None,
            parse_int=_whole if numbers else None,
            parse_constant=_no_number,
        )
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} cannot be read as JSON ({error}); {advice}.") from error
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


def _whole(number: str) -> int:
    if len(number) > MAX_DIGITS:
        raise ValueError(f"a number has {len(number)} digits")
    return int(number)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def utf8_text(content: bytes, where: str) -> str:
    """The text of a file in UTF-8, without the mark that spreadsheets put in front. where: its name.

    Raises ValueError with that name and the line of the first byte that is not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{where} line {line} has a byte that is not UTF-8 (0x{content[error.start]:02x}); save the "
            "file as UTF-8."
        ) from error


def text_lines(text: str) -> list[str]:
    """The lines of a text, without their ends. Only a line feed ends a line: str.splitlines ends one at six
    more characters, which JSON may have inside a text.
    """
    return text.removesuffix("\n").split("\n") if text else []


class Table(NamedTuple):
    """A table with a header."""

    columns: list[str]
    rows: list[tuple[int, dict[str, str]]]
    """The number of each row's first line, from 1, and its cells by column, without blanks around them."""


def read_table(text: str, where: str, delimiter: str = ",") -> Table:
    """A table of CSV or the like. where: its name. An empty text has no columns.

    Raises ValueError for a column that comes twice, a row with more or fewer cells than the header, and a
    quote that is not closed.
    """
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    table, line = Table([], []), 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if line == 1:
                table.columns.extend(cells)
                if twice := [cell for cell in cells if cells.count(cell) > 1]:
                    raise ValueError(f"{where} line 1: column {twice[0]!r} appears twice; remove one.")
            elif len(cells) != len(table.columns):
                raise ValueError(
                    f"{where} line {line} has {len(cells)} cells, expected {len(table.columns)} "
                    f"({', '.join(table.columns)}); put a text that holds the separator in double quotes, "
                    "and leave no line empty."
                )
            else:
                table.rows.append((line, dict(zip(table.columns, cells, strict=True))))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{where} line {line} cannot be read ({error}); double a double quote that is part of a quoted "
            "cell."
        ) from error
    return table


def control_character(text: str) -> str | None:
    """The first character of a text that is no part of a plain line; None if there is none.

    Such are control characters (NUL, tab, line feed, ...), the two separators of lines, halves of characters,
    and those that turn the direction of what follows. Joiners, marks and blanks of any script are text.
    """
    return next((c for c in text if category(c) in ("Cc", "Cs", "Zl", "Zp") or c in DIRECTIONS), None)


def one_line(text: str) -> str:
    """A text of others on one line: every run of blanks and control characters as one space."""
    return " ".join("".join(" " if control_character(c) else c for c in text).split())


def plain_text(text: str, *, where: str = "it") -> str:
    """A title, licence, citation or note as it is given. where: its name, for messages.

    Raises ValueError unless it has 1 to MAX_TEXT characters, something but blanks and nothing of
    `control_character`.
    """
    if odd := control_character(text):
        raise ValueError(f"{where} holds the control character {odd!r}; write it as one plain line.")
    if not text.strip() or len(text) > MAX_TEXT:
        raise ValueError(
            f"{where} has {len(text.strip())} characters, expected 1 to {MAX_TEXT}; write it anew."
        )
    return text


def append_line(path: Path, line: str) -> None:
    """Add a line to a file of lines, in place of what an append that was cut off left at its end."""
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        file.write(f"{line}\n".encode())


def whole_lines(path: Path) -> list[str]:
    """The lines of a file that `append_line` writes; none without one. A last line that was cut off by a full
    disk or a power cut is passed over, and said in the log.
    """
    whole, _, cut = (path.read_bytes() if path.is_file() else b"").rpartition(b"\n")
    if cut:
        log.warning("%s ends in a line that was cut off, which is passed over", path)
    return text_lines(utf8_text(whole, str(path)))


@contextmanager
def open_zip(source: Path | bytes, where: str) -> Iterator[zipfile.ZipFile]:
    """A zip to read from. where: its name. Names of members are read as UTF-8 where they can be.

    Info-ZIP and macOS write such names without the flag that says so. Raises OSError if there is no file, and
    as `zip_errors`, also for what is read inside the block.
    """
    with (
        zip_errors(where),
        zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source) as archive,
    ):
        for member in archive.infolist():
            _read_as_utf8(member)
        yield archive


@contextmanager
def zip_errors(where: str) -> Iterator[None]:
    """Make whatever zipfile raises inside the block a ValueError with the name of the zip or its member: it
    is no zip, damaged, encrypted, or packed by a method that is not known here.
    """
    try:
        yield
    except ZIP_ERRORS as error:
        reason = re.sub(r"<ZipInfo.*>", "a member", str(error)).strip("'\"").rstrip(".")
        raise ValueError(
            f"{where} cannot be read as a zip ({reason or type(error).__name__}); fetch it again, or make it "
            "again."
        ) from error


def _read_as_utf8(member: zipfile.ZipInfo) -> None:
    if not member.flag_bits & 0x800 and member.filename == member.orig_filename:
        try:
            member.filename = member.filename.encode("cp437").decode("utf-8")
        except UnicodeError:
            return  # an old name in another alphabet, as zipfile reads it
