"""`raven-bench score`: what names say, what is refused, and twenty strangers' clips end to end."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from evaluation.records import ScoresTable, read_json
from evaluation.toybox.caption_facts import facts_of
from evaluation.toybox.suite import toybox_prompts
from tests.evaluation.mixed_clips import FORMS, make_mixed, pictures, write_video
from tests.workflow.project import LEFT_OUT
from workflow.external.clip_names import NamedClips, clips_by_name, id_of
from workflow.external.planned_run import own_and_other_flags
from workflow.external.score_plan import Asked, ScorePlan, find_rows, plan_scoring
from workflow.planning.resources import scorer_resources
from workflow.planning.suite_file import read_suite

ROOT = Path(__file__).parents[2]
TOYBOX = toybox_prompts(20260701)
FREE = ("dynamic_degree", "imaging_quality")


def named(*rows: list[str], common: bool = False) -> NamedClips:
    """Rows a, b, ... of files with these names, in the toybox, without a list."""
    names = dict(zip("abc", rows, strict=False))
    return clips_by_name(names, TOYBOX, None, FREE, common=common, most=None)


def asked(folder: Path, *sources: Path, **more: object) -> ScorePlan:
    """The plan of scoring folders in the toybox."""
    flags = {
        "sources": sources, "prompts": None, "dimensions": None, "benchmark": "toybox", "backend": "fast",
        "output": folder / "out", "device": "cpu", "common": False,
    }  # fmt: skip
    return plan_scoring(Asked(**{**flags, **more}), ROOT)  # type: ignore[arg-type]


def test_names_of_the_benchmark_are_standard_and_count_their_samples() -> None:
    """Guards the mode, and samples: only a run from 0 on counts, and what lies behind a gap is said."""
    still, moving = TOYBOX[0], next(p for p in TOYBOX if p.keep is None)
    files = [f"{still.prompt}-{k}.mp4" for k in (0, 1, 2, 4)] + [f"{moving.prompt}-0.webm", "notes.mp4"]
    found = named(files)
    assert found.mode == "standard"
    assert {p.id: (p.samples, p.keep) for p in found.prompts} == {still.id: (3, 3), moving.id: (1, None)}
    assert found.files["a"][f"{moving.id}-0"] == f"{moving.prompt}-0.webm"
    (note,) = found.notes
    assert "2 files are left out" in note and f"{still.prompt}-4.mp4" in note and "notes.mp4" in note


def test_other_names_are_custom_with_or_without_texts() -> None:
    """Guards what is read into names: three words are a text with samples, a camera's numbering is none."""
    texts = named(["a dog runs home-0.mp4", "a dog runs home-1.mp4", "two red cats asleep.mov"])
    assert (texts.mode, texts.texts) == ("custom", "the names of the files")
    assert sorted((p.prompt, p.samples) for p in texts.prompts) == [
        ("a dog runs home", 2),
        ("two red cats asleep", 1),
    ]
    plain = named(["IMG_1.mp4", "clip-0.mp4", "clip-1.mp4"])
    assert (plain.mode, plain.texts) == ("custom", "")
    assert [p.samples for p in plain.prompts] == [1, 1, 1]


def test_rows_are_scored_on_the_same_clips_or_not_at_all() -> None:
    """Guards fairness: a clip that one row lacks is an error that names it, unless --common leaves it out."""
    with pytest.raises(ValueError, match=r"b lacks 1 of 2 clips .*'y-0'.*--common"):
        named(["x.mp4", "y.mp4"], ["x.mp4"])
    both = named(["x.mp4", "y.mp4"], ["x.mkv"], common=True)
    assert [p.id for p in both.prompts] == ["x"] and both.files["b"] == {"x-0": "x.mkv"}
    assert any("lacks 1" in note for note in both.notes) and any("'y.mp4'" in note for note in both.notes)


def test_ids_are_names_where_they_can_be_and_never_collide() -> None:
    """Guards clip ids: case, blanks and other scripts may not make two names one."""
    names = ["clip_1", "Clip_1", "clip 1", "clip-1", "\u732b", "\u72ac", "x" * 300]
    assert id_of("clip_1") == "clip_1"
    assert len({id_of(name) for name in names}) == len(names)
    assert all(0 < len(id_of(name)) <= 90 for name in names)


def test_names_of_any_characters_are_clips_of_their_own(tmp_path: Path) -> None:
    """Guards files and folders as people call them: a line feed, a character that turns the line or an emoji
    in a clip's name, and two folders whose long names begin alike.
    """
    names = [
        "a b",
        "a\nb",
        "a\tb",
        'it\'s a "quote"',
        "\U0001f3ac",
        "three plain words\u202e",
        "-rf",
        "{row} $HOME",
    ]
    found = named([f"{name}.mp4" for name in names])
    assert len(found.files["a"]) == len(names) == len(found.prompts)
    assert all(name.removesuffix(".mp4") in names for name in found.files["a"].values())
    folders = [tmp_path / ("long " * 20 + str(number)) for number in range(2)]
    for folder in folders:
        make_mixed(folder, 1)
    rows = find_rows(folders)
    assert len({row.name for row in rows}) == len({row.title for row in rows}) == 2


