"""What the worker is told, and what is made of its answers: order, parts, names, joining, reducing, the
leaderboard's zip. No torch.
"""

import io
import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.aggregate import check_result
from evaluation.dimensions import DIMENSIONS, NAMES
from evaluation.files import file_sha256, write_text
from evaluation.metrics import metrics
from evaluation.records import Clip, Prompt, clip_id, write_json
from evaluation.selection import ScoredPrompt, compare_inputs
from evaluation.vbench.leaderboard import ROWS, check_leaderboard, leaderboard_zip, passed_over
from evaluation.vbench.plan import (
    ScorePart,
    entries_of,
    entries_of_part,
    full_info,
    in_official_order,
    named_clips,
)
from evaluation.vbench.reduce import (
    RULES,
    official_clip_value,
    official_score,
    running_sum,
    several_process_score,
)
from evaluation.vbench.results import (
    dimension_result,
    joined_rows,
    joined_versions,
    official_json,
)
from evaluation.verified_clips import verified_path
from tests.evaluation.made_up import INPUTS
from workflow.scripts import leaderboard

GOLDEN = Path(__file__).parents[1] / "golden/vbench_official.json"
ZERO = "0" * 64


def prompt(
    number: int, *, lines: list[int] | None = None, dimensions: tuple[str, ...] = ("color",)
) -> Prompt:
    facts: dict[str, Any] = {"color": {"color": "red"}}
    if lines is not None:
        facts["lines"] = lines
    return Prompt(
        id=f"v{number:04d}", prompt=f"a red thing {number}", extended="x", dimensions=dimensions,
        samples=2, facts=facts,
    )  # fmt: skip


def clip(prompt_id: str, sample: int) -> Clip:
    return Clip(
        clip_id=clip_id(prompt_id, sample), row="mine", prompt_id=prompt_id, sample=sample,
        file=f"mp4/{prompt_id}-{sample}.mp4",
        sha256=ZERO, latents_sha256=None, noise="none", weights_sha256=None, settings_sha256=ZERO,
        batch_size=1,
        pixel_frames=9, height=8, width=8, fps=8,
    )  # fmt: skip


PROMPTS = [prompt(i, lines=[i]) for i in range(7)]
CLIPS = [clip(p.id, sample) for p in PROMPTS for sample in range(2)]
KEPT = {p.id: (0, 1) for p in PROMPTS}


def color_entries() -> list[ScoredPrompt]:
    return entries_of("color", PROMPTS, CLIPS, KEPT)


def names_of(entries: list[ScoredPrompt]) -> list[str]:
    return [name for name, _ in named_clips(entries)]


def rows_of(entries: list[ScoredPrompt]) -> list[dict[str, Any]]:
    names = names_of(entries)
    return [
        {"video_path": name, "video_results": 1 / (i + 1), "cur_success_frame_rate": 1 / (i + 1)}
        for i, name in enumerate(names)
    ]


def part(
    entries: list[ScoredPrompt], rows: list[dict[str, Any]], name: str = "0-of-1", backend: str = "fast"
) -> ScorePart:
    names = tuple(names_of(entries))
    return ScorePart(
        suite="s", row="mine", dimension="color", inputs=INPUTS, part=name, names=names, score=None,
        rows=tuple(rows), versions={"backend": backend},
    )  # fmt: skip


def test_parts_of_different_backends_are_not_joined() -> None:
    """Guards against a mean over values that were computed in two ways; a part without rows was computed in
    none.
    """
    entries = color_entries()
    rows = rows_of(entries)
    half = len(entries) // 2
    first, second = entries[:half], entries[half:]
    named = set(names_of(first))
    parts = [
        part(first, [row for row in rows if row["video_path"] in named]),
        part(second, [row for row in rows if row["video_path"] not in named], "1-of-2", "official"),
    ]
    match = r"of color were computed by different backends \(fast, official\)"
    with pytest.raises(ValueError, match=match):
        joined_rows(parts, entries, "color")
    empty = parts[1].model_copy(update={"rows": ()})
    assert (
        joined_rows([part(entries, rows), empty.model_copy(update={"names": ()})], entries, "color") == rows
    )


def test_the_official_form_has_no_values_of_frames() -> None:
    """Guards the leaderboard's form against keys that the package does not write."""
    rows = rows_of(color_entries())
    noted = [row | {"frame_values": [None, 0.5]} for row in rows]
    assert official_json("color", 0.5, noted) == official_json("color", 0.5, rows)


