"""Sampling and rendering: shards, resuming, and what is skipped."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evaluation.clips import ClipShape, write_clip
from evaluation.files import file_sha256
from evaluation.records import Clip, ClipTiming, FilteredSet, Prompt, read_json, read_jsonl, write_jsonl
from evaluation.shards import Batch
from evaluation.toybox import score
from evaluation.toybox.suite import toybox_prompts
from tests.workflow.embedded import write_embedded
from workflow.fetching.checksums import verified_sha256
from workflow.planning.suite import control_settings, sampling_settings
from workflow.planning.suite_file import load_suite
from workflow.sampling.load import LoadMeter
from workflow.sampling.setup import tracked_baseline
from workflow.sampling.shard import BatchPieces, Cost, Piece, ShardJob, make_shard
from workflow.scripts import check, filter, render, sample

ROOT = Path(__file__).parents[2]
SUITE = load_suite(
    ROOT,
    [ROOT / "workflow/config/tiny.yaml"],
    {"sample": {"batch": 2, "shards": 1, "noise": "portable", "precision": "float32"}},
)
PICKED = ("move_00", "still_00", "move_01", "still_01")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedded")
    write_embedded(folder, ("self_forcing",))
    return folder


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    """Four prompts, seven clips: an odd number, so that the last batch of two is padded."""
    known = {prompt.id: prompt for prompt in toybox_prompts(0)}
    counts = {"still_00": (3, 1), "still_01": (2, None)}
    return [
        known[name].model_copy(
            update=dict(zip(("samples", "keep"), counts.get(name, (1, None)), strict=True))
        )
        for name in PICKED
    ]


def call(monkeypatch: pytest.MonkeyPatch, main: Callable[[], Any], *arguments: object) -> Any:
    monkeypatch.setattr("sys.argv", ["script", *map(str, arguments)])
    return main()


def run_row(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    embedded: Path | None,
    prompts: Sequence[Prompt],
    num_shards: int,
) -> list[Clip]:
    """Sample (or, without model files, render) a row in `num_shards` shards and check it."""
    from baselines.spec import load_baseline

    write_jsonl(folder / "prompts.jsonl", prompts)
    row = "self_forcing" if embedded else "truth"
    baseline = ROOT / "baselines/self_forcing.yaml"
    names = [f"{shard}-of-{num_shards}" for shard in range(num_shards)]
    for name in names:
        flags: dict[str, object] = {
            "row": row,
            "shard": name,
            "prompts": folder / "prompts.jsonl",
            "chosen": folder / "prompts.jsonl",
            "code": "c",
        }
        flags |= {"clips": folder, "manifest": folder / f"{name}.m", "timings": folder / f"{name}.t"}
        settings = control_settings(SUITE, row)
        if embedded:
            settings = sampling_settings(SUITE, load_baseline(baseline))
            flags |= {part: embedded / f"{part}.safetensors" for part in ("codec", "text")}
            flags |= {"weights": embedded / "self_forcing.safetensors", "embeddings": folder / "embeddings"}
            flags |= {"baseline": baseline, "noise": "portable", "device": "cpu"}
        flags |= {"settings": json.dumps(settings)}
        words = [str(word) for flag, value in flags.items() for word in (f"--{flag}", value)]
        assert call(monkeypatch, sample.main if embedded else render.main, *words) == 0
    assert check_row(monkeypatch, folder, row, names) == 0
    return read_jsonl(Clip, folder / "manifest.jsonl")


def check_row(monkeypatch: pytest.MonkeyPatch, folder: Path, row: str, shards: Sequence[str]) -> Any:
    """The exit code of `check` on the shards of a row."""
    inputs = ["--row", row, "--prompts", folder / "prompts.jsonl", "--clips", folder]
    inputs += ["--chosen", folder / "prompts.jsonl", "--clip", json.dumps(SUITE.clip.model_dump())]
    inputs += ["--manifests", *(folder / f"{name}.m" for name in shards)]
    inputs += ["--timings", *(folder / f"{name}.t" for name in shards)]
    outputs = ["--output", folder / "manifest.jsonl", "--output-timings", folder / "timings.jsonl"]
    return call(monkeypatch, check.main, *inputs, *outputs)


@pytest.mark.slow
def test_1_3_and_7_shards_give_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, embedded: Path, prompts: list[Prompt]
) -> None:
    """Guards against clips that depend on how the work was divided: latents, mp4, manifest, filter and scores
    agree to the byte.
    """
    torch.set_num_threads(1)
    outcomes = {}
    for num_shards in (1, 3, 7):
        folder = tmp_path / str(num_shards)
        clips = run_row(monkeypatch, folder, embedded, prompts, num_shards)
        assert len({clip.latents_sha256 for clip in clips}) == len(clips) == 7
        arguments = [
            "--row",
            "self_forcing",
            "--prompts",
            folder / "prompts.jsonl",
            "--manifest",
            folder / "manifest.jsonl",
            "--clips",
            folder,
        ]
        call(monkeypatch, filter.main, *arguments, "--output", folder / "filter.json")
        scoring = [
            *arguments,
            "--filtered",
            folder / "filter.json",
            "--suite",
            "tiny",
            "--output",
            folder / "o.json",
        ]
        scoring += ["--dimension", "color", "--result", folder / "r.json"]
        assert score.main([*map(str, scoring)]) == 0
        outcomes[num_shards] = [
            (folder / name).read_bytes() for name in ("manifest.jsonl", "filter.json", "o.json", "r.json")
        ]
    assert outcomes[1] == outcomes[3] == outcomes[7]


def truth_job(folder: Path, prompts: Sequence[Prompt], **changes: Any) -> ShardJob:
    """The one shard of the control row `truth`, rendered into `folder`."""
    facts: dict[str, Any] = {"settings": {}, "depends_on": {}} | changes
    shape = ClipShape(**SUITE.clip.model_dump())
    return ShardJob(
        row="truth",
        shard="0-of-1",
        prompts=prompts,
        folder=folder,
        shape=shape,
        batch_size=2,
        noise="rendered",
        weights_sha256=None,
        whole_list=False,
        device="cpu",
        **facts,
    )


def test_an_interrupted_shard_goes_on_with_the_clips_it_has(tmp_path: Path, prompts: list[Prompt]) -> None:
    """Guards against starting over after a kill, against trusting a half-written journal line, and against
    stale clips.
    """
    made: list[str] = []

    def job(code: str = "c", changed: Sequence[Prompt] = prompts) -> ShardJob:
        return truth_job(tmp_path, changed, settings={"a": 1}, depends_on={"code": code})

    def make(batch: Any) -> BatchPieces:
        made.extend(s.clip_id for s in batch.wanted)
        if interrupted and len(made) == 4:
            raise KeyboardInterrupt
        return render.render_batch("truth", prompts, batch)

    interrupted = True
    with pytest.raises(KeyboardInterrupt):
        make_shard(job(), make)
    interrupted = False
    with (tmp_path / "journal/0-of-1.jsonl").open("a") as stream:
        stream.write('{"key": "torn')
    made.clear()
    entries = make_shard(job(), make)
    assert len(entries) == 7
    assert made == ["still_00-1", "still_00-2", "move_01-0", "still_01-0", "still_01-1"]
    made.clear()
    assert make_shard(job(), make) == entries
    assert made == []
    (tmp_path / entries[3].clip.file).write_bytes(b"damaged")
    assert make_shard(job(), make)[3].clip == entries[3].clip
    assert made == ["still_00-1", "still_00-2"], "the whole batch of the damaged clip is made again"
    made.clear()
    edited = [
        prompt.model_copy(update={"extended": "x"}) if prompt.id == "move_01" else prompt
        for prompt in prompts
    ]
    make_shard(job(changed=edited), make)
    assert made == ["move_01-0", "still_01-0"], "an edited prompt remakes its own batch only"
    made.clear()
    make_shard(job(code="new", changed=edited), make)
    assert len(made) == 7, "other code remakes every clip"


def test_batches_started_ahead_change_nothing(tmp_path: Path, prompts: list[Prompt]) -> None:
    """Guards against clips written under another's name, entries out of order, more batches ahead than
    allowed, and finished
    clips that are lost when a later batch fails: that is what keeps a GPU busy (job.ahead).
    """
    started: list[int] = []
    waited: list[int] = []

    def job(folder: str, ahead: int) -> ShardJob:
        return truth_job(tmp_path / folder, prompts, ahead=ahead)

    def start(batch: Batch) -> BatchPieces:
        number = len(started)
        started.append(number)
        if number == failing:
            raise RuntimeError("out of memory")
        assert number - len(waited) <= 3, "two batches wait while a third is started"

        def wait(made: Piece | Cost) -> Piece | Cost:
            if isinstance(made, Cost):
                waited.append(number)
            return made

        return (partial(wait, piece()) for piece in render.render_batch("truth", prompts, batch))

    failing = None
    alone = make_shard(job("alone", 0), start)
    assert waited == [0, 1, 2, 3]
    started.clear()
    waited.clear()
    ahead = make_shard(job("ahead", 2), start)
    assert [entry.clip for entry in ahead] == [entry.clip for entry in alone]
    started.clear()
    waited.clear()
    failing = 3
    with pytest.raises(RuntimeError, match="out of memory"):
        make_shard(job("failed", 2), start)
    lines = (tmp_path / "failed/journal/0-of-1.jsonl").read_text().splitlines()
    assert [json.loads(line)["clip"]["clip_id"] for line in lines] == [e.clip.clip_id for e in alone[:6]]


def test_check_names_every_fault_and_deletes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, prompts: list[Prompt], capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against a missing, damaged, swapped or doubled clip that is scored, or that takes its neighbours
    with it.
    """
    clips = run_row(monkeypatch, tmp_path, None, prompts, 1)
    expected = [clip.clip_id for clip in clips]
    shape = ClipShape(**SUITE.clip.model_dump())
    (tmp_path / clips[0].file).unlink()
    (tmp_path / clips[1].file).write_bytes((tmp_path / clips[1].file).read_bytes()[:-500])
    (tmp_path / clips[3].file).write_bytes((tmp_path / clips[2].file).read_bytes())
    doubled = clips[3].model_copy(update={"sha256": clips[2].sha256})
    listed = [*clips[:3], doubled, *clips[4:6]]
    before = sorted(path.name for path in (tmp_path / "mp4").iterdir())
    faults = check.wrong_clips("truth", tmp_path, listed, expected, shape)
    text = "\n".join(faults)
    assert len(faults) == 4, text
    assert f"{clips[0].clip_id} of row truth is not there ({tmp_path / clips[0].file})" in text
    assert f"{clips[1].clip_id} of row truth is not the file that was sampled" in text
    assert f"{doubled.clip_id} of row truth shows the same frames as {clips[2].clip_id}" in text
    assert f"{clips[6].clip_id} of row truth is missing from the shards' manifests" in text
    assert sorted(path.name for path in (tmp_path / "mp4").iterdir()) == before
    (tmp_path / "manifest.jsonl").unlink()
    assert check_row(monkeypatch, tmp_path, "truth", ["0-of-1"]) == 1
    assert not (tmp_path / "manifest.jsonl").exists()
    assert "delete the files named" in capsys.readouterr().err


CONTRADICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "frames": (
        {"pixel_frames": 80},
        "is listed as 80 frames of 128x128 at 16 per second, the suite",
    ),
    "rate": ({"fps": 8}, "is listed as 81 frames of 128x128 at 8 per second"),
    "width": ({"width": 64}, "is listed as 81 frames of 64x128"),
    "settings": ({"settings_sha256": "1" * 64}, "has settings_sha256 1111.*, expected .* as the others"),
    "weights": ({"weights_sha256": "1" * 64}, "has weights_sha256 1111.*, expected None as the others"),
    "noise": ({"noise": "portable:other"}, "has noise portable:other, expected rendered as the others"),
    "batch": ({"batch_size": 9}, "has batch_size 9, expected"),
    "latents": ({"latents_sha256": "1" * 64}, "clips with latents and clips without"),
    "row": ({"row": "other"}, "is of row other, not of row truth"),
    "content": ({"sha256": "1" * 64}, "is not the file that was sampled"),
}


def test_a_manifest_that_contradicts_itself_or_the_suite_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, prompts: list[Prompt], capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against clips of other settings, weights or shapes that are scored as the row's own, and against
    seconds of other clips.
    """
    clips = run_row(monkeypatch, tmp_path, None, prompts, 1)[:3]
    expected, shape = [clip.clip_id for clip in clips], ClipShape(**SUITE.clip.model_dump())
    assert check.wrong_clips("truth", tmp_path, clips, expected, shape) == []
    for name, (change, said) in CONTRADICTIONS.items():
        listed = [*clips[:2], clips[2].model_copy(update=change)]
        found = "\n".join(check.wrong_clips("truth", tmp_path, listed, expected, shape))
        assert re.search(said, found), f"{name}: {found}"
        assert clips[2].clip_id in found or name == "latents"
    whole = read_jsonl(ClipTiming, tmp_path / "0-of-1.t")
    for timings in (
        whole[1:],
        [],
        [*whole, whole[0]],
        [whole[0].model_copy(update={"row": "x"}), *whole[1:]],
    ):
        write_jsonl(tmp_path / "0-of-1.t", timings)
        assert check_row(monkeypatch, tmp_path, "truth", ["0-of-1"]) == 1
        assert f"The timings of row truth are {len(timings)}, of its clips" in capsys.readouterr().err


def test_clips_without_a_picture_are_named_and_stop_the_row_unless_allowed(
    tmp_path: Path, prompts: list[Prompt]
) -> None:
    """Guards against a method that went black or drowned in noise and has a score like any other."""
    shape = ClipShape(pixel_frames=5, height=32, width=32, fps=16)
    draw = np.random.default_rng(0)
    black = np.zeros((5, 32, 32, 3), np.uint8)
    black[:, :4] = 6
    frames = [black, draw.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8), 10 * black]
    clips = []
    for prompt, made in zip(prompts, frames, strict=False):
        write_clip(tmp_path / f"mp4/{prompt.id}-0.mp4", made, fps=16)
        facts = {"clip_id": f"{prompt.id}-0", "prompt_id": prompt.id, "file": f"mp4/{prompt.id}-0.mp4"}
        facts |= {"sha256": file_sha256(tmp_path / facts["file"]), "row": "x", "sample": 0, "batch_size": 1}
        facts |= dict.fromkeys(("latents_sha256", "weights_sha256"), None) | dataclasses.asdict(shape)
        clips.append(Clip.model_validate(facts | {"noise": "unknown", "settings_sha256": "0" * 64}))
    expected = [clip.clip_id for clip in clips]
    dark, noise = check.wrong_clips("x", tmp_path, clips, expected, shape)
    assert "Clip move_00-0 of row x (prompt move_00, sample 0) is near-black" in dark
    assert "Clip still_00-0 of row x (prompt still_00, sample 0) is noise in space" in noise
    assert check.wrong_clips("x", tmp_path, clips, expected, shape, allow_degenerate=True) == []


def test_the_filter_records_every_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, prompts: list[Prompt]
) -> None:
    run_row(monkeypatch, tmp_path, None, prompts, 1)
    arguments = [
        "--row",
        "truth",
        "--prompts",
        tmp_path / "prompts.jsonl",
        "--manifest",
        tmp_path / "manifest.jsonl",
    ]
    call(monkeypatch, filter.main, *arguments, "--clips", tmp_path, "--output", tmp_path / "f.json")
    outcome = read_json(FilteredSet, tmp_path / "f.json")
    assert [(entry.prompt_id, len(entry.motion), entry.kept) for entry in outcome.filtered] == [
        ("still_00", 3, (0,))
    ]
    assert set(outcome.kept) == set(PICKED)


def test_weights_must_be_the_described_bytes(embedded: Path, tmp_path: Path) -> None:
    """Guards against sampling with a file that was swapped after it was measured."""
    for suffix in ("safetensors", "json"):
        (tmp_path / f"w.{suffix}").write_bytes((embedded / f"self_forcing.{suffix}").read_bytes())
    verified_sha256(tmp_path / "w.safetensors", {})
    with (tmp_path / "w.safetensors").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ValueError, match="restore or remake"):
        verified_sha256(tmp_path / "w.safetensors", {})


def test_an_edited_baseline_is_noticed() -> None:
    from baselines.spec import load_baseline

    settings = sampling_settings(SUITE, load_baseline(ROOT / "baselines/longlive.yaml"))
    settings["cache"]["window"] = 6
    with pytest.raises(ValueError, match="changed in cache"):
        tracked_baseline(ROOT / "baselines/longlive.yaml", settings)


def test_the_load_beside_a_batch_is_measured(tmp_path: Path) -> None:
    """A busy neighbour and another job of ours are seen, own work is not counted as a neighbour's."""
    meter = LoadMeter()
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    own = meter.read(clips=2)
    assert own.cpu_s == pytest.approx(0.15, abs=0.02)
    spin = "import sys, time\nprint(flush=True)\nwhile True: pass"
    command = [sys.executable, "-c", spin, "workflow.scripts.sample"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as job:
        assert job.stdout is not None
        job.stdout.readline()
        meter = LoadMeter()
        time.sleep(0.4)
        found = meter.read(clips=1)
        job.kill()
    assert found.jobs >= 1
    assert found.others > 0.5 / (os.cpu_count() or 1)
    assert not found.alone
