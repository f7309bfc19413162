"""Calibration as workflow/calibration.md tells it, on stand-in clips and random weights: all sixteen
dimensions by the official package, beside a made-up board.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from evaluation.clips import write_clip
from evaluation.dimensions import NAMES
from evaluation.records import Prompt, ScoresTable, read_json
from evaluation.suite_prompts import suite_prompts
from evaluation.vbench.scorers import OFFICIAL_SCORERS
from evaluation.vbench.weights import CHECKPOINTS, SCORER_WEIGHTS
from tests.vbench import tiny
from tests.vbench.stand_in import lay_as_fetched, lay_prompts, unpin
from tests.workflow.project import LEFT_OUT, replace_in
from workflow.planning.prompt_plan import STANDARD
from workflow.planning.resources import scorer_resources
from workflow.planning.suite_file import read_suite

CHOSEN = {"per_dimension": 1, "samples": 1, "static_samples": 2, "static_keep": 1}
"""The first prompt of each dimension, one clip of each that counts."""
FRAMES, HEIGHT, WIDTH = 3, 128, 128
LAST_DIGIT = 1e-4
"""Of numbers in tables."""
SEEN = {"bird": "bicycle", "cat": "person"}
"""What the random detector says, as VBench's first prompts have it, so that a clip of color counts."""


def standard_prompts(resources: Path) -> list[Prompt]:
    """VBench's own prompts in the small protocol of this test."""
    settings = {
        "benchmark": "vbench",
        "dimensions": list(NAMES),
        "sha256": {},
        **STANDARD["vbench"],
        **CHOSEN,
    }
    return suite_prompts(settings, resources / "prompts")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project with random checkpoints where `make fetch` puts them, and stand-ins for official
    clips under VBench's names: two of each still prompt stand still, the others drift.
    """
    made = {name for scorer in OFFICIAL_SCORERS.values() for name in scorer.checkpoints}
    tiny.make_cache(tmp_path, *sorted(made - {"raft"} | {"raft_still"}))  # else no still prompt has a clip
    (vocabulary,) = (tmp_path / "cache" / name for name in CHECKPOINTS["bert_tokenizer"] if "vocab" in name)
    words = [SEEN.get(word, word) for word in vocabulary.read_text().splitlines()]
    vocabulary.write_text("\n".join(words) + "\n")
    project = tmp_path / "project"
    shutil.copytree(tiny.ROOT, project, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    unpin(project)
    (project / ".venvs").mkdir()
    (project / ".venvs/vbench").symlink_to(tiny.PYTHON.parents[1])
    fetched = f"{SCORER_WEIGHTS}/"
    listed = project / "workflow/config/calibration.yaml"
    listed.write_text(re.sub(r"^  parts: .*$", "  parts: {}", listed.read_text(), flags=re.MULTILINE))
    suite = read_suite(listed, project)
    names = [entry.path.removeprefix(fetched) for entry in scorer_resources(project, suite)]
    lay_as_fetched(tmp_path / "cache", project / "resources", names)
    lay_prompts(project / "resources")
    shape = f"{{pixel_frames: {FRAMES}, height: {HEIGHT}, width: {WIDTH}, fps: 8}}"
    replace_in(
        project / "baselines/official_clips.yaml",
        "  path: imports/official_clips",
        f"  shape: {shape}\n  path: imports/official_clips",
    )
    for at, prompt in enumerate(standard_prompts(project / "resources")):
        for sample in range(prompt.samples):
            frames = tiny.drifting(10 * at + sample, FRAMES, HEIGHT, WIDTH)
            if prompt.keep is not None:
                frames = frames[:1].repeat(FRAMES, axis=0)
                frames[1, :8, :8] = 255 - frames[1, :8, :8] // 2  # no two frames alike
            write_clip(project / f"imports/official_clips/{prompt.prompt}-{sample}.mp4", frames, fps=8)
    return project


def raven_bench(project: Path, *words: str) -> str:
    """What the command prints, offline. Fails if it does."""
    done = subprocess.run(
        [sys.executable, "-m", "workflow.scripts.raven_bench", *words],
        cwd=project, capture_output=True, text=True, check=False, timeout=3000,
        env=tiny.environment() | {"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return done.stdout


@tiny.needs_environment()
@pytest.mark.vbench
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_sixteen_dimensions_and_totals_stand_beside_a_board(project: Path) -> None:
    """Guards the page's commands: clips taken in under VBench's names, filtered, scored on all dimensions by
    official VBench, and every delta ours minus the board's.
    """
    if not tiny.has_detectron2():
        pytest.skip("detectron2 is not in VBench's environment (envs/vbench/install.sh builds it)")
    changed = [f"prompts.{key}={value}" for key, value in CHOSEN.items()] + ["scoring.filter_parts=1"]
    raven_bench(project, "report", "calibration", "--cores", "2", "--config", "device=cpu", *changed)
    board = "dimension,value\n" + "".join(
        f"{name.replace('_', ' ')},{50 + at}%\n" for at, name in enumerate(NAMES)
    )
    (project / "board.csv").write_text(board)
    words = ("results/calibration", "--board", "board.csv", "--output", "deltas.csv")
    said = raven_bench(project, "calibrate", *words)
    frame = pd.read_csv(project / "deltas.csv").set_index("dimension")
    assert list(frame.index) == ["total", "quality", "semantic", *NAMES]
    (row,) = read_json(ScoresTable, project / "results/calibration/aggregate/scores.json").rows
    for at, name in enumerate(NAMES):
        assert frame["board"][name] == 50 + at
        assert frame["ours"][name] == pytest.approx(row.dimensions[name].raw.mean, abs=LAST_DIGIT)
    differences = (frame["ours"] - frame["board"]).to_numpy()
    assert frame["delta"].to_numpy() == pytest.approx(differences, abs=2 * LAST_DIGIT)
    assert all(name in said for name in NAMES)
