"""`raven-bench score` with official VBench: strangers' clips end to end, on random weights."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.dimensions import NAMES
from evaluation.records import DimensionResult, ScoresTable, read_json
from evaluation.vbench.reduce import official_score
from evaluation.vbench.weights import SCORER_WEIGHTS
from tests.evaluation.mixed_clips import FORMS, Form, make_mixed, pictures, write_video
from tests.vbench import tiny
from tests.vbench.stand_in import lay_as_fetched, lay_prompts, unpin
from tests.workflow.project import LEFT_OUT
from workflow.external.score_plan import WITHOUT_TEXT
from workflow.planning.resources import listed_resources

pytestmark = [tiny.needs_environment(), pytest.mark.vbench, pytest.mark.slow, pytest.mark.timeout(3600)]

SEEN = [
    Form(*form[:3], max(128, form.height), max(128, form.width) + 16 * (at % 3), 3 + at % 4, form.rate)
    for at, form in enumerate(FORMS)
]
"""The mixed forms as large as RAFT needs, and as short as scorers allow."""
CHECKPOINTS_WITHOUT_GRIT = (
    "dino", "clip_b32", "clip_l14", "aesthetic", "musiq", "amt", "raft", "viclip"
)  # fmt: skip

PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which nothing is fetched; what a fetch would bring is `mirror` beside it."""
    folder = tmp_path_factory.mktemp("score")
    tiny.make_cache(folder, *CHECKPOINTS_WITHOUT_GRIT)
    project = folder / "project"
    shutil.copytree(tiny.ROOT, project, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    unpin(project)
    (project / ".venvs").mkdir()
    (project / ".venvs/vbench").symlink_to(tiny.PYTHON.parents[1])
    listed = [entry.path.removeprefix(f"{SCORER_WEIGHTS}/") for entry in listed_resources(tiny.ROOT)]
    made = ("dino_model", "clip_model", "aesthetic_model", "pyiqa_model", "amt_model", "raft_model", "ViCLIP")
    names = [name for name in listed if name.startswith(made)]
    lay_as_fetched(folder / "cache", folder / "mirror", names)
    lay_prompts(folder / "mirror")
    return project


def raven_bench(project: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run the command, offline."""
    return subprocess.run(
        [sys.executable, "-m", "workflow.scripts.raven_bench", *map(str, words)],
        cwd=project, capture_output=True, text=True, check=False, timeout=3000,
        env=tiny.environment() | {"HF_HUB_OFFLINE": "1", "PATH": PATH},
    )  # fmt: skip


def score(project: Path, clips: Path, output: Path, *words: object) -> str:
    """Score a folder; where files are missing, by the one command that the refusal names, and again."""
    command = ("score", clips, "--output", output, "--cores", 2, *words)
    refused = raven_bench(project, *command)
    if refused.returncode:
        said = refused.stdout + refused.stderr
        (brings,) = set(
            re.findall(r"^Get them.*with: raven-bench (fetch --suite \S+)   ", said, re.MULTILINE)
        )
        assert "Then give the same command again" in said
        fetched = raven_bench(project, *brings.split(), "--mirror", project.parent / "mirror")
        assert fetched.returncode == 0, fetched.stderr[-3000:]
        assert raven_bench(project, *brings.split(), "--verify").returncode == 0
    done = raven_bench(project, *command)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return done.stdout


def fetched_networks(project: Path) -> set[str]:
    """Folders of checkpoints that are there."""
    return {path.name for path in (project / "resources" / SCORER_WEIGHTS).iterdir()}


def test_twenty_mixed_clips_are_scored_by_official_vbench(project: Path, tmp_path: Path) -> None:
    """Guards the whole command without prompts: nothing fetched, the one command that brings exactly what
    the seven dimensions open, then twenty clips of mixed codecs, containers, sizes, lengths and rates, each
    with the package's own value, in the table and in VBench's own JSON; again there is nothing to do.
    """
    clips, output = tmp_path / "my clips", tmp_path / "scores"
    make_mixed(clips, forms=SEEN)
    said = score(project, clips, output)
    assert fetched_networks(project) == {
        "dino_model", "clip_model", "aesthetic_model", "pyiqa_model", "amt_model", "raft_model"
    }  # fmt: skip
    assert "Custom mode" in said and "Not comparable by themselves" in said
    table = read_json(ScoresTable, output / "aggregate/scores.json")
    assert set(table.dimensions) == set(WITHOUT_TEXT["vbench"])
    (row,) = table.rows
    own = json.loads((output / f"{row.row}_eval_results.json").read_text())
    for name in table.dimensions:
        result = read_json(DimensionResult, output / f"scores/{row.row}/{name}.result.json")
        mean, lines = own[name]
        assert len(lines) == len(result.clips) == row.dimensions[name].clips == 20
        assert mean == official_score(name, lines)
        assert row.dimensions[name].raw.mean == pytest.approx(100 * result.mean)
        assert not any(clip.frame_values for clip in result.clips), "no two lists would go together"
    again = raven_bench(project, "score", clips, "--output", output)
    assert "Nothing to be done" in again.stdout + again.stderr


def test_a_prompt_list_and_one_length_add_a_dimension_and_curves(project: Path, tmp_path: Path) -> None:
    """Guards texts, which overall consistency needs, the official backend's equality, and values of frames
    where clips are alike.
    """
    clips = tmp_path / "clips"
    clips.mkdir()
    for number in range(3):
        write_video(
            clips / f"{number}.mp4", "libx264", "yuv420p", pictures(number, 5, 128, 144), FORMS[0].rate
        )
    listed = tmp_path / "list.csv"
    listed.write_text("file,prompt\n" + "".join(f"{n}.mp4,a person's cat number {n}\n" for n in range(3)))
    chosen = ("temporal_flickering", "imaging_quality", "overall_consistency")
    words = ("--prompts", listed, "--dimensions", *chosen, "--backend")
    found = {}
    for backend in ("fast", "official"):
        output = tmp_path / backend
        assert "prompts from your list" in score(project, clips, output, *words, backend)
        found[backend] = json.loads((output / "clips_eval_results.json").read_text())
        result = read_json(DimensionResult, output / "scores/clips/imaging_quality.result.json")
        assert {clip.frame_values is None for clip in result.clips} == {backend == "official"}
    for name in chosen:
        values = [[line["video_results"] for line in found[b][name][1]] for b in ("fast", "official")]
        assert values[0] == pytest.approx(values[1], rel=1e-4, abs=1e-6)


def test_some_clips_of_vbench_s_own_names_are_standard_without_totals(project: Path, tmp_path: Path) -> None:
    """Guards standard mode: prompts and samples are counted, dimensions are those of the prompts, and no
    total comes of a part of the protocol. Random RAFT finds no clip still, so that there is no still prompt.
    """
    lay_prompts(project / "resources")
    info = json.loads((project / "resources/prompts/VBench_full_info.json").read_text())
    clips = tmp_path / "vbench_videos"
    clips.mkdir()
    for number in range(4):
        name = f"{info[257 + number // 2]['prompt_en']}-{number % 2}.mp4"
        write_video(clips / name, "libx264", "yuv420p", pictures(number, 5, 128, 128), FORMS[0].rate)
    said = score(project, clips, tmp_path / "out")
    assert "Standard mode: the names are vbench's own, 2 of its 944 prompts are there (4 clips a row)" in said
    assert "6216 clips of the standard protocol are not, so no row has a total" in said
    table = read_json(ScoresTable, tmp_path / "out/aggregate/scores.json")
    (row,) = table.rows
    assert row.incomplete and not row.totals
    assert set(table.dimensions) == {*info[257]["dimension"]} < {*NAMES}
