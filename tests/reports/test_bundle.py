"""A run packed for publication and computed again by a stranger: what agrees, and every lie that is found."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.finished_run import read_finished_run
from evaluation.intervals import paired_p_value
from evaluation.recompute import first_difference
from evaluation.records import ScoresTable, read_json
from reports.bundle import BundleIndex, Packed, pack, unpack
from reports.run import Run
from reports.verification import check_texts, verify_folder
from tests.damages import lie
from tests.reports import synthetic
from workflow.scripts import bundle, verify

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def reported(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run without clip files, with its report, a log of this machine and a leaderboard's zip."""
    folder = tmp_path_factory.mktemp("reported") / "toybox"
    shutil.copytree(finished, folder)
    synthetic.run_script(folder, folder / "aggregate/scores.json", synthetic.report_settings())
    shutil.copyfile(folder / "table.csv", folder / "aggregate/scores.csv")
    log = folder / "logs/train/raven.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"{ROOT}/models/wan.py, {Path.home()}/x, /scratch/job7/a.pt, https://host/x and 3/4\n")
    return folder


def packed(folder: Path, output: Path, **options: Any) -> Packed:
    """The bundle of a folder in which files may have been edited since it was read: by one who knows how."""
    return pack(folder, read_finished_run(folder), ROOT, output, clips=False, **options)


