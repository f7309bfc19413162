"""Files are read strictly, in one place each: what a stranger, a careless writer or a flipped byte leaves is
read as it should be, or is one sentence with the file's name.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation.command import command, run
from evaluation.files import (
    append_line,
    load_json,
    remove_leftovers,
    unfinished_name,
    whole_lines,
    write_text,
)
from evaluation.imported_results import match_results, read_foreign_results
from evaluation.prompt_lists import LIST_RULES, read_user_list
from evaluation.records import Prompt, read_jsonl, write_jsonl
from evaluation.shards import samples_to_render
from evaluation.vbench.leaderboard import check_leaderboard
from models.checkpoints.containers import read_container
from tests.evaluation.strange_files import STRANGE_FILES, StrangeFile
from workflow.external.archive import bring_all, match_names, zip_members
from workflow.training.video_sources import ListedFiles

ROOT = Path(__file__).parents[2]
LEFT = {
    "of a dead process": ("a.json.{here}-{dead}.tmp", 0, True),
    "of a dead process, a folder": ("dcp.{here}-{dead}.tmp/part", 0, True),
    "of a dead process, below": ("mp4/a.mp4.{here}-{dead}.tmp", 0, True),
    "of a dead process, nameless": (".{here}-{dead}.tmp/a.mp4", 0, True),
    "of this one": ("a.json.{here}-{alive}.tmp", 90_000, False),
    "of another host": ("a.json.node_7-{dead}.tmp", 0, False),
    "of another host, old": ("a.json.node_7-{dead}.tmp", 90_000, True),
    "somebody's": ("backup.{dead}.tmp", 90_000, False),
    "a training's": ("0000050.tmp", 90_000, False),
    "finished": ("a.json", 90_000, False),
}
"""What may lie in a folder of results: name, age in seconds, whether it is removed."""


@pytest.mark.parametrize(("name", "age_s", "goes"), LEFT.values(), ids=LEFT.keys())
def test_what_dead_processes_left_is_removed(tmp_path: Path, name: str, age_s: float, goes: bool) -> None:
    """Guards against a disk that fills with halves of files, and against removing what is being written."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    here = unfinished_name("").split("-")[0].removeprefix(".")
    path = tmp_path / name.format(here=here, dead=ended.pid, alive=os.getpid())
    path.parent.mkdir(exist_ok=True)
    path.write_text("half")
    os.utime(path, (time.time() - age_s,) * 2)
    left = path.parent if path.parent.name.endswith(".tmp") else path
    assert remove_leftovers(tmp_path) == ([left] if goes else [])
    assert path.exists() is not goes


def test_a_command_removes_what_dead_processes_left_where_it_writes(tmp_path: Path) -> None:
    """Killed while it writes, a stage leaves a part under another name; started again, it removes it."""
    program = (
        "import os, sys, signal; from evaluation.files import written_whole\n"
        "with written_whole(sys.argv[1]) as part:\n"
        "    part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "a.json"], cwd=ROOT, check=False)
    assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]
    arguments = ["--output", str(tmp_path / "b.json")]
    assert run(command("", "output"), arguments, lambda flags: write_text(flags.output, "whole")) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]


