"""The toybox scorers against the control rows, measured through a real mp4, and their command line."""

import argparse
import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest

from evaluation.chunks import bin_means, curve_bins
from evaluation.clip_reader import read_clip
from evaluation.clips import upscale, write_clip
from evaluation.dimensions import NAMES
from evaluation.files import file_sha256
from evaluation.records import Clip, DimensionResult, Prompt, read_json, read_jsonl, write_json, write_jsonl
from evaluation.selection import hashes_of
from evaluation.static_filter import Judgement, filtered_set
from evaluation.toybox.controls import control_frames
from evaluation.toybox.facts import ACTIONS, CAMERAS, make_facts, sample_facts
from evaluation.toybox.perception import FrameScores
from evaluation.toybox.render import Frames, render
from evaluation.toybox.score import STAND_INS, WindowScorers, checked, flags_parser, main, score_row, shrink
from evaluation.toybox.scorers import color, human_action, temporal_style
from evaluation.toybox.suite import toybox_prompts

PROMPTS = toybox_prompts(0)
SCORERS: dict[str, ModuleType] = {
    name: importlib.import_module(f"evaluation.toybox.scorers.{name}") for name in NAMES
}


class Bars(NamedTuple):
    """What the control rows must reach on a dimension."""

    floor: float
    """The controls named below score under this."""
    ceiling: float
    """Rendered truth scores at least this."""
    floor_controls: tuple[str, ...]


BARS: dict[str, Bars] = {
    "aesthetic_quality": Bars(0.3, 0.9, ("noise",)),
    "appearance_style": Bars(0.2, 0.99, ("noise", "truth_shuffled_captions")),
    "background_consistency": Bars(0.2, 0.95, ("noise",)),
    "color": Bars(0.2, 0.99, ("noise", "truth_shuffled_captions")),
    "dynamic_degree": Bars(0.2, 0.95, ("noise", "frozen_first_frame")),
    "human_action": Bars(0.2, 0.99, ("noise", "truth_shuffled_captions")),
    "imaging_quality": Bars(0.2, 0.95, ("noise",)),
    "motion_smoothness": Bars(0.2, 0.95, ("noise", "truth_shuffled_captions", "shuffled_frames")),
    "multiple_objects": Bars(0.2, 0.99, ("noise", "truth_shuffled_captions")),
    "object_class": Bars(0.2, 0.99, ("noise", "truth_shuffled_captions")),
    "overall_consistency": Bars(0.2, 0.95, ("noise", "truth_shuffled_captions")),
    "scene": Bars(0.2, 0.99, ("noise", "truth_shuffled_captions")),
    "spatial_relationship": Bars(0.2, 0.99, ("noise", "truth_shuffled_captions")),
    "subject_consistency": Bars(0.2, 0.95, ("noise", "truth_shuffled_captions")),
    "temporal_flickering": Bars(0.8, 0.95, ("noise",)),
    "temporal_style": Bars(0.2, 0.95, ("noise", "truth_shuffled_captions")),
}
AT_LEAST_99 = {
    "color",
    "object_class",
    "multiple_objects",
    "spatial_relationship",
    "scene",
    "appearance_style",
    "human_action",
}


class Probe(NamedTuple):
    """A prompt and the frames a scorer would read from its mp4."""

    prompt: Prompt
    frames: Frames


def through_mp4(frames: Frames, folder: Path) -> Frames:
    """Enlarge, encode, decode and average down: what the pipeline does to every clip."""
    path = folder / "clip.mp4"
    write_clip(path, upscale(frames, height=128, width=128), fps=16)
    return np.stack([shrink(frame, "clip") for frame in read_clip(path).frames])


def probes(row: str, folder: Path, step: int) -> list[Probe]:
    """Every step-th prompt of the suite as the control row shows it."""
    chosen = PROMPTS[::step]
    return [Probe(p, through_mp4(control_frames(row, PROMPTS, p, 0), folder)) for p in chosen]


