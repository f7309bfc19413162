"""Replays: a clip sampled again is found equal, a tampered one is found, other devices are not blamed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.spec import load_baseline
from evaluation.clip_reader import read_clip
from evaluation.clips import write_clip
from evaluation.files import file_sha256
from evaluation.records import Clip, ClipTiming, Prompt, read_json, read_jsonl, write_jsonl
from evaluation.shards import samples_to_render
from reports.replay import Replay, ReplayedClip, ReplayedRow
from tests.workflow.test_sampling import PICKED, ROOT, SUITE, run_row
from workflow.planning.suite import sampling_settings
from workflow.sampling.replay import difference
from workflow.sampling.shard import spread_out
from workflow.scripts import replay, sample


def known_prompts() -> list[Prompt]:
    """Three prompts, six clips: with batches of two the last clip shares its batch with one that is not
    replayed.
    """
    from evaluation.toybox.suite import toybox_prompts

    known = {prompt.id: prompt for prompt in toybox_prompts(0)}
    return [known[name].model_copy(update={"samples": 2, "keep": None}) for name in PICKED[:3]]


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Model files, and a finished row."""
    from tests.workflow.embedded import write_embedded

    torch.set_num_threads(1)
    embedded, folder = tmp_path_factory.mktemp("embedded"), tmp_path_factory.mktemp("row")
    write_embedded(embedded, ("self_forcing",))
    with pytest.MonkeyPatch.context() as patch:
        run_row(patch, folder, embedded, known_prompts(), 1)
    return embedded, folder


def replayed(embedded: Path, folder: Path, results: Path) -> int:
    """The two commands of the rules, for the finished row in `folder`; the exit code of the second."""
    baseline = ROOT / "baselines/self_forcing.yaml"
    again = results / "replay/self_forcing"
    flags = {
        "row": "self_forcing",
        "shard": "0-of-1",
        "spread": 5,
        "prompts": folder / "prompts.jsonl",
        "chosen": folder / "prompts.jsonl",
        "settings": json.dumps(sampling_settings(SUITE, load_baseline(baseline))),
        "code": "c",
        "baseline": baseline,
        "weights": embedded / "self_forcing.safetensors",
        "codec": embedded / "codec.safetensors",
        "text": embedded / "text.safetensors",
        "embeddings": folder / "e",
        "noise": "portable",
        "device": "cpu",
        "clips": again,
        "manifest": again / "manifest.jsonl",
        "timings": again / "timings.jsonl",
    }
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    assert sample.main(words) == 0
    return replay.main(["--suite", "tiny", "--results", str(results), "--rows", "self_forcing"])


@pytest.mark.slow
def test_a_replay_is_bit_equal_and_finds_tampered_clips(
    sampled: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One row through every outcome: untouched; a file changed; a file and its manifest changed; the same
    from another device.
    """
    embedded, folder = sampled
    output = tmp_path / "replay.json"
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/self_forcing").symlink_to(folder)
    assert replayed(embedded, folder, tmp_path) == 0
    (row,) = read_json(Replay, output).rows
    assert [clip.outcome for clip in row.clips] == ["bit-equal"] * 5
    assert row.verdict == "bit-equal on the same type of device, cpu"
    assert list((tmp_path / "replay").iterdir()) == []

    manifest, timings = folder / "manifest.jsonl", folder / "timings.jsonl"
    clips = read_jsonl(Clip, manifest)
    path = folder / clips[0].file
    frames, fps = read_clip(path)
    frames = frames.copy()
    frames[40, :64] = 255 - frames[40, :64]
    write_clip(path, frames, fps=round(fps))
    assert replayed(embedded, folder, tmp_path) == 1
    outcomes = {clip.clip_id: clip.outcome for clip in read_json(Replay, output).rows[0].clips}
    assert outcomes.pop(clips[0].clip_id) == "changed file"
    assert set(outcomes.values()) == {"bit-equal"}

    forged = clips[0].model_copy(update={"sha256": file_sha256(path)})
    write_jsonl(manifest, [forged, *clips[1:]])
    assert replayed(embedded, folder, tmp_path) == 1
    found = read_json(Replay, output).rows[0].clips[0]
    assert found.outcome == "differs"
    assert found.max_difference is not None and found.max_difference > 50

    other = [t.model_copy(update={"device": "NVIDIA H100"}) for t in read_jsonl(ClipTiming, timings)]
    write_jsonl(timings, other)
    assert replayed(embedded, folder, tmp_path) == 0
    assert read_json(Replay, output).rows[0].verdict == "differs on another type of device"

    write_jsonl(manifest, [clip.model_copy(update={"settings_sha256": "0" * 64}) for clip in clips])
    capsys.readouterr()
    assert replayed(embedded, folder, tmp_path) == 1
    assert "was made with another settings than the suite has now" in capsys.readouterr().err
    assert list((tmp_path / "replay").iterdir()) == []
    manifest.unlink()
    assert replayed(embedded, folder, tmp_path) == 1
    assert "manifest.jsonl does not exist; run the suite first, then replay it." in capsys.readouterr().err


def test_chosen_clips_are_spread_over_the_list() -> None:
    """First and last are among them, none twice; a short list is taken whole."""
    samples = samples_to_render(known_prompts())
    chosen = spread_out(samples, 5)
    assert [samples.index(sample) for sample in chosen] == [0, 1, 2, 3, 5]
    assert spread_out(samples[:3], 5) == samples[:3]


def test_difference_in_closed_form() -> None:
    """One channel of one pixel off by 10 among 300 values: PSNR is 10 log10(255^2 * 300 / 100)."""
    one = np.full((1, 10, 10, 3), 7, np.uint8)
    other = one.copy()
    other[0, 0, 0, 0] = 17
    gap, psnr = difference(one, other)
    assert gap == 10
    assert psnr == pytest.approx(10 * np.log10(255**2 * 300 / 100))
    assert difference(other, one) == (gap, psnr)
    with pytest.raises(ValueError, match="cannot be compared"):
        difference(one, one[:, :5])


def test_only_the_same_device_or_a_changed_file_fails() -> None:
    """Closed form over all outcomes and both kinds of device; the verdict names the worst clip."""

    def clip(outcome: str, device: str) -> ReplayedClip:
        devices = {"device_then": "A", "device_now": device}
        values = {"outcome": outcome, "max_difference": None, "psnr_db": None}
        return ReplayedClip.model_validate({"clip_id": "a-0", **devices, **values})

    outcomes = ("bit-equal", "same pictures", "differs", "changed file")
    assert [clip(outcome, "A").failed for outcome in outcomes] == [False, False, True, True]
    assert [clip(outcome, "B").failed for outcome in outcomes] == [False, False, False, True]
    row = ReplayedRow(
        row="a", manifest_sha256="0" * 64, commit_then="c", commit_now="c", software_then={}, software_now={},
        clips=(clip("bit-equal", "A"), clip("same pictures", "A")),
    )  # fmt: skip
    assert row.verdict == "same pictures on the same type of device, A"
