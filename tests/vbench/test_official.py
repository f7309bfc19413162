"""Against the real package in its own environment, with random weights on tiny clips: equal to the last
digit, offline, faults named.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from evaluation.files import file_sha256
from evaluation.records import Clip, FilteredSet, Prompt, read_json, read_jsonl, write_json, write_jsonl
from evaluation.selection import hashes_of
from evaluation.vbench.scorers import OFFICIAL_SCORERS
from evaluation.vbench.weights import CHECKPOINTS
from tests.vbench import tiny
from tests.vbench.golden import make_run

pytestmark = [tiny.needs_environment(), pytest.mark.vbench]

QUICK = ("temporal_flickering", "background_consistency", "motion_smoothness")
SLOW = ("subject_consistency", "imaging_quality", "dynamic_degree", "appearance_style")
SLOWEST = ("aesthetic_quality", "temporal_style", "overall_consistency", "human_action", "scene")
GRIT = ("object_class", "multiple_objects", "color", "spatial_relationship")
FOUND = (*GRIT, "scene", "human_action", "dynamic_degree")
"""Dimensions of a yes or no in every frame or clip whose random network says both of these clips."""
NOTED = ("video_sim", "cnt_per_video")
"""What our worker adds to the rows of subject consistency."""

TOLERANCE = {"temporal_flickering": 0.0}
"""Relative, of the fast backend's values where it is not 1e-5; yes and no and counts are always equal."""


def _first(_: int) -> list[int]:
    return [0]


FRAMES = {
    "subject_consistency": _first,
    "background_consistency": _first,
    "temporal_flickering": _first,
    "motion_smoothness": lambda frames: [t for t in range(frames) if t % 2 == 0 or t == frames - 1],
    "aesthetic_quality": lambda _: [],
    "imaging_quality": lambda _: [],
    "appearance_style": lambda _: [],
}
"""Which pixel frames of a clip have no value, where the others have one."""

Run = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Ten clips of five prompts, of different lengths, and what one official process says of them in three
    dimensions.
    """
    folder = tmp_path_factory.mktemp("official")
    tiny.make_cache(folder, "clip_b32", "amt", "raft")
    tiny.make_run(folder)
    return folder, tiny.run_official(folder, *QUICK)


def fresh(folder: Path, new: Path) -> Path:
    """A copy of a run that a test may damage: clips copied, the cache linked."""
    new.mkdir()
    for name in ("prompts.jsonl", "manifest.jsonl", "filter.json", "weights.json"):
        shutil.copyfile(folder / name, new / name)
    shutil.copytree(folder / "clips", new / "clips")
    (new / "cache").symlink_to(folder / "cache")
    return new


def plain_rows(dimension: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without folders and without what our worker adds."""
    added = NOTED if dimension == "subject_consistency" else ()
    return [
        {key: value for key, value in row.items() if key not in added}
        | {"video_path": Path(row["video_path"]).name}
        for row in rows
    ]


def needs_detectron2(dimension: str) -> None:
    """Skip a test of GRiT where its package is not installed."""
    if dimension in GRIT and not tiny.has_detectron2():
        pytest.skip("detectron2 is not in VBench's environment (envs/vbench/install.sh builds it)")


def check_joined(folder: Path, dimension: str, parts: int, official: dict[str, Any]) -> None:
    """Score a dimension in parts, join them, and compare score and rows with the official ones: exact
    equality.
    """
    for i in range(parts):
        done = tiny.score_part(folder, dimension, f"{i}-of-{parts}")
        assert done.returncode == 0, done.stderr[-3000:]
    done = tiny.join_parts(folder, dimension, parts)
    assert done.returncode == 0, done.stderr[-3000:]
    score, rows = json.loads((folder / f"{dimension}.json").read_text())[dimension]
    assert score == official[dimension][0]
    assert plain_rows(dimension, rows) == plain_rows(dimension, official[dimension][1])