def test_a_prompt_of_two_lines_stands_where_the_dimension_s_line_is() -> None:
    """Guards the order of a running sum: lines 495 and 748 of VBench's list are one prompt, first among
    styles, late among overall.
    """
    style = [prompt(i, lines=[i], dimensions=("appearance_style",)) for i in (493, 494, 496, 582)]
    overall = [prompt(i, lines=[i], dimensions=("overall_consistency",)) for i in (683, 747, 749, 775)]
    both = prompt(748, lines=[495, 748], dimensions=("appearance_style", "overall_consistency"))
    prompts = [*style, *overall[:2], both, *overall[2:]]
    assert [p.id for p in in_official_order("appearance_style", prompts)] == [
        "v0493",
        "v0494",
        "v0748",
        "v0496",
        "v0582",
    ]
    assert [p.id for p in in_official_order("overall_consistency", prompts)] == [
        "v0683",
        "v0747",
        "v0748",
        "v0749",
        "v0775",
    ]


def test_the_real_list_has_the_official_order() -> None:
    """Guards all sixteen orders against VBench's own list, where it was fetched."""
    from evaluation.prompts import vbench_prompts

    folder = Path(__file__).parents[2] / "resources/prompts"
    if not folder.is_dir():
        pytest.skip("VBench's list was not fetched (make fetch)")
    info = json.loads((folder / "VBench_full_info.json").read_text())
    lines = [
        (folder / n).read_text().splitlines() for n in ("all_dimension.txt", "all_dimension_extended.txt")
    ]
    prompts = vbench_prompts(info, *lines, samples=5, static_samples=25, static_keep=5)
    for name in NAMES:
        official = [entry["prompt_en"] for entry in info if name in entry["dimension"]]
        assert [p.prompt for p in in_official_order(name, prompts)] == official


@given(st.integers(0, 40), st.integers(1, 12))
def test_parts_unite_to_the_list(count: int, parts: int) -> None:
    """Guards against a prompt that is scored twice or never, for any number of parts."""
    entries: Any = list(range(count))
    united = [item for part in range(parts) for item in entries_of_part(entries, part, parts)]
    assert united == entries


def test_kept_clips_are_named_as_vbench_does_and_numbered_anew() -> None:
    """Guards the names that the package looks for: index 0 to 4, whatever samples the static filter left."""
    entries = entries_of("color", PROMPTS[:1], CLIPS, {"v0000": (1,)})
    assert [(name, kept.clip_id) for name, kept in named_clips(entries)] == [
        ("a red thing 0-0.mp4", "v0000-1")
    ]
    assert full_info("color", entries[0].prompt)["auxiliary_info"] == {"color": {"color": "red"}}


def test_what_the_package_would_ignore_is_refused() -> None:
    """Guards against means over what happens to be there: missing clips, samples beyond the fifth, names that
    do not come back.
    """
    with pytest.raises(ValueError, match=r"lacks 1 of 14 clips that color needs: v0006-1"):
        entries_of("color", PROMPTS, CLIPS[:-1], KEPT)
    with pytest.raises(ValueError, match="VBench looks at 5"):
        entries_of("color", PROMPTS[:1], [clip("v0000", i) for i in range(6)], {"v0000": tuple(range(6))})
    strange = PROMPTS[0].model_copy(update={"prompt": "a red/blue thing"})
    with pytest.raises(ValueError, match="cannot be a file name of VBench's form"):
        entries_of("color", [strange], CLIPS, KEPT)


def test_a_clip_that_was_replaced_is_refused(tmp_path: Path) -> None:
    """Guards against scores of a file that nobody checked."""
    (tmp_path / "mp4").mkdir()
    (tmp_path / "mp4/v0000-0.mp4").write_bytes(b"other")
    with pytest.raises(ValueError, match="Clip v0000-0 of row mine is not the file that was sampled"):
        verified_path(tmp_path, CLIPS[0])
    with pytest.raises(FileNotFoundError, match="rerun the sample stage"):
        verified_path(tmp_path, CLIPS[1])


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_joined_parts_are_one_process(parts: int) -> None:
    """Guards the joined score and rows for any cut, with exact equality; the rows are the running sum's worst
    case, thirds and so on.
    """
    entries = color_entries()
    rows = rows_of(entries)
    by_name = {row["video_path"]: row for row in rows}
    cut = [entries_of_part(entries, i, parts) for i in range(parts)]
    made = [part(e, [by_name[name] for name in names_of(e)]) for e in cut]
    joined = joined_rows(made, entries, "color")
    assert joined == rows
    total = 0.0
    for row in rows:
        total += row["video_results"]
    assert official_score("color", joined) == total / len(rows)


