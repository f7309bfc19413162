"""Videos with captions, one after another: a list of files, or parquet files with the videos' bytes inside.

A source is an ordered list of places; it gives the clips of any rising places, holding one video at a time.
"""

import hashlib
import io
import json
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from evaluation.files import file_sha256, load_json, one_line, read_table, text_lines, utf8_text

VIDEO, INFO, CAPTION = "raw_video", "info", "caption"
"""Columns of a parquet file: the video's bytes, a pickled dict with the caption, or the caption itself."""


class RawClip(NamedTuple):
    """name: for lists and messages; video: a file, or its bytes; caption: on one line, empty without one."""

    name: str
    video: Path | bytes
    caption: str

    def sha256(self) -> str:
        """Of the video's bytes: what the clip is, wherever it lies."""
        if isinstance(self.video, bytes):
            return hashlib.sha256(self.video).hexdigest()
        return file_sha256(self.video)


class ClipSource(Protocol):
    """An ordered list of videos. description: what tells two lists apart, without reading the videos."""

    description: str

    def __len__(self) -> int: ...

    def clips(self, places: Sequence[int]) -> Iterator[RawClip]:
        """The clips at these places, which must rise."""
        ...


class ListedFiles:
    """A .csv (with a header) or .jsonl list with `file`, seen from `folder`, and `caption` of each video.

    Raises FileNotFoundError, or ValueError if the list is empty, lacks a column or names absent files.
    """

    def __init__(self, path: Path, folder: Path | None = None) -> None:
        folder = folder or path.parent
        if path.suffix not in (".csv", ".jsonl"):
            raise ValueError(f"{path} is no list of videos; expected .csv or .jsonl with file and {CAPTION}.")
        text, rows = utf8_text(path.read_bytes(), str(path)), []
        if path.suffix == ".csv":
            columns, table = read_table(text, str(path))
            if {"file", CAPTION} - set(columns):
                raise ValueError(
                    f"{path} has the columns {', '.join(columns) or 'none'}, expected file and {CAPTION} in "
                    "its first line; correct the list."
                )
            rows = [row for _, row in table]
        for number, line in enumerate(text_lines(text) if path.suffix == ".jsonl" else (), 1):
            if not line.strip():
                continue
            row = load_json(line, f"{path} line {number}")
            if not isinstance(row, dict) or not all(
                isinstance(row.get(key), str) for key in ("file", CAPTION)
            ):
                found = ", ".join(row) if isinstance(row, dict) else type(row).__name__
                raise ValueError(
                    f"{path} line {number} has {found}, expected texts file and {CAPTION}; correct the list."
                )
            rows.append(row)
        self.rows = [(row["file"], one_line(row[CAPTION])) for row in rows]
        self.files = [folder / name for name, _ in self.rows]
        absent = [str(file) for file in self.files if not file.is_file()]
        if absent or not rows:
            raise FileNotFoundError(
                f"{path} names {len(rows)} videos, {len(absent)} of which do not "
                f"exist{f' ({absent[0]} first)' if absent else ''}; bring them, or name the folder that "
                "they are in (--videos)."
            )
        self.description = json.dumps(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def clips(self, places: Sequence[int]) -> Iterator[RawClip]:
        for place in places:
            name, caption = self.rows[place]
            yield RawClip(name, self.files[place], caption)


class ParquetFiles:
    """Parquet files with `raw_video` bytes and a column `caption`, or `info`, a pickled dict that has one.

    Row groups are read a row at a time, and none before the first place that is asked for. Raises
    FileNotFoundError; ValueError if a column is absent; ModuleNotFoundError if pyarrow is not installed.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        try:
            # large, and wanted by this source alone
            import pyarrow.parquet as pq
        except ModuleNotFoundError as absent:
            raise ModuleNotFoundError(
                "Parquet files are read by the package pyarrow, which is not installed; run `pip install "
                "pyarrow` in .venv, or give the videos as files with a list."
            ) from absent
        self.paths, self.groups, self.caption = list(paths), [], {}
        for path in self.paths:
            if not path.is_file():
                raise FileNotFoundError(f"There is no parquet file at {path}; correct the name.")
            with pq.ParquetFile(path) as file:
                names = file.schema_arrow.names
                self.groups += [
                    (path, group, file.metadata.row_group(group).num_rows)
                    for group in range(file.num_row_groups)
                ]
            self.caption[path] = CAPTION if CAPTION in names else INFO
            if VIDEO not in names or self.caption[path] not in names:
                raise ValueError(
                    f"{path} has the columns {', '.join(names)}; expected {VIDEO} and {CAPTION}, or "
                    f"{VIDEO} and {INFO}."
                )
        self.description = json.dumps(
            [[path.name, path.stat().st_size] for path in self.paths]
            + [[path.name, group, rows] for path, group, rows in self.groups]
        )

    def __len__(self) -> int:
        return sum(rows for _, _, rows in self.groups)

    def clips(self, places: Sequence[int]) -> Iterator[RawClip]:
        import pyarrow.parquet as pq

        waiting = iter(places)
        place, first = next(waiting, None), 0
        for path, group, rows in self.groups:
            if place is not None and place < first + rows:
                with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
                    key = self.caption[path]
                    for row, batch in enumerate(
                        file.iter_batches(batch_size=1, row_groups=[group], columns=[VIDEO, key])
                    ):
                        if place == first + row:
                            values, name = batch.to_pylist()[0], f"{path.name}, row group {group}, row {row}"
                            yield RawClip(name, values[VIDEO] or b"", _caption(values[key], name))
                            place = next(waiting, None)
                        if place is None or place >= first + rows:
                            break
            first += rows


class PlainUnpickler(pickle.Unpickler):
    """Reads plain values alone: anything else would have to be looked up by name."""

    def find_class(self, module: str, name: str) -> Any:
        """Raises UnpicklingError, whatever is asked for."""
        raise pickle.UnpicklingError(f"it holds {module}.{name}")


def read_info(info: bytes, where: str) -> dict[Any, Any]:
    """The dict in a pickled `info`. Raises ValueError for anything but a dict of plain values."""
    try:
        # what a damaged or malicious pickle may raise beside its own error (Python's documentation of pickle)
        value = PlainUnpickler(io.BytesIO(info)).load()
    except (pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, ImportError, LookupError,
            MemoryError, TypeError, ValueError) as error:  # fmt: skip
        raise ValueError(
            f"{INFO} of {where} is no pickle of plain values ({error}), and nothing else is unpickled "
            f"here; put the captions into a column {CAPTION}."
        ) from error
    if not isinstance(value, dict):
        raise ValueError(f"{INFO} of {where} is {type(value).__name__}, expected a dict with {CAPTION}.")
    return value


def _caption(value: Any, where: str) -> str:
    info = read_info(value, where) if isinstance(value, bytes) else value
    found = info.get(CAPTION) if isinstance(info, dict) else info
    if found is not None and not isinstance(found, str):
        raise ValueError(f"The caption of {where} is {type(found).__name__}, expected a text.")
    return one_line(found or "")