def means(shown: list[Probe]) -> dict[str, float]:
    """Mean score per dimension over the prompts that list it."""
    scores: dict[str, list[float]] = {}
    for prompt, frames in shown:
        for name in prompt.dimensions:
            scores.setdefault(name, []).append(SCORERS[name].score(frames, prompt.facts).value)
    return {name: float(np.mean(values)) for name, values in scores.items()}


def test_every_dimension_has_a_scorer_and_bars() -> None:
    """Guards the contract of the rule files: one module a dimension, and the bars of the tests below."""
    assert STAND_INS == ("aesthetic_quality",)
    assert set(BARS) == set(NAMES)
    for bars in BARS.values():
        assert 0 <= bars.floor < bars.ceiling <= 1
        assert "noise" in bars.floor_controls


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_rendered_truth_reaches_the_bars(step: int, tmp_path: Path) -> None:
    """Truth scores at least 0.99 on the exact semantic dimensions, 0.95 on the other exact ones."""
    found = means(probes("truth", tmp_path, step))
    assert set(found) == set(NAMES)
    for name, mean in found.items():
        bar = 0.99 if name in AT_LEAST_99 else 0.95 if name not in STAND_INS else 0.9
        assert mean >= max(bar, BARS[name].ceiling), (name, mean)


@pytest.mark.parametrize("row", ["noise", "truth_shuffled_captions", "shuffled_frames", "frozen_first_frame"])
@pytest.mark.slow
def test_controls_stay_under_the_floor_of_every_dimension_that_names_them(row: str, tmp_path: Path) -> None:
    """Noise and shuffled controls score below a threshold per dimension, written beside each scorer."""
    found = means(probes(row, tmp_path, 12 if row == "noise" else 7))
    judged = [name for name in found if row in BARS[name].floor_controls]
    for name in judged:
        assert found[name] < BARS[name].floor, (name, found[name])
    assert judged
    if row == "noise":
        assert set(judged) == set(NAMES)
    if row == "frozen_first_frame":
        assert found["subject_consistency"] > 0.98
        assert found["background_consistency"] > 0.98
        assert found["dynamic_degree"] == found["human_action"] == found["temporal_style"] == 0.0
    if row == "shuffled_frames":
        assert found["motion_smoothness"] < 0.1
        assert found["human_action"] < 0.7