def test_joining_refuses_what_is_not_exactly_the_clips() -> None:
    """Guards against a part that is missing, doubled, of another order, or lacks a row."""
    entries = color_entries()
    rows = rows_of(entries)
    whole = part(entries, rows)
    half = part(entries[:3], rows[:6])
    for wrong in ([half], [whole, half], [part(entries[3:], rows[6:]), half]):
        with pytest.raises(ValueError, match="expected 14 in the order of the list"):
            joined_rows(wrong, entries, "color")
    with pytest.raises(ValueError, match="twice, or out of order"):
        joined_rows([part(entries, rows[::-1])], entries, "color")
    other = whole.model_copy(update={"dimension": "scene"})
    with pytest.raises(ValueError, match="lack 1 clips"):
        joined_rows([other.model_copy(update={"rows": whole.rows[1:]})], entries, "scene")


def test_clips_that_color_leaves_out_are_named_and_only_there() -> None:
    """Guards color's own denominator: clips without the object in any colour are left out, said, and pass the
    completeness check.
    """
    entries = color_entries()
    rows = rows_of(entries)[1:]
    parts = [part(entries, rows)]
    result = dimension_result(
        "s",
        "mine",
        "color",
        joined_rows(parts, entries, "color"),
        entries,
        joined_versions(parts),
        INPUTS,
    )
    assert result.versions == parts[0].versions
    assert result.left_out == ("v0000-0",)
    check_result(result, PROMPTS, None, metrics("vbench")["color"])
    with pytest.raises(ValueError, match="only the official color does"):
        check_result(result.model_copy(update={"kind": "exact"}), PROMPTS, None, metrics("vbench")["color"])
    with pytest.raises(ValueError, match="could count no clip for color"):
        dimension_result("s", "mine", "color", [], entries, {}, INPUTS)


def test_a_sum_is_rounded_after_every_addition() -> None:
    """Guards against Python's own sum, which compensates since 3.12 and would differ from the package's loop
    in the last digit.
    """
    values = [0.1] * 10
    assert running_sum(values) == 0.9999999999999999 != math.fsum(values)


def test_scores_of_several_processes_are_other_numbers() -> None:
    """Guards the convention that is reported: appearance style of several processes is the mean of last
    frames.
    """
    rows = [
        {"video_path": "a", "video_results": 0.2, "frame_results": [0.1, 0.3], "cur_sim": 0.3},
        {"video_path": "b", "video_results": 0.5, "frame_results": [0.5], "cur_sim": 0.5},
    ]
    assert official_score("appearance_style", rows) == (0.1 + 0.3 + 0.5) / 3
    assert several_process_score("appearance_style", rows) == 0.4
    assert official_clip_value("imaging_quality", {"video_results": 50.0}) == 0.5
    entries = entries_of("color", PROMPTS[:1], CLIPS, KEPT)
    named = [row | {"video_path": f"a red thing 0-{i}.mp4"} for i, row in enumerate(rows)]
    result = dimension_result("s", "mine", "appearance_style", named, entries, {}, INPUTS)
    assert (result.mean, result.several_processes) == ((0.1 + 0.3 + 0.5) / 3, 0.4)
    assert (
        dimension_result("s", "mine", "temporal_style", named, entries, {}, INPUTS).several_processes is None
    )


def test_rows_of_real_runs_give_the_official_scores() -> None:
    """Guards every rule against scores that vbench 0.1.5 itself printed (random weights, tiny clips of
    different lengths).
    """
    golden = json.loads(GOLDEN.read_text())
    assert set(golden) == set(RULES) == set(NAMES)
    for name, (score, rows) in golden.items():
        assert official_score(name, rows) == score, name


def entries_named(names: list[str]) -> list[ScoredPrompt]:
    """Prompts and clips that have these file names, in this order."""
    texts = list(dict.fromkeys(name.rsplit("-", 1)[0] for name in names))
    entries = []
    for number, text in enumerate(texts):
        listed = prompt(number).model_copy(update={"prompt": text})
        found = [name for name in names if name.rsplit("-", 1)[0] == text]
        entries.append(ScoredPrompt(listed, tuple(clip(listed.id, i) for i in range(len(found)))))
    assert names_of(entries) == names
    return entries


