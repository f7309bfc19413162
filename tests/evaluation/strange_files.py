"""Files of strangers that are not what their names say, as data: each is read as it should be, or refused in
one sentence. A new strange file is one more line here; what reads each kind is in
tests/evaluation/test_files.py. Clips are in strange_clips.py.
"""

import io
import json
import struct
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "prompts.txt",
    "prompts.csv",
    "prompts.jsonl",
    "videos.csv",
    "videos.jsonl",
    "clips.zip",
    "board.zip",
    "results.zip",
    "results.json",
    "weights.safetensors",
    "weights.pt",
    "weights.safetensors.index.json",
]


@dataclass(frozen=True, slots=True)
class StrangeFile:
    """One strange file."""

    name: str
    kind: Kind
    content: bytes
    said: str | None
    """A part of the sentence that refuses it; None if it is taken."""


class _Named(zipfile.ZipInfo):
    """A member whose name is written as other bytes than Python would, without the flag of UTF-8."""

    raw = b""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802 (of the library)
        return self.raw, self.flag_bits & ~0x800


def zipped(*members: tuple[str | bytes, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of members by name; names that are bytes are written as they are."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in members:
            if isinstance(name, bytes):
                entry = _Named("x")
                entry.raw, entry.filename = name, name.decode("cp437")
                archive.writestr(entry, content)
            else:
                archive.writestr(name, content)
    return target.getvalue()


def with_member_field(data: bytes, form: str, local: int, central: int, value: int) -> bytes:
    """A zip of one member with a field of its two headers replaced."""
    changed, directory = bytearray(data), data.rindex(b"PK\1\2")
    struct.pack_into(form, changed, local, value)
    struct.pack_into(form, changed, directory + central, value)
    return bytes(changed)


def encrypted(data: bytes) -> bytes:
    """A zip whose member says that it is encrypted."""
    return with_member_field(data, "<H", 6, 8, 1)


def packed_by(data: bytes, method: int) -> bytes:
    """A zip whose member says that it is packed by another method."""
    return with_member_field(data, "<H", 8, 10, method)


def wrong_crc(member: bytes, name: str = "a.json") -> bytes:
    """A zip whose member has other bytes than its checksum says."""
    data = zipped((name, member), method=zipfile.ZIP_STORED)
    return data.replace(member, bytes([member[0] ^ 1]) + member[1:], 1)


ROWS_OF = {"motion_smoothness": 360}
"""Clips of a dimension in the standard suite."""


def board(change: Callable[[dict[str, list[object]]], object], name: str = "a.json") -> bytes:
    """A submission of one dimension after a change. change: of {dimension: [score, rows]}."""
    rows = [{"video_path": f"/v/{i}.mp4", "video_results": 0.5} for i in range(ROWS_OF["motion_smoothness"])]
    held: dict[str, list[object]] = {"motion_smoothness": [0.5, rows]}
    changed = change(held)
    return zipped((name, json.dumps(held if changed is None else changed).encode()))


def scored(score: object, value: object = 0.5, **changes: object) -> bytes:
    """A submission of one dimension with that score, that value of all rows and other keys of the first."""

    def change(held: dict[str, list[object]]) -> None:
        rows = held["motion_smoothness"][1]
        assert isinstance(rows, list)
        rows[:] = [{**row, "video_results": value} for row in rows]
        rows[0].update(changes)
        held["motion_smoothness"][0] = score

    return board(change)


SCORED = ("a red thing-0.mp4", "a red thing-1.mp4", "fa\u00e7ade in rain-0.mp4", "fa\u00e7ade in rain-1.mp4")
"""The four clips of somebody's results."""


def results(
    change: Callable[[list[dict[str, object]]], object] = lambda _: None,
    *,
    score: object = 0.5,
    values: object = 0.5,
    names: tuple[str, ...] = SCORED,
) -> bytes:
    """Somebody's results of motion smoothness. change: of its rows, or others in their place."""
    rows: list[dict[str, object]] = [{"video_path": name, "video_results": values} for name in names]
    changed = change(rows)
    return json.dumps({"motion_smoothness": [score, rows if changed is None else changed]}).encode()


def safetensors(dtype: str = "F32", size: int = 4, held: int = 4, **header: object) -> bytes:
    """A .safetensors file of one tensor [1]. size: its bytes by the header; held: those that are there."""
    said = {"x": {"dtype": dtype, "shape": [1], "data_offsets": [0, size]}, **header}
    text = json.dumps(said).encode()
    return len(text).to_bytes(8, "little") + text + bytes(held)


def torch_file(pickled: bytes) -> bytes:
    """A torch file with that pickle and no storage."""
    return zipped(("x/data.pkl", pickled), ("x/version", b"3\n"), method=zipfile.ZIP_STORED)


def prompt_line(**values: object) -> bytes:
    """A line of a .jsonl prompt list, with the characters as they are."""
    line = {"id": "a", "prompt": "an alley", "samples": 1, **values}
    return json.dumps(line, ensure_ascii=False).encode() + b"\n"


def video_line(caption: str) -> bytes:
    """A line of a .jsonl list of videos."""
    return json.dumps({"file": "a.mp4", "caption": caption}, ensure_ascii=False).encode() + b"\n"


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
CEDILLA = "fa\u00e7ade in rain-0.mp4"
TEXTS = {
    "Persian, with a non-joiner": ("\u0645\u06cc\u200c\u0631\u0648\u062f", None),
    "Hindi, with a joiner": ("\u0915\u094d\u200d\u0937", None),
    "an emoji of three": ("a family \U0001f468\u200d\U0001f469\u200d\U0001f467", None),
    "a flag of tags": ("\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", None),
    "Arabic, with a mark": ("\u200f\u0645\u0631\u062d\u0628\u0627", None),
    "a no-break blank": ("a dog\u00a0runs", None),
    "an ideographic blank": ("\u72d7\u3000\u5728\u8dd1", None),
    "a soft hyphen": ("a rail\u00adway", None),
    "a character newer than Python": ("a \U0001fae9 face", None),
    "a tab": ("a\tdog", "control character '\\t'"),
    "a null": ("a\0dog", "control character '\\x00'"),
    "an escape sequence": ("a \x1b[31mdog", "control character '\\x1b'"),
    "a line separator": ("a\u2028b", "control character '\\u2028'"),
    "a next line": ("a\x85b", "control character '\\x85'"),
    "an override": ("a \u202egod", "control character '\\u202e'"),
    "an isolate": ("a \u2067god", "control character '\\u2067'"),
}
"""Texts of prompts, and a part of the sentence that refuses one."""

STRANGE_FILES = (
    *(
        StrangeFile(f"prompt: {name}", "prompts.txt", f"{text}\n".encode(), said)
        for name, (text, said) in TEXTS.items()
    ),
    StrangeFile(
        "facts with a line separator",
        "prompts.jsonl",
        prompt_line(facts={"scene": "a\u2028b"}),
        None,
    ),
    StrangeFile(
        "facts with a next line", "prompts.jsonl", prompt_line(facts={"scene": "a\x85b"}), "character '\\x85'"
    ),
    StrangeFile(
        "facts with a next line",
        "prompts.jsonl",
        prompt_line(facts={"scene": "a\x85b"}),
        "holds the control character '\\x85'",
    ),
    StrangeFile(
        "a carriage return ends lines", "prompts.jsonl", prompt_line() + b"\r\n", "line 2 cannot be read as"
    ),
    StrangeFile("windows line ends", "prompts.jsonl", prompt_line().replace(b"\n", b"\r\n"), None),
    StrangeFile(
        "half a character", "prompts.jsonl", prompt_line().replace(b"an", b"\\ud83d"), "line 1 cannot be read"
    ),
    StrangeFile("a list of prompts in Latin-1", "prompts.txt", "caf\u00e9\n".encode("latin-1"), "0xe9"),
    StrangeFile("a header after a mark", "prompts.csv", b"\xef\xbb\xbfid,prompt,samples\na,one,1\n", None),
    StrangeFile("a table in UTF-16", "prompts.csv", "id,prompt\na,one\n".encode("utf-16"), "is not UTF-8"),
    StrangeFile(
        "commas", "videos.csv", b"file,caption\na.mp4,a red car, fast\n", "line 2 has 3 cells, expected 2"
    ),
    StrangeFile(
        "an open quote", "videos.csv", b'file,caption\na.mp4,"a car\na.mp4,b\n', "line 2 cannot be read"
    ),
    StrangeFile(
        "text behind a quote", "videos.csv", b'file,caption\na.mp4,"a" car\n', "line 2 cannot be read"
    ),
    StrangeFile("a short row", "videos.csv", b"file,caption\na.mp4\n", "line 2 has 1 cells, expected 2"),
    StrangeFile("a column twice", "videos.csv", b"file,caption,file\na.mp4,b,c\n", "'file' appears twice"),
    StrangeFile(
        "semicolons", "videos.csv", b"file;caption\na.mp4;b\n", "columns file;caption, expected file and"
    ),
    StrangeFile("an empty table", "videos.csv", b"", "columns none, expected file and caption"),
    StrangeFile("a quoted comma", "videos.csv", b'file,caption\na.mp4,"a red car, fast"\n', None),
    StrangeFile("a caption of two lines", "videos.csv", b'file,caption\na.mp4,"a red\ncar"\n', None),
    StrangeFile("a caption with a line separator", "videos.jsonl", video_line("one\u2028two"), None),
    StrangeFile("a caption with a next line", "videos.jsonl", video_line("one\x85two"), None),
    StrangeFile(
        "a cut line", "videos.jsonl", video_line("one") + b'{"file": "a.m', "line 2 cannot be read as JSON"
    ),
    StrangeFile(
        "no caption", "videos.jsonl", b'{"file": "a.mp4"}\n', "line 1 has file, expected texts file and"
    ),
    StrangeFile("a list in a list", "videos.jsonl", b'["a.mp4"]\n', "line 1 has list, expected texts"),
    StrangeFile("UTF-8 without the flag", "clips.zip", zipped((CEDILLA.encode(), b"x")), None),
    StrangeFile(
        "UTF-8 as macOS writes it",
        "clips.zip",
        zipped((unicodedata.normalize("NFD", CEDILLA).encode(), b"x")),
        None,
    ),
    StrangeFile("UTF-8 with the flag", "clips.zip", zipped((CEDILLA, b"x")), None),
    StrangeFile("code page 437", "clips.zip", zipped((CEDILLA.encode("cp437"), b"x")), None),
    StrangeFile(
        "a zip that is text", "clips.zip", b"<!DOCTYPE html>", "cannot be read as a zip (File is not a zip"
    ),
    StrangeFile("a zip that is empty", "clips.zip", b"", "cannot be read as a zip"),
    StrangeFile(
        "a zip that is cut off", "clips.zip", zipped((CEDILLA, b"x"))[:-30], "cannot be read as a zip"
    ),
    StrangeFile("an encrypted clip", "clips.zip", encrypted(zipped((CEDILLA, b"x"))), "is encrypted"),
    StrangeFile(
        "a clip packed by PPMd", "clips.zip", packed_by(zipped((CEDILLA, b"x")), 98), "compression method"
    ),
    StrangeFile("a clip with a wrong checksum", "clips.zip", wrong_crc(b"xyzzy", CEDILLA), "Bad CRC-32"),
    *(
        StrangeFile(f"a score of {score}", "board.zip", scored(score, value), said)
        for score, value, said in (
            (50.0, 50.0, "a score that is 50, expected 0 to 1"),
            (1.7, 1.7, "a score that is 1.7, expected 0 to 1"),
            (-0.5, -0.5, "a score that is -0.5, expected 0 to 1"),
            (True, 1.0, "'True', expected a number"),
            ("0.5", 0.5, "'0.5', expected a number"),
            (None, 0.5, "'None', expected a number"),
            (10**200, 0.5, "a score that is 1e+200"),
            (10**400, 0.5, "a number has 401 digits"),
            (0.5, 1.5, "whose value is 1.5, expected 0 to 1"),
            (0.5, [0.5], "has rows that give no score"),
            (0.5, None, "has rows that give no score"),
        )
    ),
    StrangeFile(
        "a path that is no text", "board.zip", scored(0.5, video_path=None), "rows without video_path"
    ),
    StrangeFile("a deep nest", "board.zip", zipped(("a.json", b"[" * 5000)), "cannot be read as JSON"),
    StrangeFile("a wrong checksum", "board.zip", wrong_crc(b'{"a": 1}'), "Bad CRC-32"),
    StrangeFile("an encrypted member", "board.zip", encrypted(scored(0.5)), "File a member is encrypted"),
    StrangeFile(
        "another packing", "board.zip", packed_by(scored(0.5), 93), "compression method is not supported"
    ),
    StrangeFile(
        "a bomb", "board.zip", zipped(("a.json", bytes(65 << 20))), "unpacks to 65 MiB, more than 64"
    ),
    StrangeFile(
        "a key twice", "board.zip", zipped(("a.json", b'{"scene": [], "scene": []}')), "'scene' appears twice"
    ),
    StrangeFile(
        "a name of control characters", "board.zip", zipped(("\x1b[2J.json", b"{")), "'\\x1b[2J.json' cannot"
    ),
    StrangeFile(
        "two folders deep", "board.zip", board(lambda _: None, "a/b/c.json"), "no deeper than one folder"
    ),
    StrangeFile(
        "a pointer of Git LFS", "weights.safetensors", POINTER, "is a pointer of Git LFS, whose file `git lfs"
    ),
    StrangeFile("no bytes", "weights.safetensors", b"", "is empty, 0 bytes"),
    StrangeFile("a web page", "weights.safetensors", b"<!DOCTYPE html>", "is a web page"),
    StrangeFile(
        "a torch file by that name", "weights.safetensors", torch_file(b"}."), "is a zip, as torch files are"
    ),
    StrangeFile(
        "a header without end", "weights.safetensors", b"\xff" * 64, "is truncated or damaged: safetensors"
    ),
    StrangeFile(
        "a header that is no JSON",
        "weights.safetensors",
        b"\4" + bytes(7) + b"{{{{",
        "is truncated or damaged",
    ),
    StrangeFile(
        "bytes cut off", "weights.safetensors", safetensors(held=3), "is truncated or damaged: safetensors"
    ),
    StrangeFile(
        "bytes too many", "weights.safetensors", safetensors(held=9), "is truncated or damaged: safetensors"
    ),
    StrangeFile(
        "a table that is no text",
        "weights.safetensors",
        safetensors(__metadata__={"a": 1}),
        "is truncated or",
    ),
    *(
        StrangeFile(f"a tensor of {dtype}", "weights.safetensors", safetensors(dtype, size, size), None)
        for dtype, size in {
            "I8": 1,
            "U8": 1,
            "BOOL": 1,
            "F8_E4M3": 1,
            "F8_E5M2": 1,
            "F8_E8M0": 1,
            "I16": 2,
            "U16": 2,
        }.items()
    ),
    *(
        StrangeFile(f"a tensor of {dtype}", "weights.safetensors", safetensors(dtype, size, size), None)
        for dtype, size in {
            "BF16": 2,
            "F16": 2,
            "I32": 4,
            "U32": 4,
            "I64": 8,
            "U64": 8,
            "F64": 8,
            "C64": 8,
        }.items()
    ),
    StrangeFile(
        "a pointer as a torch file", "weights.pt", POINTER, "is no torch file of version 1.6 or later"
    ),
    StrangeFile("a legacy torch file", "weights.pt", b"\x80\2\x8a\nl\xfc", "is no torch file of version 1.6"),
    StrangeFile(
        "a zip of something else",
        "weights.pt",
        zipped(("a.txt", b"x")),
        "is truncated or damaged: torch says",
    ),
    StrangeFile("a pickle that is cut off", "weights.pt", torch_file(b"\x80\2}q\0X"), "weights.pt"),
    StrangeFile("a pickle of nothing", "weights.pt", torch_file(b""), "weights.pt"),
    StrangeFile("a pickle of nonsense", "weights.pt", torch_file(b"\x80\2u."), "weights.pt"),
    StrangeFile(
        "a pickle that runs a command", "weights.pt", torch_file(b"cos\nsystem\n(S'x'\ntR."), "(os.system)"
    ),
    StrangeFile(
        "a list of nothing", "weights.pt", torch_file(b"\x80\2]."), "is list, expected a mapping of names"
    ),
    StrangeFile(
        "numbers for names", "weights.pt", torch_file(b"\x80\2}K\1K\2s."), "has the key 1, expected names"
    ),
    StrangeFile(
        "an index that is cut",
        "weights.safetensors.index.json",
        b'{"weight_map": {',
        "cannot be read as JSON",
    ),
    StrangeFile(
        "an index of a list", "weights.safetensors.index.json", b"[]", "is list, expected a JSON object"
    ),
    StrangeFile(
        "an index of numbers",
        "weights.safetensors.index.json",
        b'{"weight_map": {"x": 1}}',
        "names files outside",
    ),
    StrangeFile(
        "an index that climbs",
        "weights.safetensors.index.json",
        b'{"weight_map": {"x": "../y"}}',
        "names files outside",
    ),
    *(
        StrangeFile(f"results: {name}", "results.json", data, said)
        for name, (data, said) in {
            "as VBench writes them": (results(), None),
            "with folders of Windows": (results(names=tuple(f"D:\\v\\{n}" for n in SCORED)), None),
            "with accents of macOS": (
                results(names=tuple(unicodedata.normalize("NFD", n) for n in SCORED)),
                None,
            ),
            "UTF-8 taken for Latin": (
                results(names=tuple(n.encode().decode("latin-1") for n in SCORED)),
                None,
            ),
            "of gifs": (results(names=tuple(n.replace(".mp4", ".gif") for n in SCORED)), None),
            "a score beyond its dimension": (
                results(score=50, values=50),
                "a score that is 50, expected 0 to 1",
            ),
            "a value beyond its dimension": (
                results(lambda rows: rows[1].update(video_results=-3)),
                "'a red thing-1.mp4' a value that is -3, expected 0 to 1",
            ),
            "NaN": (results().replace(b"0.5", b"NaN"), "NaN is no number"),
            "a value in quotes": (
                results(lambda rows: rows[0].update(video_results="0.5")),
                "is '0.5', expected a number",
            ),
            "a clip twice": (
                results(lambda rows: [*rows, rows[2]]),
                "motion_smoothness counts 'fa\u00e7ade in rain-0.mp4' twice",
            ),
            "a clip twice, under two names": (
                results(lambda rows: [*rows[:3], {**rows[3], "video_path": "p1-0.mp4"}]),
                "counts 'p1-0.mp4' twice",
            ),
            "a foreign path": (
                results(lambda rows: rows[0].update(video_path="../../etc/passwd")),
                "'../../etc/passwd', which is no name of VBench's form",
            ),
            "foreign prompts": (
                results(names=tuple(f"/mnt/x/{n}" for n in (*SCORED, "a blue sky-0.mp4", "sea-1.mp4"))),
                "scores 2 clips that are of none of its prompts here ('a blue sky-0.mp4', 'sea-1.mp4')",
            ),
            "a sample too many": (
                results(names=(*SCORED, "a red thing-7.mp4")),
                "scores 'a red thing-7.mp4', sample 7 of a prompt that has samples 0 to 1",
            ),
            "missing prompts": (
                results(names=SCORED[:2]),
                "lacks 2 of 4 clips ('fa\u00e7ade in rain-0.mp4', 'fa\u00e7ade in rain-1.mp4')",
            ),
            "a list": (b"[]", "holds a list, expected {"),
            "a list of rows": (b'{"motion_smoothness": [{"video_path": "x-0.mp4"}]}', "is not [score, rows]"),
            "a mean alone": (b'{"motion_smoothness": 0.5}', "is not [score, rows]"),
            "no rows": (results(names=()), "has no rows"),
            "a score of other rows": (results(score=0.51), "states the score 0.51, its 4 rows give 0.5;"),
            "another dimension": (b'{"motion": [0.5, []]}', "'motion' is no dimension of VBench"),
            "a row that is no object": (results(lambda _: [1]), "has a row without the text video_path"),
            "a huge file": (b" " * ((64 << 20) + 1), "has 64 MiB, more than 64"),
            "cut off": (results()[:-9], "cannot be read as JSON"),
            "nothing of VBench": (b"{}", "holds no result of VBench"),
        }.items()
    ),
    *(
        StrangeFile(f"a zip of results: {name}", "results.zip", data, said)
        for name, (data, said) in {
            "two folders deep": (zipped(("a/b/x_eval_results.json", results())), None),
            "its prompts beside it": (
                zipped(("x_full_info.json", b"[]"), ("x_eval_results.json", results())),
                None,
            ),
            "a dimension twice": (
                zipped(("a_eval_results.json", results()), ("b_eval_results.json", results())),
                "motion_smoothness stands in 'a_eval_results.json' already",
            ),
            "a bomb": (zipped(("a.json", bytes(65 << 20))), "has 65 MiB, more than 64"),
            "a wrong checksum": (wrong_crc(results()), "Bad CRC-32"),
            "encrypted": (encrypted(zipped(("a.json", results()))), "is encrypted"),
            "no zip": (results(), "cannot be read as a zip"),
            "clips": (zipped(("a red thing-0.mp4", b"x")), "holds no result of VBench"),
        }.items()
    ),
    *(
        StrangeFile(f"VBench passes over {name}", "board.zip", data, None)
        for name, data in {
            "a folder": board(lambda _: None, "results/a.json"),
            "blanks for underlines": board(lambda held: {"motion smoothness": held["motion_smoothness"]}),
            "hidden files": zipped((".DS_Store", b"x"), (".a.json", b"x")),
            "what macOS adds": zipped(("__MACOSX/._a.json", b"\0\5\x16\7")),
            "other files": zipped(("readme.txt", b"x"), ("run.log", b"x")),
            "a list of prompts": zipped(("a_full_info.json", b"[]")),
        }.items()
    ),
)
"""Strange files of every kind. A leaderboard's zip of one dimension lacks the fifteen others, and is taken if
nothing else is wrong."""