@pytest.mark.parametrize(
    ("given", "mine"),
    [
        ("clips --prompts l.csv --cores 2", "clips --prompts l.csv"),
        ("clips --cores 2 --prompts l.csv --dimensions a b", "clips --prompts l.csv --dimensions a b"),
        ("clips --profile slurm -n --prompts=l.csv --jobs 3", "clips --prompts=l.csv"),
        ("clips more", "clips more"),
        ("-n", ""),
    ],
)
def test_flags_of_snakemake_stand_anywhere(given: str, mine: str) -> None:
    """Guards our flags behind one of Snakemake's, which were handed to it and refused."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sources", nargs="*")
    parser.add_argument("--prompts")
    parser.add_argument("--dimensions", nargs="+")
    ours, others = own_and_other_flags(parser, given.split())
    assert ours == mine.split()
    assert [word for word in given.split() if word not in ours] == others


def test_every_caption_of_the_embedded_world_gives_its_facts_back() -> None:
    """Guards the inverse of captions, by the suite's own."""
    assert all(facts_of(prompt.prompt.upper()) == prompt.facts for prompt in TOYBOX)
    assert facts_of("a red circle moving sideways on meadow") is None


def test_a_list_of_files_and_prompts_gives_texts_and_what_they_allow(tmp_path: Path) -> None:
    """Guards captions: one of the embedded world has facts, so that its checkers are allowed."""
    clips = tmp_path / "mine"
    make_mixed(clips, 2, "take {}")
    listed = tmp_path / "captions.csv"
    listed.write_text(
        "file,prompt\ntake 0.mp4,a red circle moving left on meadow\ntake 1.mkv,a person's cat\n"
    )
    plan = asked(tmp_path, clips, prompts=listed)
    lines = [json.loads(line) for line in plan.files[tmp_path / "out/prompts.jsonl"].splitlines()]
    assert "color" in lines[0]["dimensions"] and lines[0]["facts"]["motion"] == "left"
    assert "color" not in lines[1]["dimensions"] and "facts" not in lines[1]
    assert "Custom mode: prompts from your list" in plan.said[0]


def test_wrong_inputs_are_one_sentence_before_any_job(tmp_path: Path) -> None:
    """Guards a tired user: every mistake names what, and what to do."""
    clips = tmp_path / "mine"
    first, *_ = make_mixed(clips, 2)
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "one.mp4").write_text("<html>")
    empty = tmp_path / "empty"
    (empty / "inner").mkdir(parents=True)
    twice = tmp_path / "twice"
    twice.mkdir()
    shutil.copy(first, twice / "a.mp4")
    shutil.copy(first, twice / "a.mov")
    packed = tmp_path / "evil.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(first, "../a.mp4")
    official = {"benchmark": "vbench"}
    latin = tmp_path / "latin"
    latin.mkdir()
    shutil.copy(first, os.fsencode(latin) + b"/caf\xe9.mp4")
    short = tmp_path / "short"
    short.mkdir()
    write_video(short / "two.mp4", "libx264", "yuv420p", pictures(0, 2, 128, 128), FORMS[0].rate)
    listed = {
        "latin.csv": "file,prompt\nclip 0.mp4,caf\xe9\n".encode("latin-1"),
        "none.csv": b"file,prompt\n",
        "odd.csv": b"file,prompt,mood\nclip 0.mp4,a red dog,sad\n",
        "other.csv": b"file,prompt\nfilm.mp4,a red dog runs\n",
        "slash.csv": b"file,prompt\nclip 0.mp4,a dog/cat\nclip 1.mkv,a cat\n",
        "list.docx": b"PK\3\4",
    }
    for name, content in listed.items():
        (tmp_path / name).write_bytes(content)
    cases = [
        ((short,), official, "1 of 1 clips cannot be scored: two.mp4 has 2 frames, expected at least 3"),
        (
            (clips,),
            official | {"dimensions": ["dynamic_degree"]},
            r"2 clips have a side of less than 128 pixels \(first: clip 0.mp4 of mine, 96x64\).*RAFT.*take",
        ),
        ((clips,), {"prompts": tmp_path / "latin.csv"}, "latin.csv .*UTF-8"),
        ((clips,), {"prompts": tmp_path / "none.csv"}, "none.csv"),
        ((clips,), {"prompts": tmp_path / "odd.csv"}, "odd.csv line 1: beside `file`.*found mood"),
        ((clips,), {"prompts": tmp_path / "other.csv"}, "none of its 2 files has the name of a prompt"),
        ((clips,), {"prompts": tmp_path / "slash.csv"}, "cannot be a file name of VBench's form"),
        ((clips,), {"prompts": tmp_path / "list.docx"}, "ends in .docx, expected one of .csv"),
        ((tmp_path / "none",), {}, "does not exist"),
        ((first,), {}, "neither a folder nor a .zip"),
        ((empty,), {}, "holds no video directly.*give one of those"),
        ((bad,), {}, "1 of 1 clips cannot be scored: one.mp4 is a web page"),
        ((latin,), {}, r"'caf\\xe9.mp4' is no UTF-8 text.*rename it"),
        ((twice,), {}, "differ in their endings alone"),
        ((packed,), {}, 'has ".." in its name'),
        ((clips, clips), {}, "given twice"),
        ((clips,), {"dimensions": ["colour"]}, "names 'colour', expected some of"),
        ((clips,), {"dimensions": ["color"]}, "color cannot be scored on these clips"),
        ((clips,), {"prompts": tmp_path / "no.csv"}, "No such file"),
    ]
    for sources, more, said in cases:
        with pytest.raises((ValueError, OSError), match=said):
            asked(tmp_path, *sources, **more)  # type: ignore[arg-type]