@pytest.mark.parametrize("parts", [1, 2, 5])
@pytest.mark.parametrize("dimension", NAMES)
def test_joined_parts_of_real_rows_are_the_official_json(dimension: str, parts: int) -> None:
    """Guards every dimension's own JSON, for any cut: what vbench 0.1.5 printed in one process
    (tests/vbench/golden.py makes it).
    """
    score, rows = json.loads(GOLDEN.read_text())[dimension]
    entries = entries_named([row["video_path"] for row in rows])
    by_name = {row["video_path"]: row for row in rows}
    made = []
    for number in range(parts):
        own = entries_of_part(entries, number, parts)
        names = tuple(names_of(own))
        made.append(
            ScorePart(
                suite="s", row="mine", dimension=dimension, inputs=INPUTS,
                part=f"{number}-of-{parts}", names=names,
                score=None,
                rows=tuple(by_name[name] for name in names), versions={},
            )
        )  # fmt: skip
    joined = joined_rows(made, entries, dimension)
    result = dimension_result("s", "mine", dimension, joined, entries, {}, INPUTS)
    assert json.loads(official_json(dimension, result.mean, joined)) == {dimension: [score, rows]}


def submission() -> dict[str, str]:
    """A complete one, of made-up rows that every rule can read."""
    every = [
        {
            "video_path": f"a-{i}.mp4", "video_results": value, "video_sim": value * 4, "cnt_per_video": 4,
            "success_frame_count": i % 17, "frame_count": 16, "cor_num_per_video": i % 2,
            "cur_success_frame_rate": value,
            "frame_results": [value, value / 2], "cur_sim": value,
        }
        for i, value in enumerate(np.linspace(0.1, 0.9, 500).tolist())
    ]  # fmt: skip
    rows = {name: every[:count] for name, count in ROWS.items()}
    return {name: official_json(name, official_score(name, found), found) for name, found in rows.items()}


def test_values_of_frames_are_kept_for_our_record_and_left_out_of_the_official_form() -> None:
    """Guards the official JSON, which stays as the package writes it, and rows of scorers that note no
    frames.
    """
    entries = color_entries()
    plain = rows_of(entries)
    noted = [{**row, "frame_values": [None, *([0.5] * 8)]} for row in plain]
    assert official_json("color", 0.5, noted) == official_json("color", 0.5, plain)
    for rows, expected in ((plain, None), (noted, (None, *([0.5] * 8)))):
        result = dimension_result(
            "s", "mine", "color", joined_rows([part(entries, rows)], entries, "color"), entries, {}, INPUTS
        )
        assert {clip.frame_values for clip in result.clips} == {expected}


def test_clips_of_mixed_lengths_count_once_each_and_have_no_values_of_frames() -> None:
    """By hand: a clip of 9 frames at 0.5 and one of 3 at 1.0. VBench's mean over pairs of frames is 0.6, ours
    over clips 0.75, which the table's check takes; at equal lengths ours is VBench's. Values of another
    number of frames than the clip has are refused.
    """
    one, other = clip("v0000", 0), clip("v0000", 1).model_copy(update={"pixel_frames": 3})
    listed = [prompt(0, dimensions=("subject_consistency",))]
    entries = entries_of("subject_consistency", listed, [one, other], KEPT)
    rows = [
        {"video_path": name, "video_results": value, "video_sim": value * pairs, "cnt_per_video": pairs,
         "frame_values": [None, *([value] * pairs)]}
        for name, value, pairs in zip(names_of(entries), (0.5, 1.0), (8, 2), strict=True)
    ]  # fmt: skip
    found = dimension_result("s", "mine", "subject_consistency", rows, entries, {}, INPUTS)
    assert official_score("subject_consistency", rows) == 0.6
    assert (found.mean, [c.frame_values for c in found.clips]) == (0.75, [None, None])
    check_result(found, listed, None, metrics("vbench")["subject_consistency"])
    alike = entries_of("subject_consistency", listed, [one, clip("v0000", 1)], KEPT)
    with pytest.raises(ValueError, match="v0000-1 has values of 3 frames, expected 9"):
        dimension_result("s", "mine", "subject_consistency", rows, alike, {}, INPUTS)
    slower = entries_of(
        "subject_consistency", listed, [one, clip("v0000", 1).model_copy(update={"fps": 4})], KEPT
    )
    rows[1]["frame_values"] = rows[0]["frame_values"]
    found = dimension_result("s", "mine", "subject_consistency", rows, slower, {}, INPUTS)
    assert [c.frame_values for c in found.clips] == [None, None]


