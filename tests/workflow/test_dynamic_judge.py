"""The dimension `dynamic_judge`: a tiny UnifiedReward rates clips through the scoring job, and its files are
fetched for the suites that ask for it.
"""

import json
from pathlib import Path

import pytest
import torch

from evaluation.custom.declaration import custom_dimension, project_module
from evaluation.dimensions import NAMES
from evaluation.records import DimensionResult, read_json
from models.training.video_align import sampled_frames
from tests.evaluation.test_custom_dimensions import job
from tests.models.unified_reward_toys import ANSWER, write_unified_reward
from workflow.planning.custom_dimensions import dimension_modules, needs_gpu
from workflow.planning.resources import custom_resources, missing_resources, needed_resources
from workflow.planning.suite import Suite
from workflow.planning.suite_file import load_suite
from workflow.scoring.dynamic_judge import WEIGHTS, LookedAt
from workflow.scripts import fetch, score_custom

ROOT = Path(__file__).parents[2]
FILE = "workflow/scoring/dynamic_judge.py"
LIST = "model.safetensors.index.json"


def judged_suite(name: str = "vbench") -> Suite:
    plan = {"dynamic_judge": {"file": FILE}}
    return load_suite(ROOT, [ROOT / f"workflow/config/{name}.yaml"], {"custom_dimensions": plan})


@pytest.mark.parametrize("answers", [True, False])
def test_the_judge_rates_every_clip_or_names_it(
    answers: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From mp4 to result, in batches; a judge that says nothing about motion gives no row a number."""
    phrases = ANSWER if answers else tuple(one for one in ANSWER if "dynamic" not in one)
    write_unified_reward(tmp_path / "resources" / WEIGHTS, phrases=phrases, scripted=True)
    custom = custom_dimension(
        "dynamic_judge", ROOT / FILE, shown=FILE, prompts="all", benchmark="toybox", dimensions=NAMES
    )
    flags = job(tmp_path, custom)
    flags[flags.index("--file") + 1] = str(ROOT / FILE)
    monkeypatch.chdir(tmp_path)
    assert score_custom.main(flags) == (0 if answers else 1)
    if answers:
        result = read_json(DimensionResult, tmp_path / "out.json")
        assert [one.value for one in result.clips] == [3.0] * 6
    else:
        said = capsys.readouterr().err
        assert "refused 6 of 6 clips of row raven: p0-0 (UnifiedReward's answer has no one line" in said
        assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(("length", "fps"), [(2, 16), (9, 16), (24, 16), (81, 16), (250, 16), (477, 24)])
def test_the_judge_holds_what_it_looks_at(length: int, fps: int) -> None:
    """In the place of all frames: as long, of the same shape, and the same where the judge looks."""
    every = torch.randint(0, 256, (length, 4, 6, 3), dtype=torch.uint8)
    for size in (1, 7, 16):
        seen = LookedAt((part.numpy() for part in every.split(size)), length, fps)
        assert len(seen) == len(every) and seen.shape == every.shape
        places = sampled_frames(length, fps)
        assert torch.equal(seen[places], every[places])
        assert len(seen._held) == len(set(places))


def test_its_code_counts_and_it_asks_for_a_gpu() -> None:
    """The file lies in a package of ours, so that an edit of the judge scores anew."""
    suite = judged_suite()
    assert dimension_modules(suite, ROOT, "dynamic_judge") == ["workflow.scoring.dynamic_judge"]
    assert needs_gpu(suite, ROOT, "dynamic_judge")
    assert not needs_gpu(judged_suite("tiny"), ROOT, "dynamic_judge")
    assert project_module(Path("/elsewhere/mine.py")) is None


def test_its_files_are_fetched_where_it_is_asked_for(tmp_path: Path) -> None:
    """And verified apart from all else, so that a judge samples nothing again. What its list of shards names
    is known once that list is here.
    """
    for name in ("baselines", "workflow"):
        (tmp_path / name).symlink_to(ROOT / name)
    plain, suite = load_suite(ROOT, [ROOT / "workflow/config/vbench.yaml"], {}), judged_suite()
    assert custom_resources(tmp_path, plain) == []
    assert needed_resources(tmp_path, suite) == needed_resources(tmp_path, plain)
    names = [entry.path.removeprefix(f"{WEIGHTS}/") for entry in custom_resources(tmp_path, suite)]
    assert names == [LIST, "config.json", "tokenizer.json", "question.py"]
    screen = missing_resources(tmp_path, suite, needed=custom_resources(tmp_path, suite))
    assert "about 66.9 GB" in screen and "CodeGoat24/UnifiedReward-qwen-32b" in screen
    listed = tmp_path / "resources" / WEIGHTS / LIST
    listed.parent.mkdir(parents=True)
    listed.write_text(json.dumps({"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors"}}))
    shards = [entry for entry in custom_resources(tmp_path, suite) if "model-" in entry.path]
    assert [entry.path for entry in shards] == [f"{WEIGHTS}/model-{i}.safetensors" for i in (1, 2)]
    assert shards[0].origin == "CodeGoat24/UnifiedReward-qwen-32b : model-1.safetensors"
    assert shards[0].size_mb == 33450
    for wrong in ('{"weight_map": {"a": "../../lock.json"}}', "[]", "<html>"):
        listed.write_text(wrong)
        with pytest.raises(ValueError, match="is no list of safetensors shards"):
            custom_resources(tmp_path, suite)


def test_fetch_brings_what_the_list_of_shards_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against an index without its shards. The toy's question is not the pinned one, and refused."""
    for name in ("baselines", "workflow", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    mirror = tmp_path / "mirror" / WEIGHTS
    write_unified_reward(mirror, scripted=True, shard_size="100KB")
    monkeypatch.chdir(tmp_path)
    plan = json.dumps({"custom_dimensions": {"dynamic_judge": {"file": FILE}}})
    flags = ["--config", "workflow/config/tiny.yaml", "--replace", plan, "--mirror", "mirror"]
    assert fetch.main(flags) == 1
    said = capsys.readouterr().err
    assert "question.py has sha256" in said and said.count("expected") == 1
    brought = {path.name for path in (tmp_path / "resources" / WEIGHTS).glob("*.safetensors")}
    assert len(brought) > 1 and brought == {path.name for path in mirror.glob("*.safetensors")}
    assert (mirror / LIST).is_file()
