"""Damages of a finished run: what may happen to a file between two stages. Data that others extend.

A damage takes the bytes of a file and those of its sibling (a file of the same kind: of another row, another
dimension, another clip) and gives what lies there afterwards. After each of them the report is the same, or
one sentence says what is wrong; it is never another table.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from evaluation.records import with_checksum, without_checksum


class Damage(NamedTuple):
    """One thing that happens to a file. change: (its bytes, its sibling's bytes) -> its new bytes, or None to
    remove it. both: the sibling gets the file's bytes, too. texts: only files of text can have it.
    """

    name: str
    change: Callable[[bytes, bytes], bytes | None]
    both: bool = False
    texts: bool = False


def flip(at: float) -> Callable[[bytes, bytes], bytes]:
    """Flip the lowest bit of one byte that is no blank, at so large a part of the file."""

    def flipped(content: bytes, _: bytes) -> bytes:
        place = round(at * (len(content) - 1))
        while content[place : place + 1].isspace() and place > 0:
            place -= 1
        return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]

    return flipped


def cut(part: float) -> Callable[[bytes, bytes], bytes]:
    """Keep the first part of a file."""
    return lambda content, _: content[: int(part * len(content))]


def edited(pattern: bytes, new: bytes, which: int = 0) -> Callable[[bytes, bytes], bytes]:
    """Replace one match of a pattern, the last for -1; nothing happens to a file without one."""

    def change(content: bytes, _: bytes) -> bytes:
        found = list(re.finditer(pattern, content))
        if not found:
            return content
        at = found[which]
        return content[: at.start()] + at.expand(new) + content[at.end() :]

    return change


DAMAGES = (
    Damage("cut in half", cut(0.5)),
    Damage("cut by a byte", cut(0.999)),
    Damage("emptied", lambda content, _: b""),
    Damage("a bit flipped early", flip(0.1)),
    Damage("a bit flipped in the middle", flip(0.5)),
    Damage("a bit flipped late", flip(0.9)),
    Damage("swapped with its sibling", lambda _, other: other, both=True),
    Damage("replaced by its sibling", lambda _, other: other),
    Damage("first number edited", edited(rb"(?<=[: ])[0-9]+(?=[.,}\s])", rb"7"), texts=True),
    Damage("last number edited", edited(rb"(?<=[: ])[0-9]+(?=[.,}\s])", rb"3", -1), texts=True),
    Damage("a digit added", edited(rb"(?<=[0-9]\.)([0-9])", rb"9\1", -1), texts=True),
    Damage("a number in quotes", edited(rb"(?<=[: ])([0-9]+)(?=[,}\s])", rb'"\1"', -1), texts=True),
    Damage("a text edited", edited(rb'(": ?")([a-z])', rb"\1x\2", -1), texts=True),
    Damage("a key twice", edited(rb'("[a-z_]+": ?[^,{\[]+),', rb"\1, \1,", -1), texts=True),
    Damage("a NUL in a text", edited(rb'(": ?"[a-z]+)', rb"\1\\u0000", -1), texts=True),
    Damage("last line doubled", lambda text, _: text + text.splitlines(keepends=True)[-1], texts=True),
    Damage("last line gone", lambda text, _: b"".join(text.splitlines(keepends=True)[:-1]), texts=True),
)  # fmt: skip


class Kind(NamedTuple):
    """A kind of intermediate file of the suite `tiny`: a file of its results folder, its sibling, and the
    first stage that reads it.
    """

    file: str
    sibling: str
    stage: str


KINDS = {
    "manifest of a shard": Kind(
        "clips/raven/shards/0-of-1.manifest.jsonl", "clips/self_forcing/shards/0-of-1.manifest.jsonl", "check"
    ),
    "timings of a shard": Kind(
        "clips/raven/shards/0-of-1.timings.jsonl", "clips/self_forcing/shards/0-of-1.timings.jsonl", "check"
    ),
    "prompts": Kind("prompts/prompts.jsonl", "clips/raven/manifest.jsonl", "check"),
    "clip": Kind("clips/raven/mp4/move_00-0.mp4", "clips/raven/mp4/move_01-0.mp4", "check"),
    "clip of another row": Kind(
        "clips/raven/mp4/move_00-0.mp4", "clips/self_forcing/mp4/move_00-0.mp4", "score"
    ),
    "manifest": Kind("clips/raven/manifest.jsonl", "clips/self_forcing/manifest.jsonl", "filter"),
    "timings": Kind("clips/raven/timings.jsonl", "clips/self_forcing/timings.jsonl", "report"),
    "filter": Kind("filter/raven.json", "filter/self_forcing.json", "score"),
    "result": Kind("scores/raven/color.result.json", "scores/self_forcing/color.result.json", "aggregate"),
    "result of another dimension": Kind(
        "scores/raven/color.result.json", "scores/raven/object_class.result.json", "aggregate"
    ),
    "official scores": Kind("scores/raven/color.json", "scores/raven/object_class.json", "report"),
    "scores": Kind("aggregate/scores.json", "aggregate/variance.json", "report"),
    "variance": Kind("aggregate/variance.json", "aggregate/chunks.json", "report"),
    "chunks": Kind("aggregate/chunks.json", "aggregate/variance.json", "report"),
    "protocol moves": Kind("aggregate/protocol_moves.json", "aggregate/chunks.json", "report"),
    "starts": Kind("starts.jsonl", "clips/raven/timings.jsonl", "report"),
    "metrics": Kind("train/raven/metrics.jsonl", "starts.jsonl", "report"),
    "record of a training": Kind("train/raven/train.json", "train/raven/machine.json", "report"),
    "weights record": Kind("weights/raven/full.json", "train/raven/train.json", "report"),
    "benchmark": Kind("benchmarks/score/raven/color.tsv", "benchmarks/prompts.tsv", "report"),
}
STAGES = ("check", "filter", "score", "aggregate", "report")


def lie(path: Path, change: Callable[[dict[str, Any]], object], line: int = 0) -> None:
    """Change an object of a file of records, and give the file the checksum that fits: an edit by somebody
    who knows how. line: of a .jsonl.
    """
    body, _ = without_checksum(path.read_text(encoding="utf-8"))
    lines = body.removesuffix("\n").split("\n") if path.suffix == ".jsonl" else [body]
    record = json.loads(lines[line])
    change(record)
    lines[line] = json.dumps(record, separators=(",", ":"), ensure_ascii=False)
    path.write_text(with_checksum("\n".join(lines) + "\n"), encoding="utf-8")