def test_the_leaderboard_s_zip_is_complete_and_reproducible() -> None:
    """Guards against a submission whose missing dimension counts as 0, and against bytes that change from run
    to run.
    """
    results = submission()
    content = leaderboard_zip(results)
    assert content == leaderboard_zip(results)
    assert check_leaderboard(content) == []
    with pytest.raises(ValueError, match="scene is missing"):
        leaderboard_zip({name: text for name, text in results.items() if name != "scene"})


def test_a_submission_is_read_as_the_official_script_reads_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By hand, as VBench's scripts/cal_final_score.py goes through a zip: a folder, what ends in json at the
    top, nothing hidden, nothing deeper; and the command says so.
    """
    results = submission()
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for place, (name, text) in enumerate(results.items()):
            archive.writestr(f"{name}json" if place == 0 else f"mine/{name}.json", text)
        archive.writestr("__MACOSX/mine/._color.json", b"\0")
        archive.writestr(".hidden.json", b"\0")
        archive.writestr("mine/deeper/color.json", results["color"])
        archive.writestr("readme.txt", b"hello")
    content = path.read_bytes()
    assert check_leaderboard(content) == []
    assert passed_over(content) == [
        ".hidden.json", "__MACOSX/mine/._color.json", "mine/deeper/color.json", "readme.txt"
    ]  # fmt: skip
    assert leaderboard.main(["--check", str(path)]) == 0
    said = capsys.readouterr().err
    assert "read as VBench's scripts/cal_final_score.py does" in said
    assert "passed over: '.hidden.json', '__MACOSX/mine/._color.json', " in said


def test_a_wrong_submission_is_named() -> None:
    """Guards the offline checker against what the official script reads without a word."""
    results = submission()
    scene = json.loads(results["scene"])["scene"]
    changed = {
        "scene has the score 0.5, its rows give": {"scene": [0.5, scene[1]]},
        "scene has no rows": {"scene": [0.5, []]},
        "scene has 429 rows, the standard suite has 430": {"scene": [scene[0], scene[1][:-1]]},
        "scene counts 1 clips twice": {"scene": [scene[0], [*scene[1][:-1], scene[1][0]]]},
        "'Scene' is no dimension": {"Scene": scene},
    }
    for sentence, wrong in changed.items():
        with pytest.raises(ValueError, match=sentence):
            leaderboard_zip(results | {"scene": json.dumps(wrong)})
    buffer = io.BytesIO(leaderboard_zip(results))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("other.json", results["color"].replace("0.", "NaN", 1))
        archive.writestr("again.json", results["color"])
        archive.writestr("results_full_info.json", "[]")
    faults = check_leaderboard(buffer.getvalue())
    assert any("NaN is no number" in fault for fault in faults)
    assert "color comes twice" in faults
    assert len(faults) == 2, "a list of prompts is passed over"


def test_a_submission_of_several_official_processes_passes() -> None:
    """Guards anybody's zip against false alarms: rows in another order, last-frame averages, no sums of
    subject consistency.
    """
    results = submission()
    changed = {}
    for name, text in results.items():
        rows = json.loads(text)[name][1]
        rows = [{**row, "video_path": f"/home/x/{row['video_path']}"} for row in rows[::2] + rows[1::2]]
        score = several_process_score(name, rows)
        if name == "subject_consistency":
            rows = [{k: v for k, v in row.items() if k not in ("video_sim", "cnt_per_video")} for row in rows]
        changed[name] = official_json(name, score, rows)
    assert check_leaderboard(leaderboard_zip(changed)) == []
    fewer = {}
    for name in ("color", "temporal_flickering"):
        rows = json.loads(results[name])[name][1][:70]
        fewer[name] = official_json(name, official_score(name, rows), rows)
    assert check_leaderboard(leaderboard_zip(results | fewer)) == []


def test_totals_of_anybody_s_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards a total that counts a missing dimension as 0, and one of two runs mixed up. Closed form: scores
    at the upper bounds are 100, at the lower ones 0, whatever the weights.
    """
    from workflow.scripts.leaderboard import main

    def folder(name: str, scores: dict[str, float]) -> Path:
        (tmp_path / name).mkdir()
        for dimension, score in scores.items():
            (tmp_path / name / f"{dimension}_eval_results.json").write_text(
                json.dumps({dimension: [score, []]})
            )
        (tmp_path / name / "full_info.json").write_text("[]")
        return tmp_path / name

    quality = {d.name: d.vbench.high / 100 for d in DIMENSIONS if d.group == "quality"}
    semantic = {d.name: d.vbench.low / 100 for d in DIMENSIONS if d.group == "semantic"}
    mine = folder("mine", quality | semantic)
    with zipfile.ZipFile(tmp_path / "theirs.zip", "w") as archive:
        archive.writestr("run/results_eval_results.json", json.dumps({n: [0.5, []] for n in NAMES}))
    assert main(["--totals", str(mine), str(tmp_path / "theirs.zip")]) == 0
    said = capsys.readouterr().out
    assert re.findall(r"(total|quality|semantic) +(\S+)\n", said)[:3] == [
        ("total", "80.00"), ("quality", "100.00"), ("semantic", "0.00")
    ]  # fmt: skip
    assert "(raw 50.00)" in said
    lacking = folder("lacking", quality)
    assert main(["--totals", str(lacking)]) == 1
    assert "missing: object_class" in capsys.readouterr().err
    (mine / "again.json").write_text(json.dumps({"color": [0.25, []]}))
    assert main(["--totals", str(mine)]) == 1
    assert "color is 0.25 in again.json and 0.0 in color_eval_results.json" in capsys.readouterr().err


