"""External programs, imported clips and rows with rules of their own: every fault is shown, nothing is half
done.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from baselines.foreign import PLACEHOLDERS, ExternalBaseline, ImportBaseline
from baselines.spec import load_row
from evaluation.clips import write_clip
from evaluation.records import Clip, Prompt, read_jsonl, write_jsonl
from evaluation.shards import samples_to_render
from tests.evaluation.strange_clips import shown_by
from tests.workflow.other_baselines import (
    commit,
    copy_project_with_others,
    others,
    others_prompts,
    write_others,
    write_tool,
)
from tests.workflow.project import ROOT, Job, planned, replace_in, snakemake
from workflow.external import archive as imports
from workflow.external import baseline as external
from workflow.external.archive import match_names, other_entries, samples_hint, zip_members
from workflow.external.baseline import (
    code_identity,
    external_settings,
    external_settings_in_use,
    import_settings,
    shape_notes,
    verify_code,
)
from workflow.external.changed_files import changes_note, note_changes, remember
from workflow.external.numbered import lines_of_list
from workflow.external.work_list import WorkList, seed_of
from workflow.planning.banner import start_banner
from workflow.planning.suite_file import suite_from
from workflow.scripts import external as external_script
from workflow.scripts import import_clips
from workflow.scripts.fetch_external import fetch_external

COPYING = """
import json, pathlib, shutil, sys
items = json.loads(pathlib.Path(sys.argv[1]).read_text())["samples"]
originals = pathlib.Path(__file__).parents[1] / "clips"
for item in items{which}:
    shutil.copy(originals / (item["clip_id"] + ".mp4"), item["file"])
    print("made", item["clip_id"])
{last}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The suite's file, baselines, tool and original clips, without the rest of the project; not to be
    edited.
    """
    folder = tmp_path_factory.mktemp("made")
    write_others(folder)
    write_jsonl(folder / "prompts.jsonl", others_prompts(folder))
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it as the current folder; the tool copies finished clips, which is quick."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    write_tool(tmp_path / "elsewhere/tool", COPYING.format(which="", last=""))
    monkeypatch.chdir(tmp_path)
    # As Snakemake does: `python` of a command is ours.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def listed(folder: Path) -> list[Prompt]:
    """The suite's prompts, from the file that `made` wrote; planning them again takes a while."""
    return read_jsonl(Prompt, folder / "prompts.jsonl")


def arguments(place: Path, what: str, settings: dict[str, Any] | None = None) -> list[str]:
    """Flags of `external shard` or `external contract` for the row `tool`, as the rules give them."""
    suite, baseline = others(place), load_row(place / "baselines/tool.yaml")
    assert isinstance(baseline, ExternalBaseline)
    flags: dict[str, Any] = {
        "row": "tool", "prompts": "prompts.jsonl", "baseline": "baselines/tool.yaml", "clips": "row",
        "settings": json.dumps(settings or external_settings(suite, baseline, place)),
    }  # fmt: skip
    if what == "shard":
        flags |= {"shard": "0-of-1", "manifest": "m.jsonl", "timings": "t.jsonl"}
    else:
        flags |= {"output": "contract.json"}
    return [what, *(word for name, value in flags.items() for word in (f"--{name}", str(value)))]


def call(monkeypatch: pytest.MonkeyPatch, main: Callable[[], int], words: list[str]) -> int:
    monkeypatch.setattr("sys.argv", ["script", *words])
    try:
        return main()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


# The allow-list.


def test_an_external_baseline_needs_to_be_named_before_its_code_runs(made: Path) -> None:
    """Guards against somebody's code run by a row that was merely listed; nothing of it is even looked at."""
    values = others(made).model_dump(mode="json")
    with pytest.raises(ValueError, match=r"'tool' is external.*`allow_external` holds ruled; .* add tool to"):
        suite_from(values | {"allow_external": ["ruled"]}, "others.yaml", made)
    with pytest.raises(ValueError, match="allow_external names 'folder', which is no external baseline"):
        suite_from(values | {"allow_external": ["tool", "ruled", "folder"]}, "others.yaml", made)
    with pytest.raises(ValueError, match=r"'folder' is of kind import.* take it out of `weights`"):
        suite_from(values | {"weights": {"folder": "x.safetensors"}}, "others.yaml", made)


def test_the_start_banner_does_not_price_what_it_cannot_know(made: Path) -> None:
    """Guards against an estimate that counts somebody's program, or clips that exist, as our own sampling."""
    banner = start_banner(others(made), listed(made))
    assert (
        "4 baselines (0 trained here, 4 external or imported, whose own time is not counted) and 0 "
        "controls" in banner
    )


# The program of an external baseline.