def _codec(clips: list[Frames]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and first 16 directions of 4 x 4 pixel x 4 frame patches: about what models/codec.py keeps."""
    patches = np.concatenate([_patches(clip.astype(np.float32))[::3] for clip in clips])
    mean = patches.mean(0)
    return mean, np.linalg.eigh(np.cov((patches - mean).T))[1][:, -16:].astype(np.float32)


def _patches(clip: np.ndarray) -> np.ndarray:
    split = clip[1:].reshape(20, 4, 8, 4, 8, 4, 3)
    return split.transpose(0, 2, 4, 1, 3, 5, 6).reshape(-1, 192)


@pytest.mark.slow
def test_truth_survives_a_lossy_codec(tmp_path: Path) -> None:
    """Guards against checkers that only read perfect pixels: 16-component PCA and 6 levels of noise (under 30
    dB).

    Colour, object class and scene must keep 0.95, since every model's clips come through such a codec.
    """
    rng = np.random.default_rng(0)
    mean, basis = _codec([render(sample_facts(rng), i) for i in range(12)])
    shown, errors = [], []
    for prompt in [p for p in PROMPTS if "color" in p.dimensions][::2]:
        frames = render(prompt.facts, 0)
        kept = (_patches(frames.astype(np.float32)) - mean) @ basis @ basis.T + mean
        back = kept.reshape(20, 8, 8, 4, 4, 4, 3).transpose(0, 3, 1, 4, 2, 5, 6).reshape(80, 32, 32, 3)
        lossy = np.concatenate([frames[:1].astype(np.float32), back])
        lossy = np.clip(lossy + rng.normal(0, 6, lossy.shape), 0, 255).astype(np.uint8)
        errors.append(float(np.square(lossy.astype(float) - frames).mean()))
        shown.append(Probe(prompt, through_mp4(lossy, tmp_path)))
    assert 24 < 10 * np.log10(255**2 / np.mean(errors)) < 30
    found = means(shown)
    assert min(found[name] for name in ("color", "object_class", "scene")) >= 0.95
    assert found["motion_smoothness"] > 0.85
    assert found["dynamic_degree"] == 1.0


def test_shrink_averages_and_rounds_to_nearest() -> None:
    """Naive reference in whole numbers: the mean of every block, halves up, whatever float32 makes of it."""
    for step in (1, 2, 3, 4, 6, 12):
        side = 32 * step
        frame = np.random.default_rng(step).integers(0, 256, (side, side, 3), dtype=np.uint8)
        total = frame.reshape(32, step, 32, step, 3).sum((1, 3), dtype=np.int64)
        assert np.array_equal(shrink(frame, "x-0"), (total + step * step // 2) // (step * step))
        assert shrink(np.full_like(frame, 255), "x-0").min() == 255


def test_flicker_is_the_official_formula() -> None:
    """Closed form: alternating between two greys a apart must score 1 - a / 255."""
    frames = np.zeros((81, 32, 32, 3), np.uint8)
    frames[1::2] = 51
    assert SCORERS["temporal_flickering"].score(frames, PROMPTS[0].facts).value == pytest.approx(0.8)


def test_one_wrong_fact_fails_the_dimension_that_asks_for_it() -> None:
    """Guards against a scorer that passes on something else than its fact: each clip differs in that fact
    alone.
    """
    move = make_facts([("red", "circle")], "meadow", motion="left")
    pair = make_facts([("red", "circle"), ("blue", "square")], "stone", relation="left")
    person = make_facts([("cyan", "person")], "night", action="wave")
    pan = make_facts([("red", "circle")], "desert", camera="pan_left")
    style = make_facts([("red", "circle")], "desert", style="sepia")
    wrong = [
        ("color", move, {"objects": [{"color": "magenta", "shape": "circle"}]}),
        ("object_class", move, {"objects": [{"color": "red", "shape": "square"}]}),
        ("scene", move, {"scene": "stone"}),
        ("multiple_objects", pair, {"objects": [pair["objects"][0], {"color": "blue", "shape": "cross"}]}),
        ("spatial_relationship", pair, {"relation": "above"}),
        ("human_action", person, {"action": "jump"}),
        ("temporal_style", pan, {"camera": "pan_right"}),
        ("appearance_style", style, {"style": "natural"}),
    ]
    for name, facts, change in wrong:
        assert SCORERS[name].score(render(facts, 0), facts).value == 1.0, name
        assert SCORERS[name].score(render(facts | change, 0), facts).value == 0.0, name


def test_no_held_pose_or_view_passes_for_an_action_or_a_camera_move() -> None:
    """Guards against scorers that judge single frames: every action and move scores 1, its frozen first frame
    0.
    """
    clips = [("human_action", make_facts([("red", "person")], "night", action=action)) for action in ACTIONS]
    clips += [
        ("temporal_style", make_facts([("red", "cross")], "stone", camera=camera)) for camera in CAMERAS[1:]
    ]
    for name, facts in clips:
        for variation in (0, 1):
            frames = render(facts, variation)
            assert SCORERS[name].score(frames, facts).value == 1.0, facts
            assert SCORERS[name].score(np.repeat(frames[:1], 81, axis=0), facts).value == 0.0, facts


def test_graded_rewards_order_clips_by_how_wrong_they_are() -> None:
    """Guards the reward of CM-GRPO: half the wrong colour earns between nothing and all."""
    facts = make_facts([("red", "circle")], "meadow", motion="left")
    right, other = render(facts, 0), render(facts | {"objects": [{"color": "blue", "shape": "circle"}]}, 0)
    half = np.concatenate([right[:40], other[40:]])
    rewards = [color.soft(frames, facts) for frames in (other, half, right)]
    assert rewards[0] < 0.1 < 0.4 < rewards[1] < 0.6 < 0.95 < rewards[2]
    person = make_facts([("red", "person")], "meadow", action="bow")
    assert human_action.soft(render(person, 0), person) > human_action.soft(right, person)
    pan = make_facts([("red", "circle")], "meadow", camera="zoom_in")
    assert temporal_style.soft(render(pan, 0), pan) > temporal_style.soft(right, pan)


class Row(NamedTuple):
    """Files of one small row."""

    flags: list[str]
    clips: Path
    manifest: Path
    output: Path
    result: Path


@pytest.fixture
def row(tmp_path: Path) -> Row:
    """Two prompts with two samples each, of which one prompt keeps a single sample, as files."""
    prompts = [p for p in PROMPTS if "dynamic_degree" in p.dimensions][:2] + PROMPTS[:1]
    prompts = [
        prompt.model_copy(update={"samples": 2, "keep": 1 if n == 1 else None})
        for n, prompt in enumerate(prompts)
    ]
    clips = []
    for prompt in prompts:
        for sample in range(2):
            name = f"{prompt.id}-{sample}"
            frames = (
                render(prompt.facts, sample)
                if sample == 0
                else np.repeat(render(prompt.facts, 1)[:1], 81, axis=0)
            )
            write_clip(tmp_path / "mp4" / f"{name}.mp4", upscale(frames, height=128, width=128), fps=16)
            clips.append(
                Clip(
                    clip_id=name,
                    row="truth",
                    prompt_id=prompt.id,
                    sample=sample,
                    file=f"mp4/{name}.mp4",
                    sha256=file_sha256(tmp_path / "mp4" / f"{name}.mp4"),
                    latents_sha256=None,
                    noise="portable:toybox",
                    weights_sha256=None,
                    settings_sha256="0" * 64,
                    batch_size=1,
                    pixel_frames=81,
                    height=128,
                    width=128,
                    fps=16,
                )
            )
    write_jsonl(tmp_path / "prompts.jsonl", prompts)
    write_jsonl(tmp_path / "manifest.jsonl", clips)
    judged = {prompts[1].id: [Judgement(0.1, True), Judgement(0.1, True)]}
    inputs = hashes_of(tmp_path / "prompts.jsonl", tmp_path / "manifest.jsonl")
    write_json(tmp_path / "filter.json", filtered_set("truth", inputs, prompts, judged, 0.5))
    paths = {
        "prompts": "prompts.jsonl",
        "manifest": "manifest.jsonl",
        "filtered": "filter.json",
        "clips": ".",
        "output": "out.json",
        "result": "out.result.json",
    }
    flags = [part for flag, file in paths.items() for part in (f"--{flag}", str(tmp_path / file))]
    flags += ["--suite", "toybox", "--row", "truth"]
    return Row(
        flags, tmp_path, tmp_path / "manifest.jsonl", tmp_path / "out.json", tmp_path / "out.result.json"
    )


def test_run_scorer_writes_the_official_form_and_ours(row: Row) -> None:
    """Guards the two result files: only kept samples of prompts that list the dimension, in order, booleans
    as VBench.
    """
    flags = [*row.flags, "--dimension", "dynamic_degree"]
    assert main(flags) == 0
    official = json.loads(row.output.read_text())
    mean, results = official["dynamic_degree"]
    names = [Path(one["video_path"]).stem for one in results]
    first, second = [p.id for p in PROMPTS if "dynamic_degree" in p.dimensions][:2]
    assert names == [f"{first}-0", f"{first}-1", f"{second}-0"]
    assert [one["video_results"] for one in results] == [True, False, True]
    assert mean == pytest.approx(2 / 3, abs=1e-6)
    ours = read_json(DimensionResult, row.result)
    assert (ours.suite, ours.row, ours.kind, ours.mean) == ("toybox", "truth", "exact", mean)
    assert [clip.clip_id for clip in ours.clips] == names
    before = row.output.read_bytes(), row.result.read_bytes()
    assert main(flags) == 0
    assert (row.output.read_bytes(), row.result.read_bytes()) == before


def test_faults_never_become_numbers(row: Row) -> None:
    """Guards against a mean over what is left: a missing file, a missing line and a NaN stop with the clip's
    name.
    """
    score = WindowScorers(*[SCORERS["dynamic_degree"].score] * 2)
    flags = flags_parser().parse_args([*row.flags, "--dimension", "dynamic_degree"])
    name = json.loads(row.manifest.read_text().splitlines()[0])["clip_id"]
    with pytest.raises(ValueError, match=f"score of clip {name} is nan"):
        score_row(flags, WindowScorers(*[lambda frames, facts: FrameScores(float("nan"))] * 2))
    whole = row.manifest.read_bytes()
    write_jsonl(row.manifest, read_jsonl(Clip, row.manifest)[1:])
    with pytest.raises(ValueError, match="was made from another file of the row's manifest"):
        score_row(flags, score)
    row.manifest.write_bytes(whole)
    one, other = (row.clips / "mp4" / f"{name.split('-')[0]}-{sample}.mp4" for sample in (0, 1))
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    with pytest.raises(ValueError, match=f"Clip {name} of row truth is not the file that was sampled"):
        score_row(flags, score)
    one.write_bytes(content[:-9])
    with pytest.raises(ValueError, match=f"Clip {name} of row truth is not the file that was sampled"):
        score_row(flags, score)
    one.unlink()
    with pytest.raises(FileNotFoundError, match=f"1 of 3 clips.*{name}"):
        score_row(flags, score)
    with pytest.raises(ValueError, match="No prompt lists the dimension color_of_sound"):
        score_row(argparse.Namespace(**{**vars(flags), "dimension": "color_of_sound"}), score)
    assert not row.output.exists()
    assert not row.result.exists()
    for value in (1.2, -0.1, float("inf")):
        with pytest.raises(ValueError, match="expected a number in"):
            checked(value, "color", "x-0")
    with pytest.raises(ValueError, match="Clip x-0 has frames of 100x100 pixels"):
        shrink(np.zeros((100, 100, 3), np.uint8), "x-0")


NOT_BY_FRAME = {"dynamic_degree", "human_action", "temporal_style", "overall_consistency"}


def test_scores_of_frames_are_those_of_the_clip(tmp_path: Path) -> None:
    """Their mean is the clip's score (motion smoothness is a product of two means), every chunk has one, and
    truth is flat.
    """
    seen: dict[str, list[list[float | None]]] = {}
    for row in ("truth", "shuffled_frames"):
        for prompt, frames in probes(row, tmp_path, 9):
            for name in prompt.dimensions:
                found = SCORERS[name].score(frames, prompt.facts)
                assert (not found.frames) == (name in NOT_BY_FRAME)
                if not found.frames:
                    continue
                assert len(found.frames) == 81
                values = [value for value in found.frames if value is not None]
                if name != "motion_smoothness":
                    assert np.mean(values) == pytest.approx(found.value, abs=1e-6)
                chunks = bin_means(found.frames, curve_bins(len(found.frames)).points)
                assert None not in chunks
                if row == "truth":
                    seen.setdefault(name, []).append(chunks)
    for name, chunks in seen.items():
        first, last = np.array(chunks, np.float64).mean(0)[[0, -1]]
        assert abs(first - last) < 0.02, (name, first, last)


def test_a_clip_that_decays_does_so_in_the_right_chunk(tmp_path: Path) -> None:
    """Noise from pixel frame 45 on, where chunk 4 begins: chunks 0 to 3 are as they were, the others fall."""
    prompt = next(p for p in PROMPTS if "imaging_quality" in p.dimensions)
    frames = control_frames("truth", PROMPTS, prompt, 0).copy()
    frames[45:] = control_frames("noise", PROMPTS, prompt, 0)[45:]
    found = SCORERS["imaging_quality"].score(through_mp4(frames, tmp_path), prompt.facts)
    chunks = np.array(bin_means(found.frames, curve_bins(len(found.frames)).points), np.float64)
    assert chunks[:4].min() > 0.9
    assert chunks[4:].max() < 0.2