def test_clips_that_raft_cannot_see_have_no_dynamic_degree(tmp_path: Path) -> None:
    """Guards the seven dimensions: frames under 128 pixels, of which RAFT gives no numbers, take one of them
    away before any job, and it is said; clips of no common length are no suite of long clips.
    """
    clips, film = tmp_path / "mine", [np.zeros((32, 32, 3), np.uint8)]
    make_mixed(clips, 2)
    plan = asked(tmp_path, clips, benchmark="vbench")
    suite = json.loads(plan.files[tmp_path / "out/suite.yaml"].partition("\n")[2])
    assert len(suite["dimensions"]) == 6 and "dynamic_degree" not in suite["dimensions"]
    (said,) = [line for line in plan.said if "left out" in line]
    assert "Dynamic degree is left out: 2 clips have a side of less than 128 pixels" in said
    long = tmp_path / "long"
    long.mkdir()
    for name, frames in (("a", 121), ("b", 121), ("c", 125)):
        write_video(long / f"{name}.mp4", "libx264", "yuv420p", film * frames, Fraction(10))
    for chosen, longest in (([], 100), (["c"], 121)):
        for name in chosen:
            (long / f"{name}.mp4").unlink()
        plan = asked(tmp_path, long)
        suite = json.loads(plan.files[tmp_path / "out/suite.yaml"].partition("\n")[2])
        assert suite["clip"]["pixel_frames"] == longest


@pytest.mark.slow
def test_twenty_mixed_clips_of_two_rows_are_scored_end_to_end(tmp_path: Path) -> None:
    """Guards the whole command: mixed codecs, sizes and rates, a folder and a zip, table, JSON, and a second
    run that has nothing to do.
    """
    project = tmp_path / "project"
    shutil.copytree(ROOT, project, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    clips, packed = tmp_path / 'my {row}\'s "clips" $HOME\n\U0001f3ac', tmp_path / "theirs.zip"
    output = tmp_path / "scores {row}'s"
    made = [path.rename(path.with_stem(f"{path.stem} {{row}}'s\n$HOME")) for path in make_mixed(clips)]
    with zipfile.ZipFile(packed, "w") as archive:
        for path in made:
            archive.write(path, f"inside/{path.name}")
    words = ["score", str(clips), str(packed), "--benchmark", "toybox", "--output", str(output)]
    command = [sys.executable, "-m", "workflow.scripts.raven_bench", *words, "--cores", "2"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=580)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "Custom mode" in done.stdout and "Not comparable by themselves" in done.stdout
    page = (output / "report.html").read_text()
    assert not [word for word in ("tiny models", "Shipped reference", "4 x 4 pixels") if word in page]
    table = read_json(ScoresTable, output / "aggregate/scores.json")
    one, two = table.rows
    assert [row.incomplete is not None for row in table.rows] == [True, True]
    for name in table.dimensions:
        assert one.dimensions[name].clips == 20
        assert one.dimensions[name].raw == two.dimensions[name].raw, "the same files have the same scores"
        mean, lines = json.loads((output / f"{one.row}_eval_results.json").read_text())[name]
        assert len(lines) == 20 and isinstance(mean, float)
    again = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=580)
    assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr


def test_a_dimension_asks_for_its_own_checkpoints_and_all_for_every_one() -> None:
    """Guards the download: 190 MB for imaging quality, not 9.5 GB, and all sixteen lack nothing."""
    vbench = read_suite(ROOT / "workflow/config/vbench.yaml", ROOT)
    scored = vbench.model_copy(update={"row_files": "elsewhere"})
    every = {entry.path for entry in scorer_resources(ROOT, vbench)}
    assert {entry.path for entry in scorer_resources(ROOT, scored)} == every
    one = scored.model_copy(update={"dimensions": ("imaging_quality",)})
    names = {Path(entry.path).name for entry in scorer_resources(ROOT, one)}
    assert names == {"musiq_spaq_ckpt-358bb6af.pth", "models.zip"}