STRANGE_JSON = {
    "a key twice": (b'{"a": 1, "a": 2}', "'a' appears twice"),
    "a key twice, deep": (b'[{"a": {"b": 1, "b": 1}}]', "'b' appears twice"),
    "NaN": (b'{"a": NaN}', "NaN is no number"),
    "Infinity": (b'{"a": -Infinity}', "-Infinity is no number"),
    "a number without end": (b'{"a": 1e999}', "1e999 is no finite number"),
    "a number of 5000 digits": (b"1" * 5000, "a number has 5000 digits"),
    "cut off": (b'{"a": [1, 2', "Expecting"),
    "empty": (b"", "Expecting value"),
    "two values": (b"{} {}", "Extra data"),
    "not UTF-8": (b'{"a": "\xe9"}', "utf-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "utf-8"),
    "half a character": (b'{"a": "\\ud83d"}', "surrogates"),
    "a bare NUL": (b'{"a": "\0"}', "control character"),
    "deep": (b"[" * 100_000, "recursion"),
    "no float": (b"1" * 400, "a number has 400 digits"),
}


@pytest.mark.parametrize(("content", "said"), STRANGE_JSON.values(), ids=STRANGE_JSON.keys())
def test_strange_json_is_a_sentence(content: bytes, said: str) -> None:
    """Guards against Python's own reader, which takes the last of two keys and NaN for a number."""
    with pytest.raises(
        ValueError, match=rf"^x\.json cannot be read as JSON \(.*{said}.*\); write it again\.$"
    ):
        load_json(content, "x.json")


def test_plain_json_is_what_it_says() -> None:
    """Numbers, nesting and any text, also beyond 16 bits and as an escaped pair, are read as they are."""
    text = '{"a": [1, -2.5, 1e3, null, true], "b": "\u65e5\U0001f600", "c": "\\ud83d\\ude00\\u0000"}'
    expected = {"a": [1, -2.5, 1000.0, None, True], "b": "\u65e5\U0001f600", "c": "\U0001f600\0"}
    assert load_json(text, "x") == load_json(text.encode(), "x") == expected


def read_prompts(path: Path) -> None:
    prompts = read_user_list(
        path.read_bytes(), path.name, LIST_RULES["vbench"], None if path.suffix != ".txt" else 1
    )
    write_jsonl(path.with_name("prompts.jsonl"), prompts)
    assert read_jsonl(Prompt, path.with_name("prompts.jsonl")) == prompts, "what is taken is read again"


def read_videos(path: Path) -> None:
    path.with_name("a.mp4").touch()
    rows = ListedFiles(path).rows
    assert len(rows) == 1 and rows[0][0] == "a.mp4" and len(rows[0][1].split()) > 1


def import_zip(path: Path) -> None:
    prompt = Prompt(
        id="p0", prompt="fa\u00e7ade in rain", extended="x", dimensions=("color",), samples=1, facts={}
    )
    match = match_names(list(zip_members(path)), samples_to_render([prompt]))
    assert list(match.files) == ["p0-0"] and not match.missing + match.extra
    bring_all(path, match, path.parent / "clips")
    assert (path.parent / "clips/p0-0.mp4").read_bytes() == b"x"


def check_board(path: Path) -> None:
    errors = [error for error in check_leaderboard(path.read_bytes()) if not error.endswith(" is missing")]
    if errors:
        raise ValueError(f"{path}: {errors[0]}.")


def import_results(path: Path) -> None:
    texts = {"p0": "fa\u00e7ade in rain", "p1": "a red thing"}
    prompts = [
        Prompt(id=i, prompt=t, extended="x", dimensions=("motion_smoothness",), samples=2, facts={})
        for i, t in texts.items()
    ]
    found = match_results(read_foreign_results(path), prompts, ["motion_smoothness"])
    assert [clip.clip_id for clip in found.clips["motion_smoothness"]] == ["p0-0", "p0-1", "p1-0", "p1-1"]


def read_weights(path: Path) -> None:
    """Names, shapes and data, as fetching, sampling and training read them."""
    for shapes_only in (True, False):
        assert list(read_container(path, shapes_only=shapes_only)) == ["x"]


READERS: dict[str, Callable[[Path], None]] = {
    "prompts": read_prompts,
    "videos": read_videos,
    "clips": import_zip,
    "board": check_board,
    "results": import_results,
    "weights": read_weights,
}


@pytest.mark.parametrize("strange", STRANGE_FILES, ids=lambda strange: strange.name)
def test_a_strange_file_is_taken_or_refused_in_one_sentence(strange: StrangeFile, tmp_path: Path) -> None:
    """With the file's name, without a line break; what is taken is read as it should be."""
    path = tmp_path / strange.kind
    path.write_bytes(strange.content)
    read = READERS[path.name.partition(".")[0]]
    if strange.said is None:
        read(path)
        return
    with pytest.raises(ValueError, match=r".") as refused:
        read(path)
    sentence = str(refused.value)
    assert strange.said in sentence and path.name in sentence
    assert sentence.endswith(".") and sentence.isprintable()


def test_a_line_that_was_cut_off_is_passed_over_and_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk or a power cut may end an append anywhere: all others stay, and the next is whole."""
    path = tmp_path / "starts.jsonl"
    assert whole_lines(path) == []
    lines = ["one", "tw\u2028o", "three"]
    for line in lines:
        append_line(path, line)
    whole = path.read_bytes()
    assert whole_lines(path) == lines and not caplog.messages
    for cut in range(1, len(whole)):
        path.write_bytes(whole[:cut])
        kept = [line for end, line in zip((4, 11, 17), lines, strict=True) if end <= cut]
        assert whole_lines(path) == kept
        append_line(path, "new")
        assert whole_lines(path) == [*kept, "new"]
    assert caplog.messages[0] == f"{path} ends in a line that was cut off, which is passed over"