def test_a_bundle_is_verified_by_a_stranger(
    reported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands themselves: one line says that all agrees; the same run gives the same bytes; of this
    machine nothing is left in the logs.
    """
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    assert bundle.main([str(reported), "--output", str(first)]) == 0
    assert bundle.main([str(reported), "--output", str(second)]) == 0
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert archive.read("toybox/logs/train/raven.log").decode() == (
            "./models/wan.py, ~/x, <path>/a.pt, https://host/x and 3/4\n"
        )
        index = json.loads(archive.read("toybox/bundle.json"))
    assert index["scrubbed"] == ["logs/train/raven.log"]
    assert {"report.html", "run.json", "clips/raven/manifest.jsonl"} <= index["files"].keys()
    capsys.readouterr()
    assert verify.main([str(first)]) == 0
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "all agrees. " in said
    assert "the 7 rows, 7 totals, " in said
    assert "no clips inside" in said


def edit_move(table: dict[str, Any]) -> None:
    table["tables"][1]["rows"][0]["total"] += 0.01


def edit_second(result: dict[str, Any]) -> None:
    result["clips"][0]["value"] *= 0.99


def edit_pair(key: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    def edit(table: dict[str, Any]) -> None:
        least_sure = max(table["pairs"], key=lambda pair: pair["p_value"])
        least_sure[key] = change(least_sure[key])

    return edit


def edit_interval(table: dict[str, Any]) -> None:
    table["rows"][1]["dimensions"]["color"]["normalised"]["low"] += 0.01


def edit_total(table: dict[str, Any]) -> None:
    table["rows"][0]["total"]["high"] += 1e-6


def edit_seed(table: dict[str, Any]) -> None:
    table["seed"] += 1


def swap_rows(table: dict[str, Any]) -> None:
    table["rows"][0], table["rows"][1] = table["rows"][1], table["rows"][0]


def edit_power(table: dict[str, Any]) -> None:
    table["power"]["detectable"] *= 1.01


def edit_cell(table: dict[str, Any]) -> None:
    table["cells"][3]["prompt_sd"] += 0.001


def edit_curve(table: dict[str, Any]) -> None:
    table["curves"][0]["chunks"][1]["high"] += 0.5


def edit_gallery_score(record: dict[str, Any]) -> None:
    record["scores"]["raven"]["color"]["move_00"][0] += 0.001


def edit_seconds(record: dict[str, Any]) -> None:
    record["stages"][0]["wall_s"] += 1.0


LIES = {
    "an interval": ("aggregate/scores.json", edit_interval, "row raven, |row cm_grpo, dimensions, color"),
    "an interval of a total": ("aggregate/scores.json", edit_total, "rows, row raven, total, high: "),
    "a p-value": ("aggregate/scores.json", edit_pair("p_value", lambda p: p / 2), "p_value: "),
    "a corrected p-value": ("aggregate/scores.json", edit_pair("holm", lambda p: p / 2), "holm: "),
    "a detectable difference": ("aggregate/scores.json", edit_pair("detectable", lambda d: d / 2), "detecta"),
    "the bootstrap's seed": (
        "aggregate/scores.json",
        edit_seed,
        "aggregate/scores.json says rows, row raven",
    ),
    "the order of rows": ("aggregate/scores.json", swap_rows, "aggregate/scores.json says pairs"),
    "the table's power": ("aggregate/scores.json", edit_power, "power, detectable: "),
    "a spread": ("aggregate/variance.json", edit_cell, "aggregate/variance.json says cells, row "),
    "a total of another choice": (
        "aggregate/protocol_moves.json",
        edit_move,
        "says tables, unfiltered, rows, row raven, total: ",
    ),
    "clips scored once more": (
        "scores/raven/second/unfiltered/temporal_flickering.result.json",
        edit_second,
        "was changed, replaced",
    ),
    "a curve": ("aggregate/chunks.json", edit_curve, "aggregate/chunks.json says curves, row "),
    "a prompt's score": ("run.json", edit_gallery_score, "run.json says scores, raven, color, move_00"),
    "seconds of a stage": ("run.json", edit_seconds, "run.json says stages"),
}


QUICK = ("a total of another choice", "an interval", "a p-value", "a prompt's score")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in LIES]
)
def test_every_edited_number_is_found(
    reported: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against a published number that nobody can get: an edit by somebody who makes all checksums and
    the index anew is one sentence that names it.
    """
    file, change, said = LIES[name]
    folder = tmp_path / "toybox"
    shutil.copytree(reported, folder)
    honest = read_finished_run(folder)
    lie(folder / file, change)
    pack(folder, honest, ROOT, tmp_path / "lie.zip", clips=False)
    assert verify.main([str(tmp_path / "lie.zip")]) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert any(part in message for part in said.split("|")), message
    assert f"{tmp_path}/lie.zip: " in message


def test_edited_texts_are_found(reported: Path, tmp_path: Path) -> None:
    """A CSV must be what the record says; other texts may differ by the code that wrote them: it is said."""
    folder = tmp_path / "toybox"
    shutil.copytree(reported, folder)
    record = read_json(Run, folder / "run.json")
    page = folder / "report.html"
    page.write_text(page.read_text(encoding="utf-8").replace("84.", "94.", 1) + " ", encoding="utf-8")
    assert check_texts(folder, record, same_code=False) == ("report.html",)
    with pytest.raises(ValueError, match=r"report\.html is not what run\.json says"):
        check_texts(folder, record, same_code=True)
    table = folder / "table.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("1", "2", 1), encoding="utf-8")
    with pytest.raises(ValueError, match=r"table\.csv is not what run\.json says"):
        check_texts(folder, record, same_code=False)


def test_clips_of_a_bundle_are_those_of_the_manifests(results: tuple[Path, str], tmp_path: Path) -> None:
    """Whoever gets the clips gets the scored ones: here most files of the synthetic run are missing."""
    folder, _ = results
    with pytest.raises(FileNotFoundError, match=r"mp4 is missing; run the report again"):
        pack(folder, read_finished_run(folder), ROOT, tmp_path / "x.zip", clips=True)
    assert not (tmp_path / "x.zip").exists()


def test_a_path_that_a_hash_proves_is_not_published(reported: Path, tmp_path: Path) -> None:
    """Guards against the home of whoever ran it in public, and against a bundle that fails its own check."""
    folder = tmp_path / "toybox"
    shutil.copytree(reported, folder)
    lie(folder / "run.json", lambda record: record["settings"].update(note="see /home/ann/notes"))
    with pytest.raises(ValueError, match="'/home/ann/notes', a path of this machine"):
        packed(folder, tmp_path / "x.zip")
    assert packed(folder, tmp_path / "x.zip", keep_paths=True).contents.files


def member(name: str, **facts: Any) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    for key, value in facts.items():
        setattr(info, key, value)
    return info


HOSTILE = {
    "no zip": (None, "cannot be read as a zip"),
    "climbs out": ([("toybox/../../etc/x", b"x")], 'has ".." in its name'),
    "absolute": ([("/etc/x", b"x")], "has an absolute name"),
    "a link": ([(member("toybox/run.json", external_attr=0o120777 << 16), b"/etc/passwd")], "is a link or"),
    "no index": ([("toybox/run.json", b"{}")], "is no bundle of one run"),
    "two folders": ([("toybox/bundle.json", b"{}"), ("b/x", b"")], "is no bundle of one run"),
    "an index of another kind": ([("toybox/bundle.json", b"[]")], "is not what its checksum says"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_one_sentence(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    members, said = HOSTILE[name]
    path = tmp_path / "x.zip"
    if members is None:
        path.write_bytes(b"no zip")
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for entry, content in members:
                archive.writestr(entry, content)
    assert verify.main([str(path)]) == 1
    assert said in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == [path]


def test_members_are_those_of_the_index(reported: Path, tmp_path: Path) -> None:
    """A file more, a file less and a changed one are named."""
    whole = tmp_path / "whole.zip"
    packed(reported, whole)

    def rewritten(change: Callable[[dict[str, bytes]], object]) -> Path:
        with zipfile.ZipFile(whole) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        change(files)
        with zipfile.ZipFile(tmp_path / "other.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return tmp_path / "other.zip"

    for change, said in (
        (lambda files: files.update({"toybox/more.txt": b""}), r"more\.txt is not in its bundle\.json"),
        (lambda files: files.pop("toybox/pairs.csv"), r"pairs\.csv is not there"),
        (lambda files: files.update({"toybox/pairs.csv": b""}), r"pairs\.csv is not the file"),
    ):
        with pytest.raises(ValueError, match=said):
            unpack(rewritten(change), tmp_path / "place")
    assert isinstance(unpack(whole, tmp_path / "place"), BundleIndex)


@pytest.mark.slow
def test_a_subset_without_totals_is_recomputed_as_one(tmp_path: Path) -> None:
    """Guards against totals of a part of the prompts, which verification would make up and then miss."""
    scores = synthetic.make_results(tmp_path, embedded=0, subset="prompts left out", totals=False)
    synthetic.run_script(tmp_path, scores, synthetic.report_settings())
    shutil.copyfile(tmp_path / "table.csv", tmp_path / "aggregate/scores.csv")
    assert not any(row.total for row in read_json(ScoresTable, scores).rows)
    assert verify_folder(tmp_path, ROOT).record.table.subset == "prompts left out"


def test_first_difference_names_the_place() -> None:
    """By hand."""
    rows = {"rows": [{"row": "a", "x": 1.0}, {"row": "b", "x": 2.0}]}
    assert first_difference(rows, json.loads(json.dumps(rows))) is None
    assert first_difference(rows, {"rows": [rows["rows"][0], {"row": "b", "x": 2.0 + 1e-12}]}) is None
    other = {"rows": [rows["rows"][0], {"row": "b", "x": 2.5}]}
    assert first_difference(rows, other) == "rows, row b, x: 2.0, but it is 2.5"
    assert first_difference({"a": None}, {"a": 1}) == "a: None, but it is 1"
    assert first_difference({}, {"a": 1}) == "a: nothing, but it is there"
    assert first_difference({"a": True}, {"a": 1}) is None
    assert first_difference([1], (1, 2)) == ": 1 entries, but it is 2"


def test_p_values_do_not_depend_on_the_order_of_sums() -> None:
    """Guards against a p-value that another processor does not give: draws in which two rows are equal are
    ties, however their sums were rounded.
    """
    ties, noise = np.zeros(1000), np.random.default_rng(0).normal(0, 1e-14, 1000)
    draws = np.concatenate([ties, np.full(1000, 0.5)])
    assert paired_p_value(draws, 40) == paired_p_value(draws + np.concatenate([noise, ties]), 40)
