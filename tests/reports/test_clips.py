"""Which clips and posters go into the page, and what the browser of clips is told. Synthetic numbers and
pictures.
"""

import base64
import hashlib
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.clip_reader import read_clip
from evaluation.clips import write_clip
from evaluation.dimensions import BY_NAME
from evaluation.metrics import metrics
from evaluation.records import Clip, Prompt, parse, read_jsonl
from reports.clips import (
    OVERSIZE_PROMPTS,
    POSTER_SHARE,
    WORST_PROMPTS,
    PromptScore,
    embed,
    embed_clips,
    embed_order,
    find_stored_clips,
    poster_order,
    widest_prompts,
)
from reports.clips_beside import beside_clips
from reports.posters import PREVIEW_WIDTH, SIDE, poster, preview
from reports.run import ReportSettings, read_run
from reports.sections.watch import browser_scores
from tests.reports import synthetic


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of sample 0 of two prompts of each kind, and sample 1 of the very first."""
    made = tmp_path_factory.mktemp("toybox")
    synthetic.make_results(made)
    return made


def manifests(folder: Path) -> dict[str, list[Clip]]:
    return {row: read_jsonl(Clip, folder / "clips" / row / "manifest.jsonl") for row in synthetic.ROWS}


def brightening(frames: int, height: int, width: int) -> np.ndarray:
    """Frame t is plain grey of 3 t, so that a frame tells its number."""
    grey = 3 * np.arange(frames, dtype=np.uint8)
    return np.broadcast_to(grey[:, None, None, None], (frames, height, width, 3)).copy()


def test_a_poster_is_the_middle_frame(tmp_path: Path) -> None:
    """Guards against the first frame, which says nothing of motion; the same file gives the same bytes."""
    path = tmp_path / "clip.mp4"
    write_clip(path, brightening(81, 96, 160), fps=16)
    made = poster(path.read_bytes())
    picture = Image.open(io.BytesIO(made))
    assert picture.size == (SIDE, round(SIDE * 96 / 160))
    assert np.asarray(picture).mean() == pytest.approx(3 * 40, abs=3)
    assert made == poster(path.read_bytes())


def test_a_preview_has_every_frame_at_its_time(tmp_path: Path) -> None:
    """A small copy that skipped or doubled frames would step differently from the clip that was scored."""
    path, copy = tmp_path / "clip.mp4", tmp_path / "copy.mp4"
    write_clip(path, brightening(81, 240, 416), fps=16)
    copy.write_bytes(preview(path.read_bytes()))
    found = read_clip(copy)
    assert found.fps == 16
    assert found.frames.shape == (81, 148, PREVIEW_WIDTH, 3)
    assert found.frames.mean(axis=(1, 2, 3)) == pytest.approx(3 * np.arange(81), abs=3)


def test_wide_clips_are_embedded_as_previews_and_said_to_be(tmp_path: Path) -> None:
    """Nothing in the page passes a copy off as the file that was scored."""
    prompts = [p for p in synthetic.prompts() if p.id.startswith("pair")][:2]
    found = {"a": [write(tmp_path, "a", prompt, brightening(5, 240, 416)) for prompt in prompts]}
    gallery = embed(tmp_path, prompts, found, {}, 10**6)
    assert gallery.preview == PREVIEW_WIDTH
    assert (gallery.width, gallery.height) == (416, 240)
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(base64.b64decode(gallery.clips["pair_00"]["a"][0]))
    assert read_clip(copy).frames.shape[2] == PREVIEW_WIDTH


def write(folder: Path, row: str, prompt: Prompt, frames: np.ndarray) -> Clip:
    path = folder / "clips" / row / "mp4" / f"{prompt.id}-0.mp4"
    write_clip(path, frames, fps=16)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return line(row, prompt, digest, frames.shape[1], frames.shape[2])


def line(row: str, prompt: Prompt, digest: str, height: int = 1, width: int = 1) -> Clip:
    return Clip(
        clip_id=f"{prompt.id}-0",
        row=row,
        prompt_id=prompt.id,
        sample=0,
        file=f"mp4/{prompt.id}-0.mp4",
        sha256=digest,
        latents_sha256=None,
        noise="portable:x",
        weights_sha256=None,
        settings_sha256=digest,
        batch_size=1,
        pixel_frames=5,
        height=height,
        width=width,
        fps=16,
    )


def test_a_clip_that_is_not_the_manifests_stops(tmp_path: Path) -> None:
    """The page must not show another file than the one that was checked and scored."""
    scores = synthetic.make_results(tmp_path, embedded=1)
    settings = parse(ReportSettings, json.dumps(synthetic.report_settings()), "settings")
    (tmp_path / "clips" / "raven" / "mp4" / "pair_00-0.mp4").write_bytes(b"other")
    with pytest.raises(ValueError, match="Clip pair_00-0 of row raven is not the file"):
        read_run(scores, tmp_path, settings, tmp_path)


def test_size_budget_lists_what_was_left_out(folder: Path) -> None:
    """Prompts go in whole, one of each kind first, sample 1 last; the rest is listed, and nothing exceeds the
    budget.
    """
    prompts, lines = synthetic.prompts(), manifests(folder)
    whole = embed(folder, prompts, lines, {}, 10**9, threads=2)
    assert list(whole.clips)[:4] == ["move_00", "pair_00", "style_00", "still_00"]
    assert whole.left_out == ()
    assert whole.rows == tuple(synthetic.ROWS)
    assert {len(rows) for rows in whole.clips.values()} == {len(synthetic.ROWS)}
    assert set(whole.clips["move_00"]["raven"]) == {0, 1}
    assert set(whole.clips["move_01"]["raven"]) == {0}
    assert set(whole.posters) == set(whole.clips)
    assert whole == embed(folder, prompts, lines, {}, 10**9)
    budget = whole.posters_size + whole.size // 2
    cut = embed(folder, prompts, lines, {}, budget)
    assert cut.size + cut.posters_size <= budget
    assert len(cut.clips) + len(cut.left_out) == 8
    assert len(cut.left_out) >= 3
    assert all(set(samples) == {0} for rows in cut.clips.values() for samples in rows.values())
    assert len(cut.without_clips) == 32
    assert cut.absent["raven"] == whole.absent["raven"] != ()
    none = embed(folder, prompts, lines, {}, 0)
    assert (none.clips, none.posters, len(none.left_out)) == ({}, {}, 8)


def test_posters_take_their_share_and_no_more(folder: Path) -> None:
    """Clips are never crowded out by posters: at most POSTER_SHARE of the budget."""
    full = embed(folder, synthetic.prompts(), manifests(folder), {}, 10**9).posters_size
    found = embed(folder, synthetic.prompts(), manifests(folder), {}, full)
    assert 0 < found.posters_size <= POSTER_SHARE * full


def test_posters_of_the_worst_come_first() -> None:
    """Every dimension's and row's lowest, then their second lowest, ...; then the rest, each once."""
    prompts = [p for p in synthetic.prompts() if p.id.startswith("pair")]
    low = {p.id: PromptScore(n / 10, 1) for n, p in enumerate(prompts)}
    high = {p.id: PromptScore(1 - n / 10, 1) for n, p in enumerate(prompts)}
    order = poster_order(prompts, ["a", "b", "c"], {"a": {"color": low}, "b": {"color": low, "scene": high}})
    assert order[:5] == [
        ("pair_00", "a"),
        ("pair_00", "b"),
        ("pair_09", "b"),
        ("pair_01", "a"),
        ("pair_01", "b"),
    ]
    assert len(order) == len(set(order)) == 30
    assert order.index(("pair_00", "c")) == 20
    assert WORST_PROMPTS == 20
    scores = {"b": {"color": low, "jumps": low}}
    order = poster_order(prompts, ["b"], scores, less_is_better=["jumps"])
    assert order[:4] == [("pair_00", "b"), ("pair_09", "b"), ("pair_01", "b"), ("pair_08", "b")]


def test_noise_does_not_fill_the_budget(tmp_path: Path) -> None:
    """A row whose clips are far larger than the others is in the first prompts only; all other rows stay."""
    prompts = [p for p in synthetic.prompts() if p.id.startswith("pair")][:6]
    found: dict[str, list[Clip]] = {}
    for row, size in {"a": 100, "b": 120, "noise": 5000}.items():
        (tmp_path / "clips" / row / "mp4").mkdir(parents=True)
        for prompt in prompts:
            content = bytes(size)
            (tmp_path / "clips" / row / "mp4" / f"{prompt.id}-0.mp4").write_bytes(content)
            found.setdefault(row, []).append(line(row, prompt, hashlib.sha256(content).hexdigest()))
    with ThreadPoolExecutor(1) as pool:
        embedded = embed_clips(find_stored_clips(tmp_path, found), prompts, 10**6, pool)
    assert [len(rows) for rows in embedded.clips.values()] == [3] * OVERSIZE_PROMPTS + [2, 2]
    assert embedded.oversize == ("noise",)


def test_points_are_normalised_means_in_the_lists_order() -> None:
    """What the page sorts by is what the record says: closed form of the official bounds, None where a row
    has no score.
    """
    prompts = [p for p in synthetic.prompts() if p.id.startswith("pair")][:3]
    scores = {
        "a": {"scene": {"pair_02": PromptScore(0.5, 2), "pair_00": PromptScore(0.25, 2)}},
        "b": {"scene": {"pair_00": PromptScore(1.0, 1)}},
    }
    found = browser_scores(prompts, scores, metrics("vbench"))
    assert BY_NAME["scene"].vbench.high == 82.22
    assert found == {"scene": {"prompts": [0, 2], "points": {"a": [30.41, 60.81], "b": [121.62, None]}}}


def test_only_the_page_beside_its_clips_may_load_them() -> None:
    """The folder version differs in one directive and one attribute; the single file stays strict."""
    page = (
        '<html lang="en"><meta content="img-src data:; media-src data:; base-uri \'none\'">media-src data:;'
    )
    changed = beside_clips(page)
    assert changed == (
        '<html lang="en" data-clips="clips"><meta content="img-src data:; media-src data: \'self\' file:; '
        "base-uri 'none'\">media-src data:;"
    )


def test_the_widest_differences_take_turns_with_every_kind(folder: Path) -> None:
    """A small budget holds the prompt that the page opens on, and does not show extremes alone."""
    prompts, lines = synthetic.prompts(), manifests(folder)
    names = [p.id for p in embed_order(prompts, ["still_01", "pair_01"])]
    assert names[:5] == ["still_01", "move_00", "pair_01", "pair_00", "style_00"]
    assert sorted(names) == sorted(p.id for p in prompts)
    known = metrics("toybox")
    scores = {
        "a": {"color": {p.id: PromptScore(0.5, 1) for p in prompts}},
        "b": {"color": {p.id: PromptScore(0.5 + n / 100, 1) for n, p in enumerate(prompts)}},
        "c": {"color": {prompts[3].id: PromptScore(0.9, 1)}},
    }
    assert widest_prompts(["a", "b", "c"], scores, known) == [prompts[-1].id, prompts[3].id]
    first = embed(folder, prompts, lines, {}, 10**9, widest=["style_01"])
    assert next(iter(first.clips)) == "style_01"


def test_the_poster_of_a_long_clip_shows_four_moments(tmp_path: Path) -> None:
    """First frame, one third, two thirds, last: a clip that drifts shows it before it is played."""
    levels = np.repeat([20, 90, 160, 230], 45).astype(np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (180, 64, 64, 3))
    write_clip(tmp_path / "long.mp4", frames, fps=16)
    image = np.asarray(Image.open(io.BytesIO(poster((tmp_path / "long.mp4").read_bytes()))).convert("L"))
    assert image.shape == (128, 128)
    quarters = [image[y : y + 64, x : x + 64].mean() for y in (0, 64) for x in (0, 64)]
    assert quarters == pytest.approx([20, 90, 160, 230], abs=4)