@pytest.mark.parametrize("dimension", QUICK)
@pytest.mark.parametrize(
    "parts", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(5, marks=pytest.mark.slow)]
)
def test_any_number_of_parts_gives_the_official_json(quick: Run, dimension: str, parts: int) -> None:
    """Guards the number itself: score and every row as one official process prints them, to the last
    digit.
    """
    check_joined(quick[0], dimension, parts, quick[1])


def check_fast(folder: Path, dimension: str, parts: int, official: dict[str, Any]) -> dict[str, Any]:
    """Score a dimension by the fast backend in parts and compare every row with the official process's: keys,
    clips, values. The joined rows.
    """
    for i in range(parts):
        done = tiny.score_part(folder, dimension, f"{i}-of-{parts}", "fast")
        assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads((folder / f"{dimension}.{i}-of-{parts}.json").read_text()) for i in range(parts)]
    rows = [row for part in found for row in part["rows"]]
    assert {part["versions"]["backend"] for part in found} == {"fast"}
    plain = [{key: value for key, value in row.items() if key != "frame_values"} for row in rows]
    near = TOLERANCE.get(dimension, 1e-5)
    for ours, theirs in zip(
        plain_rows(dimension, plain), plain_rows(dimension, official[dimension][1]), strict=True
    ):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            exact = isinstance(value, bool | int | str)
            assert ours[key] == (value if exact else pytest.approx(value, rel=near, abs=near * 1e-4)), key
    by_name = {row["video_path"]: row for row in rows}
    if dimension not in FRAMES:  # color may leave clips out
        assert not any("frame_values" in row for row in rows)
        return by_name
    manifest = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    for row, clip in zip(rows, manifest, strict=True):
        values = row["frame_values"]
        assert len(values) == clip["pixel_frames"]
        without = [t for t, value in enumerate(values) if value is None]
        assert without == FRAMES[dimension](len(values))
        known = [value for value in values if value is not None]
        whole = row["video_results"] / (100 if dimension == "imaging_quality" else 1)
        assert sum(known) / len(known) == pytest.approx(whole, rel=1e-6)
    return by_name


@pytest.mark.parametrize("dimension", QUICK)
def test_the_fast_backend_gives_the_official_values(quick: Run, dimension: str, tmp_path: Path) -> None:
    """Guards what the fast backend is allowed to be: another order of sums. In any number of parts it is the
    same to the last digit.
    """
    folder = fresh(quick[0], tmp_path / "run")
    whole = check_fast(folder, dimension, 1, quick[1])
    if dimension == "background_consistency":
        assert check_fast(folder, dimension, 2, quick[1]) == whole


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("dimension", SLOW + SLOWEST + GRIT)
def test_every_other_dimension_gives_the_official_json(dimension: str, tmp_path: Path) -> None:
    """Guards the adapters: none of them changes a score or a row. Where clips are right or wrong, both
    occur.
    """
    needs_detectron2(dimension)
    make_run(tmp_path, dimension)
    official = tiny.run_official(tmp_path, dimension)
    check_joined(tmp_path, dimension, 2, official)
    check_fast(tmp_path, dimension, 1, official)
    if dimension in FOUND:
        assert 0 < official[dimension][0] < 1, "the random weights no longer give both outcomes"


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_no_countable_clip_is_a_sentence(tmp_path: Path) -> None:
    """Guards color's own end, the package's division by zero: the object is in no frame, so there is no
    score.
    """
    needs_detectron2("color")
    tiny.make_cache(tmp_path, "bert_tokenizer", "grit")
    tiny.make_run(tmp_path, samples=1, chosen=(1,))
    done = tiny.score_part(tmp_path, "color", "0-of-1")
    assert done.returncode == 0, done.stderr[-3000:]
    part = json.loads((tmp_path / "color.0-of-1.json").read_text())
    assert (part["score"], part["rows"]) == (None, [])
    done = tiny.join_parts(tmp_path, "color", 1)
    assert done.returncode == 1
    assert "could count no clip for color" in done.stderr