def test_the_command_packs_and_checks(tmp_path: Path) -> None:
    """Guards the command line that a user sends a submission with: sixteen files in, one zip out, a damaged
    one named.
    """
    from workflow.scripts.leaderboard import main

    for name, text in submission().items():
        (tmp_path / f"{name}.json").write_text(text)
    (tmp_path / "notes.json").write_text("{}")
    archive = tmp_path / "mine.zip"
    packed = [str(path) for path in sorted(tmp_path.glob("*.json"))]
    assert main(["--results", *packed, "--output", str(archive)]) == 0
    assert main(["--check", str(archive)]) == 0
    archive.write_bytes(archive.read_bytes()[:-40])
    assert main(["--check", str(archive)]) == 1


def test_a_zip_is_of_one_row_and_of_unedited_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards a submission against a score that was edited with its rows, and another row's file."""
    from workflow.scripts.leaderboard import main

    def written(row: str) -> list[str]:
        for name, text in submission().items():
            path = tmp_path / row / f"{name}.json"
            write_text(path, text)
            made = dimension_result("s", row, "color", rows_of(color_entries()), color_entries(), {}, INPUTS)
            of_this = {"dimension": name, "official_sha256": file_sha256(path)}
            write_json(path.with_suffix(".result.json"), made.model_copy(update=of_this))
        return [str(path) for path in sorted((tmp_path / row).glob("*.json"))]

    mine, other = written("mine"), written("other")
    zipped = ["--output", str(tmp_path / "x.zip"), "--results"]
    assert main([*zipped, *mine]) == 0
    assert main([*zipped, *mine[:2], *other[2:]]) == 1
    assert "The results are of 2 rows" in capsys.readouterr().err
    color, scene = tmp_path / "mine/color.json", tmp_path / "mine/scene.json"
    color.write_text(color.read_text() + "\n")
    assert main([*zipped, *mine]) == 1
    assert "color.json is not the file that color.result.json was written with" in capsys.readouterr().err
    color.write_text(submission()["color"])
    scene.with_suffix(".result.json").write_bytes(color.with_suffix(".result.json").read_bytes())
    assert main([*zipped, *mine]) == 1
    assert "scene.json is not the file that" in capsys.readouterr().err


def test_parts_of_other_files_are_not_joined() -> None:
    """Guards a mean over clips, prompts or a filter of another day."""
    compare_inputs("Part 0-of-1", INPUTS, INPUTS, "score")
    for name, said in (("prompts", "prompts"), ("manifest", "row's manifest"), ("filtered", "static filter")):
        other = INPUTS.model_copy(update={name: "1" * 64})
        with pytest.raises(ValueError, match=f"Part 0-of-1 was made from another file of the {said}.*score"):
            compare_inputs("Part 0-of-1", other, INPUTS, "score")
