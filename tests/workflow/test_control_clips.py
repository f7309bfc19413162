"""Controls made from a row's clips, from shards to scores, in the embedded world where answers are known."""

import json
from pathlib import Path

import pytest

from evaluation.clip_controls import other_prompts
from evaluation.clips import write_clip
from evaluation.files import file_sha256
from evaluation.records import (
    Clip,
    DimensionResult,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
)
from evaluation.selection import hashes_of
from evaluation.shards import samples_to_render
from evaluation.static_filter import filtered_set
from evaluation.toybox import score
from evaluation.toybox.render import render
from evaluation.toybox.suite import toybox_prompts
from workflow.planning.suite import CLIP_CONTROLS, clip_control, control_settings
from workflow.planning.suite_file import load_suite
from workflow.scripts import check, control_clips
from workflow.scripts import render as render_script

ROOT = Path(__file__).parents[2]
SUITE = load_suite(ROOT, [ROOT / "workflow/config/tiny.yaml"], {})
DIMENSIONS = ("temporal_flickering", "dynamic_degree", "imaging_quality", "color")
PROMPTS = [
    prompt.model_copy(update={"dimensions": DIMENSIONS, "samples": 1})
    for prompt in toybox_prompts(20260701)
    if prompt.id in ("move_00", "move_04", "move_08")
]


def make_row(folder: Path, row: str, num_shards: int = 1) -> list[Clip]:
    """Make and check a row of PROMPTS below `folder`; its clips."""
    write_jsonl(folder / "prompts.jsonl", PROMPTS)
    clips = folder / row
    shards = [f"{shard}-of-{num_shards}" for shard in range(num_shards)]
    prompts = ["--prompts", folder / "prompts.jsonl", "--chosen", folder / "prompts.jsonl"]
    common = ["--row", row, *prompts, "--clips", clips]
    source = clip_control(row)
    for shard in shards:
        flags = ["--shard", shard, "--settings", json.dumps(control_settings(SUITE, row)), "--code", "c"]
        flags += ["--manifest", clips / f"{shard}.m", "--timings", clips / f"{shard}.t"]
        if source is None:
            assert render_script.main([*map(str, [*common, *flags])]) == 0
        else:
            flags += ["--source", folder / source.source / "manifest.jsonl"]
            assert control_clips.main([*map(str, [*common, *flags])]) == 0
    flags = ["--clip", json.dumps(SUITE.clip.model_dump()), "--output", clips / "manifest.jsonl"]
    flags += ["--output-timings", clips / "timings.jsonl", "--allow-degenerate"]
    for kind, suffix in (("--manifests", "m"), ("--timings", "t")):
        flags += [kind, *(clips / f"{shard}.{suffix}" for shard in shards)]
    assert check.main([*map(str, [*common, *flags])]) == 0
    return read_jsonl(Clip, clips / "manifest.jsonl")


def scores(folder: Path, row: str, dimension: str) -> list[float]:
    """The row's scores, clip by clip."""
    inputs = hashes_of(folder / "prompts.jsonl", folder / row / "manifest.jsonl")
    write_json(folder / "f.json", filtered_set(row, inputs, PROMPTS, {}, 0.5))
    flags = ["--suite", "tiny", "--row", row, "--dimension", dimension, "--clips", folder / row]
    flags += ["--prompts", folder / "prompts.jsonl", "--manifest", folder / row / "manifest.jsonl"]
    flags += ["--filtered", folder / "f.json", "--output", folder / "o.json", "--result", folder / "r.json"]
    assert score.main([*map(str, flags)]) == 0
    return [clip.value for clip in read_json(DimensionResult, folder / "r.json").clips]


@pytest.mark.slow
def test_controls_have_the_scores_that_follow_from_what_they_lack(tmp_path: Path) -> None:
    """The closed forms of the embedded world: a frozen clip does not flicker or move; other captions leave
    the quality of every clip as it was, and get the colours wrong; shuffled frames are as sharp as before,
    and noise is not a sharp picture.
    """
    truth = make_row(tmp_path, "truth")
    rows = {kind: make_row(tmp_path, f"{kind}_of_truth") for kind in CLIP_CONTROLS}
    assert {clip.noise for clip in rows["noise"]} == {"control:noise"}

    def found(kind: str, dimension: str) -> list[float]:
        return scores(tmp_path, f"{kind}_of_truth", dimension)

    before = {dimension: scores(tmp_path, "truth", dimension) for dimension in DIMENSIONS}
    assert (
        min(found("frozen_first_frame", "temporal_flickering")) > 0.999 > min(before["temporal_flickering"])
    )
    assert found("frozen_first_frame", "dynamic_degree") == [0.0, 0.0, 0.0]
    assert before["dynamic_degree"] == [1.0, 1.0, 1.0]
    for dimension in ("temporal_flickering", "dynamic_degree", "imaging_quality"):
        assert sorted(found("shuffled_captions", dimension)) == sorted(before[dimension])
    assert before["color"] == pytest.approx([1.0, 1.0, 1.0], abs=0.02)
    assert max(found("shuffled_captions", "color")) < 0.05
    sharp = before["imaging_quality"]
    assert found("shuffled_frames", "imaging_quality") == pytest.approx(sharp, abs=0.03)
    assert max(found("noise", "imaging_quality")) < 0.5 < min(sharp)
    shown = other_prompts(PROMPTS)
    files = {clip.prompt_id: (tmp_path / "truth" / clip.file, clip.sha256) for clip in truth}
    for clip in rows["shuffled_captions"]:
        source, sha256 = files[shown[clip.prompt_id]]
        assert clip.sha256 == sha256
        assert (tmp_path / "shuffled_captions_of_truth" / clip.file).samefile(source), "it takes no room"


def test_a_control_is_the_same_in_any_shards_and_follows_its_source(tmp_path: Path) -> None:
    """Guards against controls that depend on how the work was divided, are made twice, or outlive the clip
    that they were made from.
    """
    row = "shuffled_frames_of_truth"
    make_row(tmp_path, "truth")
    first = make_row(tmp_path, row)
    folder = tmp_path / row
    manifest = (folder / "manifest.jsonl").read_bytes()
    times = {clip.file: (folder / clip.file).stat().st_mtime_ns for clip in first}
    assert make_row(tmp_path, row, num_shards=2) == first
    assert (folder / "manifest.jsonl").read_bytes() == manifest
    assert {file: (folder / file).stat().st_mtime_ns for file in times} == times, "none is made twice"
    changed = tmp_path / "truth/mp4/move_04-0.mp4"
    frames = render(PROMPTS[0].facts, 7).repeat(4, axis=1).repeat(4, axis=2)
    write_clip(changed, frames, fps=16)
    listed = [
        clip.model_copy(update={"sha256": file_sha256(changed)}) if clip.prompt_id == "move_04" else clip
        for clip in read_jsonl(Clip, tmp_path / "truth/manifest.jsonl")
    ]
    write_jsonl(tmp_path / "truth/manifest.jsonl", listed)
    make_row(tmp_path, row)
    assert [file for file in times if (folder / file).stat().st_mtime_ns != times[file]] == [
        "mp4/move_04-0.mp4"
    ]
    write_jsonl(tmp_path / "truth/manifest.jsonl", listed[1:])
    with pytest.raises(ValueError, match="lacks 1 of 3 clips"):
        control_clips.sources("noise", PROMPTS, samples_to_render(PROMPTS), tmp_path / "truth/manifest.jsonl")