def test_scoring_needs_no_network(quick: Run, tmp_path: Path) -> None:
    """Guards offline runs where it counts: in a network namespace without any interface a part is scored as
    elsewhere.
    """
    isolated = ["unshare", "--net", "--map-root-user"]
    if subprocess.run([*isolated, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine does not allow network namespaces")
    folder = fresh(quick[0], tmp_path / "run")
    command = [
        *isolated, sys.executable, "-m", "workflow.scripts.score_part",
        *tiny.part_command(folder, "background_consistency", "0-of-5"),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=tiny.ROOT, env=tiny.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads((folder / "background_consistency.0-of-5.json").read_text())["rows"]
    assert rows == plain_rows("background_consistency", quick[1]["background_consistency"][1])[:2]


def failing(folder: Path, dimension: str, part: str = "0-of-5") -> str:
    """What is printed by a part that must fail and leave nothing."""
    done = tiny.score_part(folder, dimension, part)
    assert done.returncode == 1, done.stderr[-2000:]
    assert not list(folder.glob(f"{dimension}.{part}.json*"))
    return done.stderr


def damage(folder: Path, name: str, *, declared: bool) -> None:
    """Cut a clip short; declared: as if it had been so when it was checked."""
    path = folder / "clips/mp4" / name
    path.write_bytes(path.read_bytes()[:300])
    if declared:
        manifest, filtered = folder / "manifest.jsonl", folder / "filter.json"
        write_jsonl(
            manifest,
            [
                clip.model_copy(update={"sha256": file_sha256(path)}) if clip.file == f"mp4/{name}" else clip
                for clip in read_jsonl(Clip, manifest)
            ],
        )
        inputs = hashes_of(folder / "prompts.jsonl", manifest)
        write_json(filtered, read_json(FilteredSet, filtered).model_copy(update={"inputs": inputs}))


def test_a_damaged_or_missing_clip_ends_in_a_sentence(quick: Run, tmp_path: Path) -> None:
    """Guards against means over the other clips, which is what the package would print."""
    folder = fresh(quick[0], tmp_path / "run")
    damage(folder, "p0-1.mp4", declared=False)
    assert "Clip p0-1 of row mine is not the file that was sampled and checked" in failing(
        folder, "temporal_flickering"
    )
    damage(folder, "p0-1.mp4", declared=True)
    said = failing(folder, "temporal_flickering")
    assert "dropped 1 of 2 clips without a word (first: a red bird-1.mp4)" in said
    assert "background_consistency failed at clip a red bird-1.mp4" in failing(
        folder, "background_consistency"
    )
    (folder / "clips/mp4/p1-0.mp4").unlink()
    said = failing(folder, "temporal_flickering", "1-of-5")
    assert "p1-0" in said, said
    assert "sample stage" in said and "Traceback" not in said, said


def test_a_missing_or_wrong_checkpoint_ends_in_a_sentence(quick: Run, tmp_path: Path) -> None:
    """Guards against downloads, and against weights of something else."""
    folder = fresh(quick[0], tmp_path / "run")
    (folder / "cache").unlink()
    shutil.copytree(quick[0] / "cache", folder / "cache")
    amt = folder / "cache/vbench/amt_model/amt-s.pth"
    raft = folder / "cache/vbench/raft_model/models/raft-things.pth"
    amt.unlink()
    assert "amt-s.pth is missing; run `make fetch`" in failing(folder, "motion_smoothness")
    shutil.copyfile(raft, amt)
    assert "remake the cache" in failing(folder, "motion_smoothness")
    sizes = json.loads((folder / "weights.json").read_text())
    sizes["vbench/amt_model/amt-s.pth"]["size"] = amt.stat().st_size
    (folder / "weights.json").write_text(json.dumps(sizes))
    said = failing(folder, "motion_smoothness")
    assert "motion_smoothness failed before its first clip with KeyError: 'state_dict'" in said
    assert "vbench/amt_model/amt-s.pth: delete it in resources/weights/vbench and run `make fetch`" in said
    amt.write_bytes(amt.read_bytes()[: amt.stat().st_size // 2].ljust(amt.stat().st_size, b"\0"))
    said = failing(folder, "motion_smoothness")
    assert "motion_smoothness failed before its first clip with" in said
    assert "vbench/amt_model/amt-s.pth: delete it" in said


def kill_midway(command: list[str], output: Path) -> None:
    """Run a part's job and end all its processes by kill -9 while its worker runs: no result, and its folder
    is left over.
    """
    job = subprocess.Popen(
        command, cwd=tiny.ROOT, env=tiny.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    work = output.with_name(f"{output.name}.work")
    for _ in range(600):
        if (work / "job.json").exists():
            break
        time.sleep(0.05)
    time.sleep(2)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    assert work.is_dir()
    assert not output.exists()


def test_a_killed_part_starts_anew_and_ends_the_same(quick: Run, tmp_path: Path) -> None:
    """Guards the resume: kill -9 of the whole job leaves no result, and the next run gives the same bytes."""
    folder = fresh(quick[0], tmp_path / "run")
    output = folder / "motion_smoothness.0-of-2.json"
    command = [sys.executable, "-m", "workflow.scripts.score_part"]
    kill_midway([*command, *tiny.part_command(folder, "motion_smoothness", "0-of-2")], output)
    done = tiny.score_part(folder, "motion_smoothness", "0-of-2")
    assert done.returncode == 0, done.stderr[-2000:]
    assert not output.with_name(f"{output.name}.work").exists()
    rows = json.loads(output.read_text())["rows"]
    assert rows == plain_rows("motion_smoothness", quick[1]["motion_smoothness"][1])[:4]


def test_a_killed_part_of_the_filter_starts_anew_and_ends_the_same(quick: Run, tmp_path: Path) -> None:
    """As above, against a run of the same part that nobody killed."""
    folder = fresh(quick[0], tmp_path / "run")
    prompts = read_jsonl(Prompt, folder / "prompts.jsonl")
    kept = [prompt.model_copy(update={"keep": 1 if prompt.id == "p0" else None}) for prompt in prompts]
    write_jsonl(folder / "prompts.jsonl", kept)
    killed, whole = folder / "killed.json", folder / "whole.json"
    command = [
        sys.executable, "-m", "workflow.scripts.filter_part", "--row", "mine", "--part", "0-of-1",
        "--prompts", f"{folder}/prompts.jsonl",
        "--manifest", f"{folder}/manifest.jsonl", "--clips", f"{folder}/clips", "--weights",
        f"{folder}/weights.json",
        "--python", str(tiny.PYTHON), "--environment", tiny.stamp_hash(), "--device", "cpu", "--threads",
        "1", "--backend", "fast", "--output",
    ]  # fmt: skip
    kill_midway([*command, str(killed)], killed)
    for output in (killed, whole):
        subprocess.run(
            [*command, output], check=True, cwd=tiny.ROOT, env=tiny.environment(), capture_output=True
        )
    assert list(json.loads(whole.read_text())["found"]) == ["p0-0", "p0-1"]
    assert killed.read_bytes() == whole.read_bytes()


LITTLE_MEMORY = """
import sys
import clip.model
import torch
official = clip.model.CLIP.encode_image
def encode_image(self, frames):
    if len(frames) > 4:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
    return official(self, frames)
clip.model.CLIP.encode_image = encode_image
from evaluation.vbench.worker.job import run_job
from evaluation.vbench.worker.runner import score_job
sys.exit(run_job(score_job, ["--job", sys.argv[1]]))
"""


@pytest.mark.parametrize("backend", ["official", "fast"])
def test_little_memory_is_met_with_smaller_batches(backend: str, quick: Run, tmp_path: Path) -> None:
    """Guards the retry of both backends: a network that has room for four frames at once gives the same
    values, up to rounding.
    """
    folder, official = quick
    videos = tmp_path / "videos"
    videos.mkdir()
    for clip in (folder / "official").glob("a red bird-*.mp4"):
        (videos / clip.name).symlink_to(clip.resolve())
    job = OFFICIAL_SCORERS["background_consistency"].as_job() | {
        "dimension": "background_consistency", "cache": str(folder / "cache"), "sizes": {}, "device": "cpu",
        "threads": 1, "backend": backend, "videos": str(videos),
        "entries": [{"prompt_en": "a red bird", "dimension": ["background_consistency"]}],
        "names": ["a red bird-0.mp4", "a red bird-1.mp4"], "output": str(tmp_path / "answer.json"),
    }  # fmt: skip
    (tmp_path / "job.json").write_text(json.dumps(job))
    done = subprocess.run(
        [tiny.PYTHON, "-c", LITTLE_MEMORY, tmp_path / "job.json"],
        check=False, cwd=tiny.ROOT, env=tiny.environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "with 16 frames at once" in done.stderr
    values = [row["video_results"] for row in json.loads((tmp_path / "answer.json").read_text())["rows"]]
    expected = [row["video_results"] for row in official["background_consistency"][1][:2]]
    assert values == pytest.approx(expected, rel=1e-5)


FILTER = """
import json, sys
import torch
from easydict import EasyDict
from vbench.cli import static_filter as official
official.DEVICE = "cpu"
args = EasyDict(model=sys.argv[1], small=False, mixed_precision=False, alternate_corr=False)
torch.set_num_threads(1)
judge = official.StaticFilter(args, device="cpu")
print(json.dumps([bool(judge.infer(path)) for path in sys.argv[2:]]))
"""


def filter_job(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the static filter's worker on folder/job.json."""
    return subprocess.run(
        [tiny.PYTHON, "-m", "evaluation.vbench.worker.static_filter", "--job", folder / "job.json"],
        check=False, cwd=tiny.ROOT, env=tiny.environment(), capture_output=True, text=True,
    )  # fmt: skip


def test_the_static_filter_judges_as_the_official_one(quick: Run, tmp_path: Path) -> None:
    """Guards the early stop against the package's own filter, which computes every pair; both outcomes
    occur.
    """
    folder = quick[0]
    clips = {name: str(folder / f"clips/mp4/{name}.mp4") for name in ("p0-0", "p3-0")}
    raft = folder / "cache/vbench/raft_model/models/raft-things.pth"
    official = subprocess.run(
        [tiny.PYTHON, "-c", FILTER, raft, *clips.values()],
        check=True, cwd=tmp_path, env=tiny.environment() | {"VBENCH_CACHE_DIR": str(folder / "cache/vbench")},
        capture_output=True, text=True,
    )  # fmt: skip
    outcomes = {}
    for backend in ("official", "fast"):
        job = {
            "dimension": "static filter", "files": CHECKPOINTS["raft"], "cache": str(folder / "cache"),
            "sizes": {},
            "device": "cpu", "threads": 1, "backend": backend, "clips": clips,
            "output": str(tmp_path / "answer.json"),
        }  # fmt: skip
        (tmp_path / "job.json").write_text(json.dumps(job))
        filter_job(tmp_path).check_returncode()
        answer = json.loads((tmp_path / "answer.json").read_text())
        assert answer["versions"]["backend"] == backend
        outcomes[backend] = answer["found"]
        static = [outcomes[backend][name]["static"] for name in clips]
        assert static == json.loads(official.stdout.splitlines()[-1])
        assert len(set(static)) == 2, "the random weights no longer give both outcomes; change FLOW_SCALE"
    for name, slow in outcomes["official"].items():
        fast = outcomes["fast"][name]
        assert fast["pairs"] <= slow["pairs"]
        if slow["static"]:
            assert fast["motion"] <= slow["motion"] * (1 + 1e-4)
        else:
            assert fast["motion"] == pytest.approx(slow["motion"], rel=1e-4)
    (tmp_path / "answer.json").unlink()
    (tmp_path / "cut.mp4").write_bytes(Path(clips["p0-0"]).read_bytes()[:300])
    (tmp_path / "job.json").write_text(json.dumps(job | {"clips": {"p1-0": str(tmp_path / "cut.mp4")}}))
    done = filter_job(tmp_path)
    assert done.returncode == 1
    assert "static filter failed at clip p1-0" in done.stderr
    assert "if the clip cannot be decoded, delete it and rerun" in done.stderr
    assert not (tmp_path / "answer.json").exists()