def test_the_program_gets_a_work_list_and_its_clips_are_taken_in(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest is as a native row's: every clip in order, with the file's hash, nothing left in the
    private folder.
    """
    seen = "shutil.copy(sys.argv[1], originals.parent / 'seen.json')"
    write_tool(place / "elsewhere/tool", COPYING.format(which="", last=seen))
    assert call(monkeypatch, external_script.main, arguments(place, "contract")) == 0
    handed = WorkList.model_validate_json((place / "elsewhere/seen.json").read_text())
    assert len(handed.samples) == 1
    assert json.loads((place / "contract.json").read_text())["clip_id"] == handed.samples[0].clip_id
    assert not (place / "row/mp4").exists(), "the contract's clip is thrown away"
    assert call(monkeypatch, external_script.main, arguments(place, "shard")) == 0
    samples = samples_to_render(read_jsonl(Prompt, place / "prompts.jsonl"))
    handed = WorkList.model_validate_json((place / "elsewhere/seen.json").read_text())
    assert [(i.clip_id, i.extended_prompt, i.sample) for i in handed.samples] == [
        (s.clip_id, s.prompt.extended, s.index) for s in samples
    ]
    assert [i.seed for i in handed.samples] == [seed_of("others", s) for s in samples]
    assert len({i.seed for i in handed.samples}) == len(samples)
    assert {(i.pixel_frames, i.height, i.width, i.fps) for i in handed.samples} == {(81, 64, 64, 16)}
    clips = read_jsonl(Clip, place / "m.jsonl")
    assert [clip.clip_id for clip in clips] == [s.clip_id for s in samples]
    for clip in clips:
        original = place / "elsewhere/clips" / f"{clip.clip_id}.mp4"
        assert (place / "row" / clip.file).read_bytes() == original.read_bytes()
    assert list((place / "row/incoming").iterdir()) == []


def test_seeds_are_fixed(made: Path) -> None:
    """The closed form of the docstring: seeds decide clips, so they may never move."""
    import hashlib

    sample = samples_to_render(listed(made))[1]
    text = json.dumps(["others", sample.prompt.id, sample.index, "seed"], separators=(",", ":"))
    expected = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
    assert seed_of("others", sample) == expected


FAULTS = [
    ("", "print('out of memory'); sys.exit(1)", ("exit code 1; 0 of 6 clips wrong", "out of memory")),
    ("[:-1]", "", ("exit code 0; 1 of 6 clips wrong: ", ".mp4 was not written", "made move_00-0")),
    (
        "", "shutil.copy(originals / '../small.mp4', items[2]['file'])",
        ("1 of 6 clips wrong: ", "is 32x32 pixels instead of 64x64"),
    ),
    ("", "pathlib.Path(items[0]['file']).write_bytes(b'no film')", ("is no video that is known here",)),
]  # fmt: skip


@pytest.mark.parametrize(("which", "last", "words"), FAULTS)
def test_a_program_that_fails_is_explained(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    which: str,
    last: str,
    words: tuple[str, ...],
) -> None:
    """The message holds what was expected, what was found, the command and the last lines; no manifest is
    written.
    """
    import numpy as np

    moving = np.arange(81 * 32 * 32 * 3, dtype=np.uint32).astype(np.uint8).reshape(81, 32, 32, 3)
    write_clip(place / "elsewhere/small.mp4", moving, fps=16)
    write_tool(place / "elsewhere/tool", COPYING.format(which=which, last=last))
    assert call(monkeypatch, external_script.main, arguments(place, "shard")) == 1
    message = capsys.readouterr().err
    expected = (
        "Baseline tool: its program failed in shard 0-of-1.",
        "Expected: exit code 0 within 60 s and 6 mp4 files of 81 frames, 64x64 pixels, 16 frames per second",
        "generate.py",
        "Last lines of its output",
    )
    for word in (*expected, *words):
        assert word in message, message
    assert not (place / "m.jsonl").exists()


def test_a_failed_contract_is_told_apart(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tool(place / "elsewhere/tool", "raise SystemExit('no such checkpoint')\n")
    assert call(monkeypatch, external_script.main, arguments(place, "contract")) == 1
    message = capsys.readouterr().err
    assert "failed in its contract test (1 prompt, 1 sample)" in message
    assert "no such checkpoint" in message
    assert not (place / "contract.json").exists()


def test_a_stopped_program_goes_on_where_it_was(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clips, then a crash, then the job itself is killed after a third: the last run is asked for the
    other three only.
    """
    clip_ids = [sample.clip_id for sample in samples_to_render(listed(place))]
    write_tool(place / "elsewhere/tool", COPYING.format(which="[:2]", last="sys.exit(3)"))
    settings = json.loads(arguments(place, "shard")[arguments(place, "shard").index("--settings") + 1])
    assert call(monkeypatch, external_script.main, arguments(place, "shard")) == 1
    journal = (place / "row/journal/0-of-1.jsonl").read_text().splitlines()
    assert [json.loads(line)["clip"]["clip_id"] for line in journal] == clip_ids[:2]

    # The code may not change without its clips being made again; what varies here is the machine's mood.
    mood = place / "mood"
    program = COPYING.format(which="[: int(mood[0])]", last="exec(mood[1])").replace(
        "for item", f"mood = pathlib.Path({str(mood)!r}).read_text().splitlines()\nfor item"
    )
    write_tool(place / "elsewhere/tool", program)
    shutil.rmtree(place / "row")
    baseline = load_row(place / "baselines/tool.yaml")
    assert isinstance(baseline, ExternalBaseline)
    settings = external_settings(others(place), baseline, place)
    words = arguments(place, "shard", settings)
    mood.write_text("2\nsys.exit(3)\n")
    assert call(monkeypatch, external_script.main, words) == 1
    mood.write_text("1\nimport os; os.kill(os.getppid(), 9)\n")

    killed = subprocess.run(
        [sys.executable, "-m", "workflow.scripts.external", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    kept = {path.name: path.stat().st_mtime_ns for path in (place / "row/mp4").iterdir()}
    assert sorted(kept) == [f"{name}.mp4" for name in sorted(clip_ids[:2])]
    mood.write_text(f"9\nassert [i['clip_id'] for i in items] == {clip_ids[3:]!r}, items\n")
    assert call(monkeypatch, external_script.main, words) == 0
    assert [clip.clip_id for clip in read_jsonl(Clip, place / "m.jsonl")] == clip_ids
    assert {name: (place / "row/mp4" / name).stat().st_mtime_ns for name in kept} == kept


def test_a_program_ends_at_its_time_limit_with_its_children(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against a GPU held for ever by a child of a program that was stopped."""
    program = (
        "import subprocess, time\nchild = subprocess.Popen(['sleep', '600'])\nprint(child.pid, "
        "flush=True)\ntime.sleep(600)\n"
    )
    write_tool(place / "elsewhere/tool", program)
    replace_in(place / "baselines/tool.yaml", "timeout_s: 60", "timeout_s: 1")
    assert call(monkeypatch, external_script.main, arguments(place, "shard")) == 1
    assert "stopped at its time limit" in capsys.readouterr().err
    child = int((place / "row/incoming/0-of-1/output.log").read_text())
    for _ in range(50):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    raise AssertionError("the child still runs")


def test_a_command_is_never_a_shell_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against quotes, $(...) and newlines of prompts or paths reaching a shell."""
    replace_in(
        place / "baselines/tool.yaml",
        '"{work_list}"]',
        '"{work_list}", "$(touch pwned); `touch pwned` {{x}}"]',
    )
    seen = "pathlib.Path(__file__).with_name('argv.txt').write_text(sys.argv[2])"
    write_tool(place / "elsewhere/tool", COPYING.format(which="", last=seen))
    assert call(monkeypatch, external_script.main, arguments(place, "contract")) == 0
    assert (place / "elsewhere/tool/argv.txt").read_text() == "$(touch pwned); `touch pwned` {x}"
    assert not list(place.rglob("pwned"))


# What identifies the code.


def pinned(place: Path, commit_hash: str) -> ExternalBaseline:
    """The row `tool` from the tool's repository at a commit, with an empty uv environment."""
    text = (place / "baselines/tool.yaml").read_text()
    url = (place / "elsewhere/tool").as_uri()
    text = text.replace(
        "{kind: path, path: elsewhere/tool}", f'{{kind: git, url: "{url}", commit: "{commit_hash}"}}'
    ).replace("environment: null", "environment: {kind: uv, file: elsewhere/requirements.txt, python: null}")
    (place / "baselines/tool.yaml").write_text(text)
    (place / "elsewhere/requirements.txt").write_text("# nothing\n")
    baseline = load_row(place / "baselines/tool.yaml")
    assert isinstance(baseline, ExternalBaseline)
    return baseline


def test_a_repository_is_used_at_its_commit_or_not_at_all(place: Path) -> None:
    """Cloned by fetch only; another commit, a changed file and an unknown file are each refused."""
    first = commit(place / "elsewhere/tool")
    write_tool(place / "elsewhere/tool", "# newer\n")
    second = commit(place / "elsewhere/tool")
    baseline = pinned(place, first)
    planned_with = code_identity(place, baseline)
    assert planned_with == {"commit": first}
    with pytest.raises(ValueError, match=r"is not cloned to .*; run `make fetch`"):
        verify_code(place, baseline, planned_with)
    assert fetch_external(place, ["tool"]) == []
    folder = verify_code(place, baseline, planned_with)
    assert "newer" not in (folder / "generate.py").read_text()
    assert external.missing_parts(place, baseline) == []
    (place / "elsewhere/requirements.txt").write_text("# other\n")
    assert "was not built from the file" in external.missing_parts(place, baseline)[0]
    (folder / "extra.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match=r"1 changed or unknown files \(extra\.py\)"):
        verify_code(place, baseline, planned_with)
    (folder / "extra.py").unlink()
    replace_in(place / "baselines/tool.yaml", first, second)
    later = load_row(place / "baselines/tool.yaml")
    assert isinstance(later, ExternalBaseline)
    with pytest.raises(ValueError, match=rf"is at commit {first}, expected the pinned {second}"):
        verify_code(place, later, {"commit": second})


def test_a_local_folder_is_known_by_commit_or_content(place: Path) -> None:
    """A change reruns the row, a touch does not; what git ignores, and bytecode, count for nothing."""
    baseline, tool = load_row(place / "baselines/tool.yaml"), place / "elsewhere/tool"
    assert isinstance(baseline, ExternalBaseline)
    before = code_identity(place, baseline)
    os.utime(tool / "style.txt", (0, 0))
    (tool / "__pycache__").mkdir()
    (tool / "__pycache__/generate.pyc").write_bytes(b"x")
    assert code_identity(place, baseline) == before
    (tool / "style.txt").write_text("11\n")
    assert code_identity(place, baseline) != before
    shutil.rmtree(tool / "__pycache__")
    (tool / ".gitignore").write_text("*.log\n")
    head = commit(tool)
    assert code_identity(place, baseline) == {"commit": head}
    (tool / "run.log").write_text("x")
    assert code_identity(place, baseline) == {"commit": head}
    (tool / "style.txt").write_text("12\n")
    changed = code_identity(place, baseline)
    assert changed["commit"] == head
    assert len(changed["changed"]) == 64
    with pytest.raises(ValueError, match="changed since this run was planned"):
        verify_code(place, baseline, {"commit": head})


# Imported clips.


def imported(place: Path) -> ImportBaseline:
    baseline = load_row(place / "baselines/folder.yaml")
    assert isinstance(baseline, ImportBaseline)
    return baseline


def run_import(monkeypatch: pytest.MonkeyPatch, place: Path, source: str) -> int:
    words = ["--row", "folder", "--from", source, "--prompts", "prompts.jsonl", "--clips", "row"]
    words += [
        "--settings",
        json.dumps(import_settings(others(place), imported(place))),
        "--shards",
        "0-of-2",
        "1-of-2",
    ]
    words += ["--manifests", "m0", "m1", "--timings", "t0", "t1"]
    return call(monkeypatch, import_clips.main, words)


@pytest.mark.parametrize("source", ["elsewhere/clips", "elsewhere/clips.zip"])
def test_clips_are_imported_under_either_name(
    place: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """Folder by clip id, zip under VBench's names: the same clips, copied (an edited original must not change
    a scored clip).
    """
    assert run_import(monkeypatch, place, source) == 0
    clips = [clip for name in ("m0", "m1") for clip in read_jsonl(Clip, place / name)]
    assert [clip.clip_id for clip in clips] == [s.clip_id for s in samples_to_render(listed(place))]
    for clip in clips:
        original = place / "elsewhere/clips" / f"{clip.clip_id}.mp4"
        assert (place / "row" / clip.file).read_bytes() == original.read_bytes()
        assert (place / "row" / clip.file).stat().st_ino != original.stat().st_ino
    assert {(clip.noise, clip.weights_sha256) for clip in clips} == {("unknown", None)}


def test_nothing_is_half_imported(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Missing, extra and wrong clips are all named in one message, and no file and no manifest is left."""
    clips = place / "elsewhere/clips"
    names = sorted(path.name for path in clips.iterdir())
    (clips / names[0]).unlink()
    (clips / names[1]).write_bytes(b"no film")
    shutil.copy(clips / names[2], clips / "stray.mp4")
    shutil.copy(clips / names[2], clips / "._hidden.mp4")
    assert run_import(monkeypatch, place, "elsewhere/clips") == 1
    message = capsys.readouterr().err
    assert "3 faults in elsewhere/clips, 6 clips expected" in message
    no_film = f"{names[1]} is no video that is known here (it begins with b'no film')"
    for part in (f"{names[0][:-4]} is missing", "'stray.mp4' is no clip", no_film):
        assert part in message, message
    assert not [path for path in (place / "row").rglob("*") if path.is_file()]
    assert not (place / "m0").exists()


def test_a_link_that_a_program_wrote_becomes_a_file(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a row whose clips vanish with the program's own folder."""
    linking = COPYING.replace("shutil.copy(", "pathlib.Path(item['file']).symlink_to(").replace(
        '(item["clip_id"] + ".mp4"), item["file"])', '(item["clip_id"] + ".mp4"))'
    )
    write_tool(place / "elsewhere/tool", linking.format(which="", last=""))
    assert call(monkeypatch, external_script.main, arguments(place, "shard")) == 0
    clips = list((place / "row/mp4").iterdir())
    assert clips and not any(clip.is_symlink() for clip in clips)


def test_what_else_lies_there_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other suffixes, folders, links to nothing: what a user took for clips is said beside what is missing.
    Links to clips and .MP4 are clips; a flag that turns one is a reason, under the file's own name.
    """
    clips = place / "elsewhere/clips"
    first, second, third, fourth, fifth, sixth = sorted(clips.iterdir())
    first.rename(clips / "a.webm")
    (clips / "sub").mkdir()
    second.rename(clips / "sub" / second.name)
    third.unlink()
    third.mkdir()
    fourth.unlink()
    fourth.symlink_to("gone.mp4")
    fifth.rename(place / "linked.mp4")
    fifth.with_suffix(".MP4").symlink_to(place / "linked.mp4")
    sixth.write_bytes(shown_by(0, 1, -1, 0, film=sixth.read_bytes()))
    assert run_import(monkeypatch, place, "elsewhere/clips") == 1
    message = capsys.readouterr().err
    assert "5 faults in elsewhere/clips, 6 clips expected" in message and "Traceback" not in message
    others_there = f"'a.webm', {third.name!r}/, {fourth.name!r} (a link to nothing), 'sub'/"
    assert f"(only .mp4 files directly in it are read, not {others_there})" in message
    assert f"{sixth.name} is turned or mirrored by a flag" in message
    zipped = zip_of(place / "x.zip", ("clips/a.webm", b"", 0), ("clips/b.mp4", b"", 0))
    assert other_entries(zipped) == "only .mp4 files are read, not 'clips/a.webm'"


def test_clips_of_another_size_and_length_are_declared(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards any model on earth against being refused for its size, and the table against a size that nobody
    declared.
    """
    suite = others(place).model_copy(update={"clip": others(place).clip.model_copy(update={"height": 32})})
    assert suite.clip.height == 32
    words = ["--row", "folder", "--from", "elsewhere/clips", "--prompts", "prompts.jsonl", "--clips", "row"]
    words += ["--shards", "0-of-1", "--manifests", "m0", "--timings", "t0"]
    settings = import_settings(suite, imported(place))
    assert call(monkeypatch, import_clips.main, [*words, "--settings", json.dumps(settings)]) == 1
    assert "is 64x64 pixels instead of 64x32" in capsys.readouterr().err
    assert shape_notes(suite, [imported(place)]) == []
    shaped = "path: elsewhere/clips, shape: {pixel_frames: 81, height: 64, width: 64, fps: 16}"
    replace_in(place / "baselines/folder.yaml", "path: elsewhere/clips", shaped)
    settings = import_settings(suite, imported(place))
    assert call(monkeypatch, import_clips.main, [*words, "--settings", json.dumps(settings)]) == 0
    assert {(clip.height, clip.width) for clip in read_jsonl(Clip, place / "m0")} == {(64, 64)}
    (note,) = shape_notes(suite, [imported(place)])
    assert "81 frames of 64x64 pixels at 16 per second, those of the suite 81 frames of 64x32" in note
    assert external_settings_in_use(suite, imported(place), place)["clip"]["height"] == 64


def test_five_samples_of_still_prompts_are_explained(made: Path) -> None:
    """Guards people who have five of each prompt, as VBench's own scoring reads them, against a list of
    thousands of names.
    """
    still = [p.model_copy(update={"samples": 25, "keep": 5}) for p in listed(made)[:2]]
    samples = samples_to_render(still)
    have = [f"{s.clip_id}.mp4" for s in samples if s.index < 5]
    said = samples_hint(match_names(have, samples), samples)
    assert said is not None
    assert "the suite wants 25 of each, of which the static filter keeps 5" in said
    assert "static_samples: 5" in said
    assert samples_hint(match_names(have[1:], samples), samples) is None
    assert samples_hint(match_names([f"{s.clip_id}.mp4" for s in samples], samples), samples) is None


def test_a_long_list_of_faults_is_cut_and_counted(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "empty").mkdir()
    for number in range(20):
        (place / "empty" / f"x{number}.mp4").write_bytes(b"")
    assert run_import(monkeypatch, place, "empty") == 1
    message = capsys.readouterr().err
    assert "26 faults in empty" in message
    assert "; and 16 more. Nothing was imported." in message


def zip_of(path: Path, *members: tuple[str, bytes, int]) -> Path:
    """A zip of (name, content, mode bits) in this order."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


UNSAFE = [
    ([("../x.mp4", b"x", 0)], r'has "\.\." in its name'),
    ([("a/../../x.mp4", b"x", 0)], r'has "\.\." in its name'),
    ([("..\\x.mp4", b"x", 0)], r'has "\.\." in its name'),
    ([("/etc/x.mp4", b"x", 0)], "has an absolute name"),
    ([("C:/x.mp4", b"x", 0)], "has an absolute name"),
    ([("x.mp4", b"/etc/passwd", 0o120777)], "is a link or a device"),
    ([("a/x.mp4", b"x", 0), ("b/x.mp4", b"y", 0)], r"more than once \(.x\.mp4.\)"),
    ([("x.mp4", bytes(2**22), 0)], "more than 100 times its packed size"),
]


@pytest.mark.parametrize(("members", "words"), UNSAFE)
def test_an_unsafe_zip_is_refused_whole(
    tmp_path: Path, members: list[tuple[str, bytes, int]], words: str
) -> None:
    """Guards against files written outside the row's folder, and against zip bombs."""
    path = zip_of(tmp_path / "x.zip", ("good.mp4", b"good", 0), *members)
    with pytest.raises(ValueError, match=words):
        zip_members(path)


LIMITS = [
    ("MAX_CLIP_MB", 1, "unpacks to 2 MiB"),
    ("MAX_ZIP_GB", 0, "unpacks to"),
    ("MAX_MEMBERS", 1, "2 files"),
]


@pytest.mark.parametrize(("limit", "value", "words"), LIMITS)
def test_size_limits_of_a_zip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, words: str
) -> None:
    path = zip_of(tmp_path / "x.zip", ("a.mp4", os.urandom(2**21), 0), ("b.mp4", b"b", 0))
    assert sorted(zip_members(path)) == ["a.mp4", "b.mp4"]
    monkeypatch.setattr(imports, limit, value)  # a number: gigabytes are not worth writing here
    with pytest.raises(ValueError, match=words):
        zip_members(path)


def test_clips_are_named_by_a_line_of_a_list(made: Path) -> None:
    """By hand: lines from 0 or from 1, samples in the order in which people count, a repeated line passed
    over; names of ours and of VBench come first.
    """
    prompts = [p.model_copy(update={"samples": 2, "keep": None, "facts": {}}) for p in listed(made)[:3]]
    samples = samples_to_render(prompts)
    ids = [sample.clip_id for sample in samples]
    from_0 = [f"prompt{line:04d}_seed{seed}.mp4" for line in range(3) for seed in (2, 10)]
    found = match_names(sorted(from_0), samples)
    assert found.files == dict(zip(ids, from_0, strict=True))
    assert (found.missing, found.extra) == ([], [])
    from_1 = [f"{line}-{k}.mp4" for line in (1, 2, 3) for k in (0, 1)]
    assert match_names(from_1, samples).files == dict(zip(ids, from_1, strict=True))
    lost = match_names([*from_1[:-1], "cat.mp4"], samples)
    assert (lost.missing, lost.extra) == ([ids[-1]], ["cat.mp4"])
    assert match_names(
        from_1[:4], samples
    ).missing  # from 1 or from 0? a list that is not whole is never taken
    repeated = prompts[1].model_copy(update={"facts": {"lines": [0, 2]}})
    first = prompts[0].model_copy(update={"facts": {"lines": [1]}})
    again = samples_to_render([first, repeated])
    names = [f"video_{line}_{k}.mp4" for line in range(3) for k in (0, 1)]
    found = match_names(names, again)
    assert (found.missing, found.extra) == ([], [])
    assert [found.files[sample.clip_id] for sample in again] == [*names[2:4], *names[4:6]]
    order = "\n".join([prompts[2].extended, prompts[0].prompt, prompts[1].prompt])
    lines = lines_of_list(order.encode(), "order.txt", prompts)
    found = match_names(from_0, samples, lines)
    assert found.files[ids[0]] == from_0[2]
    assert found.files[ids[4]] == from_0[0]
    assert match_names([f"{name}.mp4" for name in ids], samples).naming == "<clip_id>.mp4"


@pytest.mark.parametrize(
    ("text", "said"),
    [(b"no such prompt\n", "order.txt line 1 is the text of no prompts"), (b"\xff", "no.* UTF-8|not UTF-8")],
)
def test_a_list_of_other_prompts_is_refused(made: Path, text: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        lines_of_list(text, "order.txt", listed(made))


def test_names_that_do_not_say_which_clip(made: Path) -> None:
    """Two prompts with one short text cannot be told apart by VBench's names."""
    prompts = listed(made)
    prompts[1] = prompts[1].model_copy(update={"prompt": prompts[0].prompt})
    with pytest.raises(ValueError, match="Two prompts of the suite have the short text"):
        match_names([f"{prompts[0].prompt}-0.mp4"], samples_to_render(prompts))


def test_changed_originals_are_noticed_by_content(tmp_path: Path) -> None:
    """A touch, a copy and deleted originals rerun nothing; another content, and a new or missing file do,
    once.
    """
    originals = [tmp_path / f"{name}.mp4" for name in "ab"]
    for path in originals:
        path.write_bytes(b"content")
    row = tmp_path / "row"
    remember(row, originals)
    os.utime(originals[0], (0, 0))
    assert note_changes(row, originals) == []
    assert note_changes(row, []) == []
    originals[1].write_bytes(b"CONTENT")
    assert note_changes(row, originals) == [str(originals[1])]
    noted = changes_note(row).read_text()
    note_changes(row, originals)
    assert changes_note(row).read_text() == noted
    remember(row, originals)
    assert note_changes(row, originals[:1]) == [str(originals[1])]


# The workflow with all of them.

LAST: set[Job] = {("aggregate",), ("report",)}


def later(row: str) -> set[Job]:
    """What follows once a row's clips are made again."""
    return {("check", row), ("filter", row), ("score", row, "color"), *LAST}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with an external program, a folder, a zip, and a row with rules of its own."""
    folder = tmp_path_factory.mktemp("others") / "project"
    copy_project_with_others(folder)
    (folder / "baselines/nobody").mkdir()
    (folder / "baselines/nobody/rules.smk").write_text("raise ValueError('not a row of this suite')\n")
    answer = snakemake(folder, "others")
    assert answer.returncode == 0, (answer.stdout + answer.stderr)[-6000:]
    return folder


@pytest.mark.slow
def test_every_kind_runs_to_the_report(finished: Path) -> None:
    """All four rows are checked, scored and named for what they are, with licence and citation."""
    results = finished / "results/others"
    expected = [sample.clip_id for sample in samples_to_render(others_prompts(finished))]
    for row in ("tool", "folder", "zipped", "ruled"):
        assert [c.clip_id for c in read_jsonl(Clip, results / f"clips/{row}/manifest.jsonl")] == expected
    table = json.loads((results / "aggregate/scores.json").read_text())
    assert {row["row"]: (row["label"], row["kind"]) for row in table["rows"]} == {
        "tool": ("A tool (external)", "external"),
        "folder": ("Theirs (imported)", "import"),
        "zipped": ("Theirs, zipped (imported)", "import"),
        "ruled": ("With rules (external)", "external"),
    }
    same = [
        next(row["dimensions"]["color"]["raw"] for row in table["rows"] if row["row"] == name)
        for name in ("folder", "zipped")
    ]
    assert same[0] == same[1], "the same clips from a folder and from a zip"
    page = (finished / "reports/table.html").read_text()
    assert "Licence: CC BY 4.0. B. Author, Theirs, 2026" in page
    assert "declared noise" in page
    assert "unknown" in page
    costs = page[page.index('id="cost"') : page.index('id="formula"')]
    sampling = costs[costs.index("<h3>Sampling</h3>") : costs.index("<h3>Stages</h3>")]
    assert "A tool (external)" in sampling
    assert "Theirs (imported)" not in sampling, (
        "nobody knows what imported clips cost, so 0 seconds must not be shown"
    )
    for label in ("Theirs (imported)", "Theirs, zipped (imported)"):
        assert f'<th scope="row">{label}</th><td>-</td><td>-</td>' in costs, "scored here, made elsewhere"


@pytest.mark.slow
def test_a_change_reruns_its_own_row_only(finished: Path) -> None:
    """YAML, code, weights and originals of a row each rerun that row; citations only the report; touching
    nothing.
    """
    assert planned(finished, "others") == set()
    for path in (finished / "elsewhere").rglob("*"):
        if path.is_file():
            os.utime(path)
    assert planned(finished, "others") == set()
    tool = {("external_contract", "tool"), ("external", "tool")} | later("tool")
    files = finished / "baselines/tool.yaml", finished / "elsewhere/tool/style.txt"
    for path, old, new, jobs in (
        (files[0], '"{work_list}"]', '"{work_list}", x]', tool),
        (files[1], "10", "12", tool),
        (files[0], 'citation: "', 'citation: "corrected, ', {("report",)}),
        (
            finished / "baselines/ruled/rules.smk",
            "echo 200",
            "echo 100",
            {("ruled_style",), ("ruled_clips",)} | later("ruled"),
        ),
    ):
        kept = path.read_text()
        replace_in(path, old, new)
        assert planned(finished, "others") == jobs, path
        path.write_text(kept)
    (finished / "elsewhere/weights.bin").write_bytes(b"other weights")
    assert planned(finished, "others") == tool
    clips = sorted((finished / "elsewhere/clips").iterdir())
    shutil.copy(clips[0], clips[1])
    assert planned(finished, "others") == tool | {("import_clips", "folder")} | later("folder")


@pytest.mark.slow
def test_a_row_that_is_not_allowed_stops_before_anything(finished: Path) -> None:
    """The message comes from parsing; with the name taken out not even a plan is made."""
    config = finished / "workflow/config/others.yaml"
    kept = config.read_text()
    config.write_text(kept.replace("allow_external: [tool, ruled]", "allow_external: [ruled]"))
    answer = snakemake(finished, "others", "-n")
    config.write_text(kept)
    assert answer.returncode != 0
    assert "baseline 'tool' is external" in answer.stdout + answer.stderr


def test_the_examples_of_the_page_can_be_copied(tmp_path: Path) -> None:
    """Guards against a page that drifts from the code: its YAML files load, its work list has the schema."""
    page = (ROOT / "baselines/README.md").read_text()
    blocks = re.findall(r"^```(yaml|json)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    kinds = []
    for language, text in blocks:
        if language == "json":
            assert WorkList.model_validate_json(text).samples[0].clip_id == "v0003-2"
        else:
            name = text.split()[1]
            (tmp_path / f"{name}.yaml").write_text(text)
            kinds.append((name, load_row(tmp_path / f"{name}.yaml").kind))
    assert kinds == [
        ("streamer", "external"), ("theirs", "import"), ("theirs", "results"), ("steps", "external"),
    ]  # fmt: skip
    assert [language for language, _ in blocks].count("json") == 1
    assert all(f"{{{name}}}" in page for name in PLACEHOLDERS)


@pytest.mark.slow
def test_the_rules_of_the_page_can_be_copied(finished: Path) -> None:
    """The row `steps` of the page, planned by Snakemake."""
    page = (ROOT / "baselines/README.md").read_text()
    folder = finished / "baselines/steps"
    folder.mkdir()
    rules = re.search(r"^```snakemake\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    spec = re.search(r"^```yaml\n(name: steps\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert rules
    assert spec
    (folder / "rules.smk").write_text(rules[1])
    (folder.parent / "steps.yaml").write_text(spec[1])
    config = finished / "workflow/config/others.yaml"
    kept = config.read_text()
    config.write_text(kept.replace(", ruled]", ", ruled, steps]"))
    assert {("steps_clips",)} | later("steps") <= planned(finished, "others")
    config.write_text(kept)


@pytest.mark.slow
def test_a_pinned_repository_is_fetched_first_and_then_runs_in_its_environment(finished: Path) -> None:
    """What is not there is said before the first job, all of it; after the fetch the same command goes
    through, offline.
    """
    write_tool(
        finished / "elsewhere/tool",
        COPYING.format(
            which="",
            last=(
                "print(sys.prefix)\nassert '.venvs' in sys.prefix\nimport os\nassert "
                "os.environ['HF_HUB_OFFLINE'] == '1'"
            ),
        ).replace(
            'pathlib.Path(__file__).parents[1] / "clips"', f"pathlib.Path({str(finished / 'originals')!r})"
        ),
    )
    shutil.copytree(finished / "results/others/clips/zipped/mp4", finished / "originals")
    pinned(finished, commit(finished / "elsewhere/tool"))
    config = finished / "workflow/config/others.yaml"
    config.write_text(
        re.sub(r"baselines: \[.*\]", "baselines: [tool]", config.read_text()).replace(", ruled]", "]")
    )
    refused = snakemake(finished, "others")
    said = refused.stdout + refused.stderr
    assert refused.returncode != 0
    for part in ("is not cloned to", ".venvs/tool has no bin folder", "Nothing was started."):
        assert part in said, said[-3000:]
    fetched = subprocess.run(
        [sys.executable, "-m", "workflow.scripts.fetch_external", "--config", str(config)],
        cwd=finished, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert fetched.returncode == 0, fetched.stderr
    answer = snakemake(finished, "others")
    assert answer.returncode == 0, (answer.stdout + answer.stderr)[-6000:]
    assert planned(finished, "others") == set()
